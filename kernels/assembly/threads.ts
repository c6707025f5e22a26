/**
 * How workers wait for work. Only the builds with shared memory export these.
 *
 * The control block, one field to a cache line (kernels/pool.ts writes it):
 *
 *     control + 0     sequence    counts the tasks given out
 *     control + 64    sleepers    workers that wait in the host, to be woken by a notify
 *     control + 128   active      workers inside the current task
 */
const SLEEPERS: usize = 64, ACTIVE: usize = 128;

/** Returns when the sequence is no longer `last`: spins that many loads, then sleeps. Written here since loops of the host's language start slowly. */
export function pool_wait(control: usize, last: i32, spins: i32): void {
  for (let i = 0; i < spins; i++) if (atomic.load<i32>(control) != last) return;
  atomic.add<i32>(control + SLEEPERS, 1);
  while (atomic.load<i32>(control) == last) atomic.wait<i32>(control, last, 1000000000);
  atomic.sub<i32>(control + SLEEPERS, 1);
}

/** Spins until no worker is inside the task: 1, or 0 if `spins` loads did not see it. */
export function pool_join(control: usize, spins: i32): i32 {
  for (let i = 0; i < spins; i++) if (atomic.load<i32>(control + ACTIVE) == 0) return 1;
  return 0;
}
