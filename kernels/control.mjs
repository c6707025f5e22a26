/** Where the pool and its workers meet in the shared memory: byte addresses, one field to a cache line. */

/** The block lies between the constants of the kernels and the heap. */
export const CONTROL = 65536;

export const FIELDS = {
  sequence: 0, //   counts the tasks given out
  sleepers: 64, //  workers that sleep until a notify
  active: 128, //   workers inside a task
  open: 192, //     1 while the task may be joined
  next: 256, //     first item that nobody has taken
  failed: 320, //   1 if a kernel trapped in a worker
  taken: 384, //    counts the pieces that workers have taken
  arguments: 448, // float64: kernel, end, grain, number of arguments, arguments…
  end: 704,
};
