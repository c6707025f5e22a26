/**
 * Spike convolution with int16 weights, exact in int32: twice the channels in a vector, half the bytes of a row.
 *
 *   packed [N/64][taps][K][64] int16      one row of 128 bytes is what one event adds to 64 output channels
 *
 * Blocks of output channels are outermost, then groups of as many taps as fit in L1, then pixels, then the taps of the group. The events of as many
 * taps as the caller says are summed in int16 in eight registers, which must not overflow (spike_conv_i16_reach tells), and then added to y.
 */
import { at, loadSome, storeSome } from "./lanes";

const BLOCK: i32 = 64;
const L1: i32 = 32768;

/** reach[j] = max over taps of sum_k |w[j][tap][k]| */
export function spike_conv_i16_reach(begin: i32, end: i32, w: usize, reach: usize, taps: i32, K: i32): void {
  for (let j = begin; j < end; j++) {
    let most = 0;
    for (let tap = j * taps; tap < (j + 1) * taps; tap++) {
      let sum = 0;
      for (let i = tap * K; i < (tap + 1) * K; i++) sum += abs(<i32>load<i16>(w + (<usize>i << 1)));
      most = max(most, sum);
    }
    store<i32>(at(reach, j), most);
  }
}

/** packed[block][tap][k][64] from w [N][taps][K], zeros past N */
export function spike_conv_i16_pack(begin: i32, end: i32, w: usize, packed: usize, N: i32, taps: i32, K: i32): void {
  const size = taps * K;
  let to = packed + (<usize>(begin * BLOCK * size) << 1);
  for (let block = begin; block < end; block++) {
    for (let i = 0; i < size; i++) {
      for (let j = block * BLOCK; j < (block + 1) * BLOCK; j++, to += 2) store<i16>(to, j < N ? load<i16>(w + (<usize>(j * size + i) << 1)) : 0);
    }
  }
}

/** y[p][j] = sum over taps, over events (c, value) of pixel table[tap][p] of value * w[j][tap][c].  The last block is as narrow as N allows. */
export function spike_conv_i16(
  begin: i32, end: i32, events: usize, spans: usize, table: usize, pixels: i32, taps: i32, K: i32, packed: usize, together: i32, y: usize, ldy: i32, N: i32,
): void {
  for (let j = 0; j < N; j += BLOCK) {
    const left = N - j, weights = packed + (<usize>(j * taps * K) << 1), out = at(y, j);
    if (left > 32) columns(64, begin, end, events, spans, table, pixels, taps, K, weights, together, out, ldy, left);
    else if (left > 16) columns(32, begin, end, events, spans, table, pixels, taps, K, weights, together, out, ldy, left);
    else if (left > 8) columns(16, begin, end, events, spans, table, pixels, taps, K, weights, together, out, ldy, left);
    else columns(8, begin, end, events, spans, table, pixels, taps, K, weights, together, out, ldy, left);
  }
}

/** `width` output channels, of which `left` exist. The width is a constant: what it rules out is not compiled. */
// @ts-ignore: decorator
@inline function columns(
  width: i32, begin: i32, end: i32, events: usize, spans: usize, table: usize, pixels: i32, taps: i32, K: i32, weights: usize, together: i32, y: usize, ldy: i32, left: i32,
): void {
  const fitting = max(1, L1 / (2 * BLOCK * K)), groups = (taps + fitting - 1) / fitting, group = (taps + groups - 1) / groups;
  for (let first = 0; first < taps; first += group) {
    for (let p = begin; p < end; p++) {
      const out = at(y, p * ldy);
      for (let tap = first, from = first, last = min(first + group, taps); tap < last; from = tap) {
        let s0 = i16x8.splat(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0, silent = tap > 0;
        for (const next = min(tap + together, last); tap < next; tap++) {
          const pixel = table ? load<i32>(at(table, tap * pixels + p)) : p;
          if (pixel < 0) continue;
          const span = spans + (<usize>pixel << 3), stop = events + (<usize>load<u32>(span, 4) << 1), rows = weights + (<usize>(tap * K) << 7);
          let e = events + (<usize>load<u32>(span) << 1);
          if (e == stop) continue;
          silent = false;
          for (; e < stop; e += 2) {
            const event = <usize>load<u16>(e), row = rows + ((event & 0xfff0) << 3); // 128 c, from c << 4
            const value8 = i16x8.splat(<i16>(event & 15));
            if (e) { // always: ends the basic block, see gather.ts
              s0 = step(value8, v128.load(row), s0);
              if (width > 8) s1 = step(value8, v128.load(row, 16), s1);
              if (width > 16) { s2 = step(value8, v128.load(row, 32), s2); s3 = step(value8, v128.load(row, 48), s3); }
            }
            if (width > 32) {
              s4 = step(value8, v128.load(row, 64), s4);
              s5 = step(value8, v128.load(row, 80), s5);
              s6 = step(value8, v128.load(row, 96), s6);
              s7 = step(value8, v128.load(row, 112), s7);
            }
          }
        }
        if (silent) continue;
        flush(out, s0, from, left);
        if (width > 8) flush(out + 32, s1, from, left - 8);
        if (width > 16) { flush(out + 64, s2, from, left - 16); flush(out + 96, s3, from, left - 24); }
        if (width > 32) { flush(out + 128, s4, from, left - 32); flush(out + 160, s5, from, left - 40); flush(out + 192, s6, from, left - 48); flush(out + 224, s7, from, left - 56); }
      }
    }
  }
}

// @ts-ignore: decorator
@inline function step(value8: v128, weights8: v128, sum8: v128): v128 { return i16x8.add(sum8, i16x8.mul(value8, weights8)); }

/** The first `left` of eight sums: those from tap 0 on write, the others add. */
// @ts-ignore: decorator
@inline function flush(out: usize, sum8: v128, from: i32, left: i32): void {
  let lo = i32x4.extend_low_i16x8_s(sum8), hi = i32x4.extend_high_i16x8_s(sum8);
  if (from > 0) { lo = i32x4.add(lo, loadSome(out, left)); hi = i32x4.add(hi, loadSome(out + 16, left - 4)); }
  storeSome(out, lo, left);
  storeSome(out + 16, hi, left - 4);
}
