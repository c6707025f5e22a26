/** Spikes: bytes (value | windowOpen << 4), event lists by pixel, and the convolution that adds only where something fired. */
import { packRows } from "./gather";
import { gather_real } from "./generated/spikes";
import { RUN, listRun } from "./lists";
import { LANES, at, loadSome, storeBytes } from "./lanes";

/** The mask of values, and that of windows: in memory, because v128 constants are rebuilt at each use. */
// @ts-ignore: decorator
@lazy const NIBBLE = memory.data<u8>([15]);
// @ts-ignore: decorator
@lazy const OPEN = memory.data<u8>([16]);

/** y = value of s */
export function spikes_to_f32(begin: i32, end: i32, s: usize, y: usize): void {
  const nibble = v128.load8_splat(NIBBLE);
  let i = begin;
  for (; i <= end - 16; i += 16) {
    const values = v128.and(v128.load(s + i), nibble), low = i16x8.extend_low_i8x16_u(values), high = i16x8.extend_high_i8x16_u(values), to = at(y, i);
    v128.store(to, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_u(low)));
    v128.store(to, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_u(low)), 16);
    v128.store(to, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_u(high)), 32);
    v128.store(to, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_u(high)), 48);
  }
  for (; i < end; i++) store<f32>(at(y, i), <f32>(load<u8>(s + i) & 15));
}

/** s = x, an integer 0..15, as a byte with its window closed */
export function spikes_from_f32(begin: i32, end: i32, x: usize, s: usize): void {
  const most = f32x4.splat(15);
  for (let i = begin; i < end; i += LANES) {
    const x4 = f32x4.nearest(f32x4.pmin(f32x4.pmax(f32x4.splat(0), loadSome(at(x, i), end - i)), most));
    storeBytes(s + i, i32x4.trunc_sat_f32x4_u(x4), end - i);
  }
}

/** z = x + y, with the windows of both */
export function spikes_add(begin: i32, end: i32, x: usize, y: usize, z: usize): void {
  const nibble = v128.load8_splat(NIBBLE), open = v128.load8_splat(OPEN);
  let i = begin;
  for (; i <= end - 16; i += 16) {
    const x16 = v128.load(x + i), y16 = v128.load(y + i);
    v128.store(z + i, v128.or(i8x16.add(v128.and(x16, nibble), v128.and(y16, nibble)), v128.and(v128.or(x16, y16), open)));
  }
  for (; i < end; i++) {
    const a = <i32>load<u8>(x + i), b = <i32>load<u8>(y + i);
    store<u8>(z + i, (a & 15) + (b & 15) | ((a | b) & 16));
  }
}

/** y[row] = x[row], `width` bytes */
export function spikes_copy_columns(begin: i32, end: i32, x: usize, ldx: i32, y: usize, ldy: i32, width: i32): void {
  for (let row = begin; row < end; row++) memory.copy(y + row * ldy, x + row * ldx, width);
}

/** Output rows [begin, end) of pixels: y[row][px*factor + f] = x[row/factor][px] */
export function spikes_upsample_nearest(begin: i32, end: i32, x: usize, y: usize, H: i32, W: i32, C: i32, factor: i32): void {
  for (let row = begin; row < end; row++) {
    let from = x + row / factor * W * C, to = y + row * W * factor * C;
    for (let px = 0; px < W; px++, from += C) {
      for (let f = 0; f < factor; f++, to += C) memory.copy(to, from, C);
    }
  }
}

/** Runs [begin, end) of 64 pixels: events[spans[2p] .. spans[2p + 1]) are those of pixel p, (c << 4 | value) where value > 0, in channel order */
export function spike_events(begin: i32, end: i32, s: usize, events: usize, spans: usize, pixels: i32, C: i32): void {
  for (let run = begin; run < end; run++) listRun(false, run * RUN, min(run * RUN + RUN, pixels), s, events, spans, C, 0);
}

/** the same for virtual step d: (c << 4 | 1) where value > d */
export function spike_events_above(begin: i32, end: i32, s: usize, events: usize, spans: usize, pixels: i32, C: i32, d: i32): void {
  for (let run = begin; run < end; run++) listRun(true, run * RUN, min(run * RUN + RUN, pixels), s, events, spans, C, d);
}

/**
 * Runs [begin, end) of 64 output pixels: unfolded[open[2i] .. open[2i + 1]) with i = group*pixels + p are the events that output pixel p sees through the `size` taps of a group,
 * as ((tap in the group)*K + c) << 4 | value. A list is copied eight entries at a time, and always as many as it can hold: its length would be guessed wrong each time.
 */
