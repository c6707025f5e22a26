/**
 * One worker of the pool: the same module on the same memory, taking pieces of the task in hand. Plain JavaScript, so that it runs as it
 * stands in Node and in browsers. The fields of the control block are described in control.mjs.
 */
import { CONTROL, FIELDS, STATES } from "./control.mjs";

const inNode = typeof process === "object" && process.versions?.node !== undefined;
const port = inNode ? (await import("node:worker_threads")).parentPort : self;
const receive = (handler) => (inNode ? port.once("message", handler) : port.addEventListener("message", ({ data }) => handler(data), { once: true }));

receive(({ module, memory, spins, place }) => {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const kernels = WebAssembly.Module.exports(module).map(({ name }) => exports[name]);
  const words = new Int32Array(memory.buffer, CONTROL, FIELDS.end / 4), values = new Float64Array(memory.buffer, CONTROL + FIELDS.arguments, 24);
  const at = (field) => FIELDS[field] / 4;
  const SEQUENCE = at("sequence"), OPEN = at("open"), NEXT = at("next"), FAILED = at("failed"), TAKEN = at("taken"), STATE = at("states") + place;
  let last = Atomics.load(words, SEQUENCE);
  port.postMessage("ready");
  for (;;) {
    exports.pool_wait(CONTROL + FIELDS.sequence, CONTROL + 4 * STATE, last, spins);
    last = Atomics.load(words, SEQUENCE);
    Atomics.store(words, STATE, STATES.inside);
    if (Atomics.load(words, OPEN) === 1) {
      const kernel = kernels[values[0]], end = values[1], grain = values[2], rest = [];
      for (let i = 0; i < values[3]; i++) rest.push(values[4 + i]);
      try {
        for (let begin = Atomics.add(words, NEXT, grain); begin < end; begin = Atomics.add(words, NEXT, grain)) {
          Atomics.add(words, TAKEN, 1);
          kernel(begin, Math.min(begin + grain, end), ...rest);
        }
      } catch {
        Atomics.store(words, FAILED, 1);
      }
    }
    Atomics.store(words, STATE, STATES.away);
  }
});
