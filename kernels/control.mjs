/** Where the pool and its workers meet in the shared memory: byte addresses, one field to a cache line. */

/** The block lies between the constants of the kernels and the heap. */
export const CONTROL = 65536;

export const FIELDS = {
  sequence: 0, //   counts the tasks given out
  open: 64, //      1 while the task may be joined
  next: 128, //     first item that nobody has taken
  failed: 192, //   1 if a kernel trapped in a worker
  taken: 256, //    counts the pieces that workers have taken
  states: 320, //   what each worker does now, by its place: one of STATES
  arguments: 576, // float64: kernel, end, grain, number of arguments, arguments…
  end: 832,
};

/** Each worker writes its own state alone, so that one that died can be told from the others. kernels/assembly/threads.ts knows them too. */
export const STATES = { away: 0, inside: 1, asleep: 2 };