export function spike_unfold(
  begin: i32, end: i32, events: usize, spans: usize, table: usize, row: i32, pixels: i32, taps: i32, K: i32, size: i32, unfolded: usize, open: usize,
): void {
  const room = (RUN * size + 1) * K + 8, runs = (pixels + RUN - 1) / RUN;
  for (let first = 0, group = 0; first < taps; first += size, group++) {
    const last = min(first + size, taps);
    for (let run = begin; run < end; run++) {
      let e = unfolded + (<usize>((group * runs + run) * room) << 1), span = open + (<usize>(group * pixels + run * RUN) << 3);
      for (let p = run * RUN, stop = min(p + RUN, pixels); p < stop; p++, span += 8) {
        store<u32>(span, <u32>((e - unfolded) >> 1));
        for (let tap = first, tag = 0; tap < last; tap++, tag += K << 4) {
          const pixel = load<i32>(at(table, tap * row + p));
          if (pixel < 0) continue;
          const from = load<u32>(spans + (<usize>pixel << 3)), list = events + (<usize>from << 1), tags = i16x8.splat(<i16>tag);
          for (let i = 0; i < 2 * K; i += 16) v128.store(e + i, i16x8.add(v128.load(list + i), tags));
          e += <usize>(load<u32>(spans + (<usize>pixel << 3), 4) - from) << 1;
        }
        store<u32>(span, <u32>((e - unfolded) >> 1), 4);
      }
    }
  }
}

/** Vectors after which counts that stand in bytes move on: sums of values up to 15 and of window bits of 16 fit in a byte so long. */
// @ts-ignore: decorator
@inline const FULL: i32 = 15;

/** The four counts of what sixteen bytes have gathered, added to those of before. */
// @ts-ignore: decorator
@inline function moved(sums4: v128, bytes: v128): v128 { return i32x4.add(sums4, i32x4.extadd_pairwise_i16x8_u(i16x8.extadd_pairwise_i8x16_u(bytes))); }

// @ts-ignore: decorator
@inline function total(sums4: v128): i32 {
  return i32x4.extract_lane(sums4, 0) + i32x4.extract_lane(sums4, 1) + i32x4.extract_lane(sums4, 2) + i32x4.extract_lane(sums4, 3);
}

/** partial[block] (f64 x 3) of bytes [block*step, block*step + length), or as many as there are: sum of values, how many are non-zero, how many windows are open */
export function spike_statistics(begin: i32, end: i32, s: usize, partial: usize, size: i32, step: i32, length: i32): void {
  const nibble = v128.load8_splat(NIBBLE), openBit = v128.load8_splat(OPEN), zero = i8x16.splat(0);
  for (let block = begin; block < end; block++) {
    let sum4 = zero, fired4 = zero, open4 = zero, i = block * step;
    const last = min(size, i + length);
    while (i <= last - 16) {
      let sum = zero, fired = zero, open = zero;
      for (const full = min(last - 15, i + 16 * FULL); i < full; i += 16) {
        const bytes = v128.load(s + i), values = v128.and(bytes, nibble);
        sum = i8x16.add(sum, values);
        fired = i8x16.sub(fired, i8x16.gt_s(values, zero));
        open = i8x16.add(open, v128.and(bytes, openBit));
      }
      sum4 = moved(sum4, sum);
      fired4 = moved(fired4, fired);
      open4 = moved(open4, open);
    }
    let sum = total(sum4), fired = total(fired4), open = total(open4) >> 4;
    for (; i < last; i++) {
      const byte = <i32>load<u8>(s + i);
      sum += byte & 15;
      fired += <i32>((byte & 15) > 0);
      open += byte >> 4 & 1;
    }
    const out = partial + 24 * block;
    store<f64>(out, sum);
    store<f64>(out, fired, 8);
    store<f64>(out, open, 16);
  }
}

/** packed[block][tap][k][32] from w [N][taps][K] */
export function spike_conv_pack(begin: i32, end: i32, w: usize, packed: usize, N: i32, taps: i32, K: i32, scale: usize): void {
  packRows(begin, end, w, packed, N, taps, K, scale);
}

/** y[p][j] = bias[j] + sum over taps, over events (c, value) of pixel table[tap][p] of value * w[j][tap][c] */
export function spike_conv(
  begin: i32, end: i32, events: usize, spans: usize, table: usize, pixels: i32, taps: i32, K: i32, packed: usize, bias: usize, y: usize, ldy: i32, N: i32,
): void {
  gather_real(begin, end, events, spans, table, pixels, taps, K, packed, bias, y, ldy, N);
}
