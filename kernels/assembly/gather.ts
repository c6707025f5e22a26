/**
 * Gathers of weight rows: what spike convolutions in every arithmetic have in common. Not exported from the build.
 *
 *   packed [N/32][taps][K][32]      one row of 128 bytes is what one event adds to 32 output channels
 *
 * The weights stay in L1: blocks of output channels are outermost, then groups of as many taps as fit in 32 KB,
 * then pixels, then the taps of the group, then their events. Accumulators live in registers over all taps of a group.
 */
import {
  gather_add16, gather_add32, gather_add4, gather_add8, gather_multiply16, gather_multiply32, gather_multiply4, gather_multiply8,
  gather_real16, gather_real32, gather_real4, gather_real8,
} from "./generated/spikes";
import { LANES, at, transpose4 } from "./lanes";

// @ts-ignore: decorator
@inline export const BLOCK: i32 = 32;
/** What an event does: value * weight in float32 or in int32, or the weight alone in int32. */
// @ts-ignore: decorator
@inline export const REAL: i32 = 0;
// @ts-ignore: decorator
@inline export const MULTIPLY: i32 = 1;
// @ts-ignore: decorator
@inline export const ADD: i32 = 2;

/** y[p][j] = (REAL: bias[j], else y[p][j]) + sum over taps, over events (c, value) of pixel table[tap][p] of value * w[j][tap][c].  The last block is as narrow as N allows. */
// @ts-ignore: decorator
@inline export function gather(
  kind: i32, begin: i32, end: i32, events: usize, spans: usize, table: usize, pixels: i32, taps: i32, K: i32,
  packed: usize, bias: usize, y: usize, ldy: i32, N: i32,
): void {
  for (let j = 0; j < N; j += BLOCK) {
    const left = N - j, weights = at(packed, j * taps * K), b = bias ? at(bias, j) : 0, out = at(y, j);
    if (kind == REAL) {
      if (left > 16) gather_real32(begin, end, events, spans, table, pixels, taps, K, weights, b, out, ldy, left);
      else if (left > 8) gather_real16(begin, end, events, spans, table, pixels, taps, K, weights, b, out, ldy, left);
      else if (left > 4) gather_real8(begin, end, events, spans, table, pixels, taps, K, weights, b, out, ldy, left);
      else gather_real4(begin, end, events, spans, table, pixels, taps, K, weights, b, out, ldy, left);
    } else if (kind == MULTIPLY) {
      if (left > 16) gather_multiply32(begin, end, events, spans, table, pixels, taps, K, weights, b, out, ldy, left);
      else if (left > 8) gather_multiply16(begin, end, events, spans, table, pixels, taps, K, weights, b, out, ldy, left);
      else if (left > 4) gather_multiply8(begin, end, events, spans, table, pixels, taps, K, weights, b, out, ldy, left);
      else gather_multiply4(begin, end, events, spans, table, pixels, taps, K, weights, b, out, ldy, left);
    } else {
      if (left > 16) gather_add32(begin, end, events, spans, table, pixels, taps, K, weights, b, out, ldy, left);
      else if (left > 8) gather_add16(begin, end, events, spans, table, pixels, taps, K, weights, b, out, ldy, left);
      else if (left > 4) gather_add8(begin, end, events, spans, table, pixels, taps, K, weights, b, out, ldy, left);
      else gather_add4(begin, end, events, spans, table, pixels, taps, K, weights, b, out, ldy, left);
    }
  }
}

/** Blocks [begin, end) of packed[block][tap][k][32] from w [N][taps][K], words of 32 bits, zeros past N. */
export function packRows(begin: i32, end: i32, w: usize, packed: usize, N: i32, taps: i32, K: i32): void {
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
  }
}
