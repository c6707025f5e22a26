/**
 * Weight rows for the gathers of generated/spikes.ts: what spike convolutions in every arithmetic have in common. Not exported from the build.
 *
 *   packed [N/32][taps][K][32]      one row of 128 bytes is what one event adds to 32 output channels
 *
 * The weights stay in L1: blocks of output channels are outermost, then groups of as many taps as fit in 32 KB,
 * then pixels, then the taps of the group, then their events. Accumulators live in registers over all taps of a group.
 */
import { LANES, at, scaleColumns, transpose4 } from "./lanes";

// @ts-ignore: decorator
@inline const BLOCK: i32 = 32;

/** Blocks [begin, end) of packed[block][tap][k][32] from w [N][taps][K], words of 32 bits, zeros past N; with `scale`, reals times scale[n]. */
export function packRows(begin: i32, end: i32, w: usize, packed: usize, N: i32, taps: i32, K: i32, scale: usize): void {
  const size = taps * K;
  for (let block = begin; block < end; block++) {
    const to = at(packed, block * size * BLOCK);
    for (let lane = 0; lane < BLOCK; lane += LANES) {
      const j = block * BLOCK + lane, from = at(w, j * size);
      let i = 0;
      if (j + LANES <= N) for (; i <= size - LANES; i += LANES) transpose4(at(from, i), at(0, size), at(to, i * BLOCK + lane), 4 * BLOCK);
      for (; i < size; i++) {
        for (let n = 0; n < LANES; n++) store<u32>(at(to, i * BLOCK + lane + n), j + n < N ? load<u32>(at(from, n * size + i)) : 0);
      }
    }
    if (scale) scaleColumns(to, size, BLOCK, at(scale, block * BLOCK), N - block * BLOCK);
  }
}
