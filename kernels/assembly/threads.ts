/** How workers wait for work, and the caller for them. Only the builds with shared memory export these. The words are those of kernels/control.mjs. */

const ASLEEP: i32 = -1;

/** Returns when `sequence` is no longer `last`: spins that many loads, then sleeps. Written here since loops of the host's language start slowly. */
export function pool_wait(sequence: usize, state: usize, last: i32, spins: i32): void {
  for (let i = 0; i < spins; i++) if (atomic.load<i32>(sequence) != last) return;
  atomic.store<i32>(state, ASLEEP);
  while (atomic.load<i32>(sequence) == last) atomic.wait<i32>(sequence, last, 1000000000);
}

/** Spins until none of the workers is in the state `inside`: 1, or 0 if so many looks at their states did not see it. */
export function pool_join(states: usize, workers: i32, inside: i32, spins: i32): i32 {
  const end = states + 4 * workers;
  for (let i = 0; i < spins; i++) {
    let state = states;
    while (state < end && atomic.load<i32>(state) != inside) state += 4;
    if (state == end) return 1;
  }
  return 0;
}
