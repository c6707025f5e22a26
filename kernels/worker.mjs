/**
 * One worker of the pool: the same module on the same memory, taking pieces of the tasks in hand. Plain JavaScript, so that it runs as it
 * stands in Node and in browsers. The fields of the control block are described in control.mjs.
 */
import { CONTROL, FIELDS, inside, STATES, taskIn, TASKS } from "./control.mjs";

const inNode = typeof process === "object" && process.versions?.node !== undefined;
const port = inNode ? (await import("node:worker_threads")).parentPort : self;
const receive = (handler) => (inNode ? port.once("message", handler) : port.addEventListener("message", ({ data }) => handler(data), { once: true }));

receive(({ module, memory, spins, place }) => {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const kernels = WebAssembly.Module.exports(module).map(({ name }) => exports[name]);
  const words = new Int32Array(memory.buffer, CONTROL, FIELDS.end / 4);
  const at = (field) => FIELDS[field] / 4;
  const SEQUENCE = at("sequence"), FAILED = at("failed"), TAKEN = at("taken"), OLDEST = at("oldest"), STATE = at("states") + place;
  const tasks = Array.from({ length: TASKS }, (_, task) => ({ ...taskIn(memory, task), state: inside(task) }));

  /** Takes so many pieces of a task at most, and says whether that went well, and there were any. */
  function help({ open, next, values, state }, most) {
    let pieces = 0;
    Atomics.store(words, STATE, state);
    if (Atomics.load(words, open) === 1) {
      const kernel = kernels[values[0]], end = values[1], grain = values[2], rest = [];
      for (let i = 0; i < values[3]; i++) rest.push(values[4 + i]);
      try {
        while (pieces < most && Atomics.load(words, next) < end) {
          const begin = Atomics.add(words, next, grain);
          if (begin >= end) break;
          pieces++;
          Atomics.add(words, TAKEN, 1);
          kernel(begin, Math.min(begin + grain, end), ...rest);
        }
      } catch {
        Atomics.store(words, FAILED, state);
        pieces = 0;
      }
    }
    Atomics.store(words, STATE, STATES.away);
    return pieces > 0;
  }

  /** One piece of what is behind the caller's back, of the oldest task that has one: the caller may want help again. */
  function helpBehind() {
    const oldest = Atomics.load(words, OLDEST), others = TASKS - 1;
    for (let i = 0; i < others; i++) if (help(tasks[1 + (oldest - 1 + i) % others], 1)) return true;
    return false;
  }

  port.postMessage("ready");
  for (;;) {
    const last = Atomics.load(words, SEQUENCE);
    if (!help(tasks[0], Infinity) && !helpBehind()) exports.pool_wait(CONTROL + FIELDS.sequence, CONTROL + 4 * STATE, last, spins);
  }
});
