/** How workers wait for work. Only the builds with shared memory export these. The words that they watch are those of kernels/control.mjs. */

/** Returns when `sequence` is no longer `last`: spins that many loads, then sleeps. Written here since loops of the host's language start slowly. */
export function pool_wait(sequence: usize, sleepers: usize, last: i32, spins: i32): void {
  for (let i = 0; i < spins; i++) if (atomic.load<i32>(sequence) != last) return;
  atomic.add<i32>(sleepers, 1);
  while (atomic.load<i32>(sequence) == last) atomic.wait<i32>(sequence, last, 1000000000);
  atomic.sub<i32>(sleepers, 1);
}

/** Spins until no worker is inside the task: 1, or 0 if `spins` loads of `active` did not see it. */
export function pool_join(active: usize, spins: i32): i32 {
  for (let i = 0; i < spins; i++) if (atomic.load<i32>(active) == 0) return 1;
  return 0;
}
