/**
 * The weight gradient of spike convolutions: the forward pass with the roles exchanged. Events are the pixels at which channel k fired,
 * and what one event adds is a row of dy.
 *
 *   dyb    [N/32][pixels][32]        dy in blocks of 32 output channels, so that the rows that a band of pixels adds lie together in L1
 *   lists  [band][channel][BAND]     u16 (pixel of the band << 4 | value), counts i32 [band][channel]
 */
import { NUMBERS, at, loadSome, madd, storeSome } from "./lanes";

/** Pixels of one band: 128 rows of 128 bytes are half of L1. */
// @ts-ignore: decorator
@inline const BAND: i32 = 128;
// @ts-ignore: decorator
@inline const BLOCK: i32 = 32;

/** Bands [begin, end): for each channel, its events among the pixels of the band, in pixel order. */
export function spike_channel_events(begin: i32, end: i32, s: usize, events: usize, counts: usize, pixels: i32, C: i32): void {
  const zero = i8x16.splat(0), nibble = i8x16.splat(15);
  for (let band = begin; band < end; band++) {
    const count = at(counts, band * C), slots = events + (<usize>(band * C * BAND) << 1);
    memory.fill(count, 0, <usize>C << 2);
    const first = band * BAND, last = min(first + BAND, pixels);
    for (let p = first; p < last; p++) {
      const row = s + p * C, tag = (p - first) << 4;
      let c = 0;
      for (; c <= C - 16; c += 16) {
        let fired = i8x16.bitmask(i8x16.gt_s(v128.and(v128.load(row + c), nibble), zero));
        for (; fired; fired &= fired - 1) note(row, c + ctz(fired), tag, count, slots);
      }
      for (; c < C; c++) if (load<u8>(row + c) & 15) note(row, c, tag, count, slots);
    }
  }
}

// @ts-ignore: decorator
@inline function note(row: usize, c: i32, tag: i32, count: usize, slots: usize): void {
  const n = load<i32>(at(count, c));
  store<u16>(slots + (<usize>(c * BAND + n) << 1), tag | (load<u8>(row + c) & 15));
  store<i32>(at(count, c), n + 1);
}

/** Pixels [begin, end) of dyb[block][p][32] from dy [pixels][N], zeros past N. */
export function spike_gradient_blocks(begin: i32, end: i32, dy: usize, dyb: usize, pixels: i32, N: i32): void {
  for (let j = 0; j < N; j += BLOCK) {
    for (let p = begin; p < end; p++) {
      const from = at(dy, p * N + j), to = at(dyb, j * pixels + p * BLOCK);
      for (let lane = 0; lane < BLOCK; lane += 4) v128.store(at(to, lane), loadSome(at(from, lane), N - j - lane));
    }
  }
}

/** `width` output channels from column j on, of which `left` exist. Width is a constant: what it rules out is not compiled. */
// @ts-ignore: decorator
@inline function columns(
  width: i32, begin: i32, end: i32, events: usize, counts: usize, table: usize, pixels: i32, outputs: i32, taps: i32, K: i32, dyb: usize, dwt: usize, N: i32, j: i32,
): void {
  const left = N - j, rows = at(dyb, j * outputs), bands = (pixels + BAND - 1) / BAND;
  for (let band = 0; band < bands; band++) {
    for (let tap = 0; tap < taps; tap++) {
      const fed = table ? at(table, tap * pixels + band * BAND) : 0;
      for (let k = begin; k < end; k++) {
        const n = load<i32>(at(counts, band * K + k)), out = at(dwt, (tap * K + k) * N + j);
        if (n == 0 && band > 0) continue;
        let s0 = i32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
        if (band > 0) {
          if (left >= width) {
            s0 = v128.load(out);
            if (width > 4) s1 = v128.load(out, 16);
            if (width > 8) { s2 = v128.load(out, 32); s3 = v128.load(out, 48); }
            if (width > 16) { s4 = v128.load(out, 64); s5 = v128.load(out, 80); s6 = v128.load(out, 96); s7 = v128.load(out, 112); }
          } else {
            s0 = loadSome(out, left);
            if (width > 4) s1 = loadSome(out + 16, left - 4);
            if (width > 8) { s2 = loadSome(out + 32, left - 8); s3 = loadSome(out + 48, left - 12); }
            if (width > 16) { s4 = loadSome(out + 64, left - 16); s5 = loadSome(out + 80, left - 20); s6 = loadSome(out + 96, left - 24); s7 = loadSome(out + 112, left - 28); }
          }
        }
        let e = events + (<usize>((band * K + k) * BAND) << 1);
        const stop = e + (<usize>n << 1);
        for (; e < stop; e += 2) {
          const event = <usize>load<u16>(e), pixel = fed ? load<i32>(fed + ((event >> 4) << 2)) : band * BAND + <i32>(event >> 4);
          if (pixel < 0) continue;
          const row = at(rows, pixel * BLOCK), value4 = v128.load32_splat(NUMBERS + ((event & 15) << 2));
          if (e) {  // always: keeps V8 from loading more than the registers hold (see gather.ts)
            s0 = madd(value4, v128.load(row), s0);
            if (width > 4) s1 = madd(value4, v128.load(row, 16), s1);
            if (width > 8) { s2 = madd(value4, v128.load(row, 32), s2); s3 = madd(value4, v128.load(row, 48), s3); }
          }
          if (width > 16) {
            s4 = madd(value4, v128.load(row, 64), s4);
            s5 = madd(value4, v128.load(row, 80), s5);
            s6 = madd(value4, v128.load(row, 96), s6);
            s7 = madd(value4, v128.load(row, 112), s7);
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
}

/** Channels [begin, end): dwt[tap][k][j] = sum over events (q, value) of channel k of value * dy[table[tap][q]][j] */
export function spike_weight_grad(
  begin: i32, end: i32, events: usize, counts: usize, table: usize, pixels: i32, outputs: i32, taps: i32, K: i32, dyb: usize, dwt: usize, N: i32,
): void {
  for (let j = 0; j < N; j += BLOCK) {
    const left = N - j;
    if (left > 16) columns(32, begin, end, events, counts, table, pixels, outputs, taps, K, dyb, dwt, N, j);
    else if (left > 8) columns(16, begin, end, events, counts, table, pixels, outputs, taps, K, dyb, dwt, N, j);
    else if (left > 4) columns(8, begin, end, events, counts, table, pixels, outputs, taps, K, dyb, dwt, N, j);
    else columns(4, begin, end, events, counts, table, pixels, outputs, taps, K, dyb, dwt, N, j);
  }
}
