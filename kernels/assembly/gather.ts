/**
 * Gathers of weight rows: what spike convolutions in every arithmetic have in common. Not exported from the build.
 *
 *   packed [N/32][taps][K][32]      one row of 128 bytes is what one event adds to 32 output channels
 *
 * The weights stay in L1: blocks of output channels are outermost, then groups of as many taps as fit in 32 KB,
 * then pixels, then the taps of the group, then their events. Accumulators live in registers over all taps of a group.
 */
import { NUMBERS, at, loadSome, madd, storeSome } from "./lanes";

// @ts-ignore: decorator
@inline export const BLOCK: i32 = 32;
/** What an event does: value * weight in float32 or in int32, or the weight alone in int32. */
// @ts-ignore: decorator
@inline export const REAL: i32 = 0;
// @ts-ignore: decorator
@inline export const MULTIPLY: i32 = 1;
// @ts-ignore: decorator
@inline export const ADD: i32 = 2;

// @ts-ignore: decorator
@inline const L1: i32 = 32768;

// @ts-ignore: decorator
@inline function step(kind: i32, value4: v128, weights4: v128, sum4: v128): v128 {
  if (kind == REAL) return madd(value4, weights4, sum4);
  return i32x4.add(sum4, kind == MULTIPLY ? i32x4.mul(value4, weights4) : weights4);
}

// The eight sums are loaded and stored here and in spike-grad.ts line by line: an inlined function sees copies of its arguments and returns one value, so shared loads would send the sums through memory.
/** `width` output channels, of which `left` exist. Width and kind are constants: what they rule out is not compiled. */
// @ts-ignore: decorator
@inline function columns(
  width: i32, kind: i32, begin: i32, end: i32, events: usize, counts: usize, table: usize, pixels: i32, taps: i32, K: i32,
  weights: usize, bias: usize, y: usize, ldy: i32, left: i32,
): void {
  const fitting = max(1, L1 / (4 * width * K)), groups = (taps + fitting - 1) / fitting, size = (taps + groups - 1) / groups;
  for (let first = 0; first < taps; first += size) {
    const last = min(first + size, taps), fresh = kind == REAL && first == 0;
    for (let p = begin; p < end; p++) {
      const out = at(y, p * ldy);
      let s0 = i32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
      if (!fresh || bias) {
        const from = fresh ? bias : out;
        if (left >= width) {
          s0 = v128.load(from);
          if (width > 4) s1 = v128.load(from, 16);
          if (width > 8) { s2 = v128.load(from, 32); s3 = v128.load(from, 48); }
          if (width > 16) { s4 = v128.load(from, 64); s5 = v128.load(from, 80); s6 = v128.load(from, 96); s7 = v128.load(from, 112); }
        } else {
          s0 = loadSome(from, left);
          if (width > 4) s1 = loadSome(from + 16, left - 4);
          if (width > 8) { s2 = loadSome(from + 32, left - 8); s3 = loadSome(from + 48, left - 12); }
          if (width > 16) { s4 = loadSome(from + 64, left - 16); s5 = loadSome(from + 80, left - 20); s6 = loadSome(from + 96, left - 24); s7 = loadSome(from + 112, left - 28); }
        }
      }
      for (let tap = first; tap < last; tap++) {
        const pixel = table ? load<i32>(at(table, tap * pixels + p)) : p;
        if (pixel < 0) continue;
        const rows = weights + (<usize>(tap * K) << 7);
        let e = events + (<usize>(pixel * K) << 1);
        const stop = e + (<usize>load<i32>(at(counts, pixel)) << 1);
        for (; e < stop; e += 2) {
          const event = <usize>load<u16>(e), row = rows + ((event & 0xfff0) << 3);  // 128 c, from c << 4
          const value4 = kind == REAL ? v128.load32_splat(NUMBERS + ((event & 15) << 2)) : i32x4.splat(<i32>(event & 15));
          if (e) {  // always: V8 puts all loads of a basic block before its sums, and eight of them beside eight sums would not fit the registers
            s0 = step(kind, value4, v128.load(row), s0);
            if (width > 4) s1 = step(kind, value4, v128.load(row, 16), s1);
            if (width > 8) { s2 = step(kind, value4, v128.load(row, 32), s2); s3 = step(kind, value4, v128.load(row, 48), s3); }
          }
          if (width > 16) {
            s4 = step(kind, value4, v128.load(row, 64), s4);
            s5 = step(kind, value4, v128.load(row, 80), s5);
            s6 = step(kind, value4, v128.load(row, 96), s6);
            s7 = step(kind, value4, v128.load(row, 112), s7);
          }
        }
      }
      if (left >= width) {
        v128.store(out, s0);
        if (width > 4) v128.store(out, s1, 16);
        if (width > 8) { v128.store(out, s2, 32); v128.store(out, s3, 48); }
        if (width > 16) { v128.store(out, s4, 64); v128.store(out, s5, 80); v128.store(out, s6, 96); v128.store(out, s7, 112); }
      } else {
        storeSome(out, s0, left);
        if (width > 4) storeSome(out + 16, s1, left - 4);
        if (width > 8) { storeSome(out + 32, s2, left - 8); storeSome(out + 48, s3, left - 12); }
        if (width > 16) { storeSome(out + 64, s4, left - 16); storeSome(out + 80, s5, left - 20); storeSome(out + 96, s6, left - 24); storeSome(out + 112, s7, left - 28); }
      }
    }
  }
}

/** y[p][j] = (REAL: bias[j], else y[p][j]) + sum over taps, over events (c, value) of pixel table[tap][p] of value * w[j][tap][c].  The last block is as narrow as N allows. */
// @ts-ignore: decorator
@inline export function gather(
  kind: i32, begin: i32, end: i32, events: usize, counts: usize, table: usize, pixels: i32, taps: i32, K: i32,
  packed: usize, bias: usize, y: usize, ldy: i32, N: i32,
): void {
  for (let j = 0; j < N; j += BLOCK) {
    const left = N - j, weights = at(packed, j * taps * K), b = bias ? at(bias, j) : 0, out = at(y, j);
    if (left > 16) columns(32, kind, begin, end, events, counts, table, pixels, taps, K, weights, b, out, ldy, left);
    else if (left > 8) columns(16, kind, begin, end, events, counts, table, pixels, taps, K, weights, b, out, ldy, left);
    else if (left > 4) columns(8, kind, begin, end, events, counts, table, pixels, taps, K, weights, b, out, ldy, left);
    else columns(4, kind, begin, end, events, counts, table, pixels, taps, K, weights, b, out, ldy, left);
  }
}

/** Blocks [begin, end) of packed[block][tap][k][32] from w [N][taps][K], words of 32 bits, zeros past N. */
export function packRows(begin: i32, end: i32, w: usize, packed: usize, N: i32, taps: i32, K: i32): void {
  const size = taps * K;
  for (let block = begin; block < end; block++) {
    for (let i = 0; i < size; i++) {
      const row = at(packed, (block * size + i) * BLOCK);
      for (let lane = 0; lane < BLOCK; lane++) {
        const j = block * BLOCK + lane;
        store<u32>(at(row, lane), j < N ? load<u32>(at(w, j * size + i)) : 0);
      }
    }
  }
}
