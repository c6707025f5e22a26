/**
 * Where the pool and its workers meet in the shared memory: byte addresses, what different threads write in different cache lines. Plain JavaScript,
 * since workers run as they stand in Node and in browsers.
 */

/** The block lies between the constants of the kernels and the heap. */
export const CONTROL = 65536, CONTROL_BYTES = 16384;

export const FIELDS = {
  sequence: 0, //     counts what is given out
  failed: 64, //      1 if a kernel trapped in a worker
  taken: 128, //      counts the pieces that workers have taken
  oldest: 192, //     which of the errands has been there longest, -1 if there are none
  states: 256, //     what each worker does now, by its place: one of STATES, or `insideErrand`
  open: 512, //       the task that the caller waits for: 1 while it may be joined
  next: 576, //         first item that nobody has taken
  arguments: 640, //    float64: kernel, end, grain, number of arguments, arguments…
  errands: 1024, //   ERRANDS of them, behind its back
  end: 11584,
};

/** Errands that may be open at a time; calls of one of them at most; float64 of a call: kernel, end, grain, pieces up to its last, number of arguments, arguments… */
export const ERRANDS = 3, CALLS = 16, CALL = 25;

const ERRAND = {
  open: 0, //         1 while it may be joined
  next: 64, //        first piece that nobody has taken
  limit: 128, //      first piece that must wait, since it is of a call behind the one in hand
  done: 192, //       pieces that are done
  broken: 256, //     1 + the kernel that trapped, if one did
  calls: 320,
  bytes: 320 + 8 * CALL * CALLS,
};

/** Each worker writes its own state alone, so that one that died can be told from the others. kernels/assembly/threads.ts knows them too. */
export const STATES = { away: 0, asleep: -1, inTask: 1 };
/** The state of a worker that may be writing what this errand is to write. */
export const insideErrand = (errand) => STATES.inTask + 1 + errand;

/** The words of an errand, counted in int32 from CONTROL, and its calls. */
export function wordsOf(memory, errand) {
  const start = FIELDS.errands + errand * ERRAND.bytes, at = (field) => (start + ERRAND[field]) / 4;
  return { open: at("open"), next: at("next"), limit: at("limit"), done: at("done"), broken: at("broken"), calls: new Float64Array(memory.buffer, CONTROL + start + ERRAND.calls, CALL * CALLS) };
}

/** Takes the next piece of an errand that has one: the first of its calls that is not done. `take` runs it. Says whether there was one. */
export function takePiece(words, { next, limit, done, broken, calls }, take) {
  let piece = Atomics.load(words, next), before;
  do {
    if (piece >= Atomics.load(words, limit)) return false;
    before = piece;
    piece = Atomics.compareExchange(words, next, before, before + 1);
  } while (piece !== before);
  let at = 0;
  while (piece >= calls[at + 3]) at += CALL;
  const end = calls[at + 1], grain = calls[at + 2], last = calls[at + 3], begin = grain * (piece - (at ? calls[at + 3 - CALL] : 0)), rest = [];
  for (let i = 0; i < calls[at + 4]; i++) rest.push(calls[at + 5 + i]);
  try {
    take(calls[at], begin, Math.min(begin + grain, end), rest);
  } catch (error) {
    Atomics.store(words, broken, 1 + calls[at]);
    Atomics.store(words, limit, 0);
    throw error;
  }
  if (Atomics.add(words, done, 1) + 1 === last && calls[at + CALL + 3] > last) { // who does the last piece of a call opens the next, and tells those who found nothing
    Atomics.store(words, limit, calls[at + CALL + 3]);
    Atomics.add(words, FIELDS.sequence / 4, 1);
    Atomics.notify(words, FIELDS.sequence / 4);
  }
  return true;
}
