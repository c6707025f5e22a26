/**
 * One worker of the pool: the same module on the same memory, taking pieces of what the caller has given out. Plain JavaScript, so that it runs as it
 * stands in Node and in browsers. The control block is described in control.mjs.
 */
import { CONTROL, ERRANDS, FIELDS, insideErrand, STATES, takePiece, wordsOf } from "./control.mjs";

const inNode = typeof process === "object" && process.versions?.node !== undefined;
const port = inNode ? (await import("node:worker_threads")).parentPort : self;
const receive = (handler) => (inNode ? port.once("message", handler) : port.addEventListener("message", ({ data }) => handler(data), { once: true }));

receive(({ module, memory, spins, place }) => {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const kernels = WebAssembly.Module.exports(module).map(({ name }) => exports[name]);
  const words = new Int32Array(memory.buffer, CONTROL, FIELDS.end / 4), values = new Float64Array(memory.buffer, CONTROL + FIELDS.arguments, 24);
  const at = (field) => FIELDS[field] / 4;
  const SEQUENCE = at("sequence"), OPEN = at("open"), NEXT = at("next"), FAILED = at("failed"), TAKEN = at("taken"), OLDEST = at("oldest"), STATE = at("states") + place;
  const errands = Array.from({ length: ERRANDS }, (_, errand) => wordsOf(memory, errand));

  /** Does something as one who is inside, if that is open; says whether there was anything to do, and it went well. */
  function enter(state, open, work) {
    let found = false;
    Atomics.store(words, STATE, state);
    try {
      found = Atomics.load(words, open) === 1 && work();
    } catch {
      if (state === STATES.inTask) Atomics.store(words, FAILED, 1);
    }
    Atomics.store(words, STATE, STATES.away);
    return found;
  }

  /** Pieces of the task that the caller waits for, until there are no more. */
  function takeAll() {
    const kernel = kernels[values[0]], end = values[1], grain = values[2], rest = [];
    if (Atomics.load(words, NEXT) >= end) return false; // each look that adds would take it further, past 2^31 in the end
    for (let i = 0; i < values[3]; i++) rest.push(values[4 + i]);
    let begin = Atomics.add(words, NEXT, grain);
    if (begin >= end) return false;
    for (; begin < end; begin = Atomics.add(words, NEXT, grain)) {
      Atomics.add(words, TAKEN, 1);
      kernel(begin, Math.min(begin + grain, end), ...rest);
    }
    return true;
  }

  function run(kernel, begin, end, rest) {
    Atomics.add(words, TAKEN, 1);
    kernels[kernel](begin, end, ...rest);
  }

  /** One piece of an errand, of the oldest that has one: the caller may want help again. */
  function takeBehind() {
    const oldest = Atomics.load(words, OLDEST);
    if (oldest < 0) return false;
    for (let i = 0; i < ERRANDS; i++) {
      const errand = (oldest + i) % ERRANDS;
      if (enter(insideErrand(errand), errands[errand].open, () => takePiece(words, errands[errand], run))) return true;
    }
    return false;
  }

  port.postMessage("ready");
  for (let seen = 0; ;) {
    const last = Atomics.load(words, SEQUENCE), news = last !== seen;
    seen = last;
    if (!(news && enter(STATES.inTask, OPEN, takeAll)) && !takeBehind()) exports.pool_wait(CONTROL + FIELDS.sequence, CONTROL + 4 * STATE, last, spins);
  }
});
