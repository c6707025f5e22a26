/** Where the pool and its workers meet in the shared memory: byte addresses, what different threads write in different cache lines. */

/** The block lies between the constants of the kernels and the heap. */
export const CONTROL = 65536;

export const FIELDS = {
  sequence: 0, //   counts the tasks given out
  failed: 64, //    `inside` the task in which a kernel trapped in a worker, or 0
  taken: 128, //    counts the pieces that workers have taken
  oldest: 192, //   which task behind the caller's back has been there longest
  states: 256, //   what each worker does now, by its place: one of STATES, or `inside` a task
  tasks: 512, //    TASKS of them
  end: 2048,
};

/** Tasks that can be given out at a time: number 0 is the one that the caller waits for, the others are behind its back. */
export const TASKS = 4;

/** The fields of a task. */
export const TASK = {
  open: 0, //       1 while it may be joined
  next: 64, //      first item that nobody has taken
  arguments: 128, // float64: kernel, end, grain, number of arguments, arguments…
  bytes: 384,
};

/** Each worker writes its own state alone, so that one that died can be told from the others. kernels/assembly/threads.ts knows them too. */
export const STATES = { away: 0, asleep: -1 };
/** The state of a worker that may be writing what this task is to write. */
export const inside = (task) => task + 1;

/** Where the words of a task are, counted in int32 from CONTROL, and its arguments. */
export function taskIn(memory, task) {
  const start = FIELDS.tasks + task * TASK.bytes;
  return { open: (start + TASK.open) / 4, next: (start + TASK.next) / 4, values: new Float64Array(memory.buffer, CONTROL + start + TASK.arguments, (TASK.bytes - TASK.arguments) / 8) };
}
