/** Spikes: bytes (value | windowOpen << 4), event lists by pixel, and the convolution that adds only where something fired. */
import { REAL, gather, packRows } from "./gather";
import { LANES, at, loadBytes, loadSome, storeBytes, storeSome } from "./lanes";

/** y = value of s */
export function spikes_to_f32(begin: i32, end: i32, s: usize, y: usize): void {
  const nibble = i32x4.splat(15);
  for (let i = begin; i < end; i += LANES) storeSome(at(y, i), f32x4.convert_i32x4_u(v128.and(loadBytes(s + i, end - i), nibble)), end - i);
}

/** s = x, an integer 0..15, as a byte with its window closed */
export function spikes_from_f32(begin: i32, end: i32, x: usize, s: usize): void {
  const most = f32x4.splat(15);
  for (let i = begin; i < end; i += LANES) {
    const x4 = f32x4.nearest(f32x4.pmin(f32x4.pmax(f32x4.splat(0), loadSome(at(x, i), end - i)), most));
    storeBytes(s + i, i32x4.trunc_sat_f32x4_u(x4), end - i);
  }
}

/** One bit for each of 16 values that are above d. */
// @ts-ignore: decorator
@inline function above(s: usize, nibble: v128, d16: v128): u64 { return i8x16.bitmask(i8x16.gt_s(v128.and(v128.load(s), nibble), d16)); }

/** The events of pixels [begin, end): (c << 4 | value), or (c << 4 | 1) in a virtual step, where value > d. Sixty-four channels at a time become the bits of one word. */
// @ts-ignore: decorator
@inline function list(virtual: bool, begin: i32, end: i32, s: usize, events: usize, counts: usize, C: i32, d: i32): void {
  const nibble = i8x16.splat(15), d16 = i8x16.splat(<i8>d);
  for (let p = begin; p < end; p++) {
    const pixel = s + p * C, slot = events + (<usize>(p * C) << 1);
    let e = slot;
    for (let c = 0; c < C; c += 64) {
      const from = pixel + c, left = C - c;
      let fired: u64 = 0;
      if (left >= 64) fired = above(from, nibble, d16) | above(from + 16, nibble, d16) << 16 | above(from + 32, nibble, d16) << 32 | above(from + 48, nibble, d16) << 48;
      else {
        let i = 0;
        for (; i <= left - 16; i += 16) fired |= above(from + i, nibble, d16) << i;
        for (; i < left; i++) fired |= <u64>(<i32>(load<u8>(from + i) & 15) > d) << i;
      }
      for (; fired; fired &= fired - 1, e += 2) {
        const i = <i32>ctz(fired);
        store<u16>(e, (c + i) << 4 | (virtual ? 1 : load<u8>(from + i) & 15));
      }
    }
    store<i32>(at(counts, p), <i32>((e - slot) >> 1));
  }
}

/** events of pixel p from events + 2*C*p: (c << 4 | value) where value > 0, in channel order */
export function spike_events(begin: i32, end: i32, s: usize, events: usize, counts: usize, C: i32): void {
  list(false, begin, end, s, events, counts, C, 0);
}

/** the same for virtual step d: (c << 4 | 1) where value > d */
export function spike_events_above(begin: i32, end: i32, s: usize, events: usize, counts: usize, C: i32, d: i32): void {
  list(true, begin, end, s, events, counts, C, d);
}

/** out (f64 x 3) = sum of values, how many are non-zero, how many windows are open */
export function spike_statistics(begin: i32, end: i32, s: usize, total: i32, out: usize): void {
  if (begin >= end) return;
  const nibble = i8x16.splat(15), zero = i8x16.splat(0);
  let sum4 = i32x4.splat(0), sum: u32 = 0, fired = 0, open = 0, i = 0;
  for (; i <= total - 16; i += 16) {
    const bytes = v128.load(s + i), values = v128.and(bytes, nibble);
    sum4 = i32x4.add(sum4, i32x4.extadd_pairwise_i16x8_u(i16x8.extadd_pairwise_i8x16_u(values)));
    fired += popcnt(i8x16.bitmask(i8x16.gt_s(values, zero)));
    open += popcnt(i8x16.bitmask(i8x16.shl(bytes, 3)));
  }
  for (let lane = 0; lane < LANES; lane++) {
    sum += i32x4.extract_lane(sum4, 0);
    sum4 = v128.shuffle<i32>(sum4, sum4, 1, 2, 3, 0);
  }
  for (; i < total; i++) {
    const byte = <u32>load<u8>(s + i);
    sum += byte & 15;
    fired += <i32>((byte & 15) > 0);
    open += <i32>(byte >> 4 & 1);
  }
  store<f64>(out, sum);
  store<f64>(out, fired, 8);
  store<f64>(out, open, 16);
}

/** packed[block][tap][k][32] from w [N][taps][K] */
export function spike_conv_pack(begin: i32, end: i32, w: usize, packed: usize, N: i32, taps: i32, K: i32): void {
  packRows(begin, end, w, packed, N, taps, K);
}

/** y[p][j] = bias[j] + sum over taps, over events (c, value) of pixel table[tap][p] of value * w[j][tap][c] */
export function spike_conv(
  begin: i32, end: i32, events: usize, counts: usize, table: usize, pixels: i32, taps: i32, K: i32, packed: usize, bias: usize, y: usize, ldy: i32, N: i32,
): void {
  gather(REAL, begin, end, events, counts, table, pixels, taps, K, packed, bias, y, ldy, N);
}
