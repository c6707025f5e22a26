/**
 * The weight gradient of spike convolutions: the forward pass with the roles exchanged. Events are the places at which channel k fired,
 * and what one event adds is a row of dy.
 *
 *   place  b*Hp*Wp + y*Wp + x        of pixel (y, x) of image b, in images of Hp x Wp
 *   dyb    [N/32][places][32]        dy in blocks of 32 output channels, so that the rows that a band of places adds lie together in L1
 *   lists  by band and channel       u16 (place in the band << 4 | value), back to back within a band; spans [band][channel]
 *   dwt    [N/32][tap][K][32]        rows that a band adds to lie one after the other
 *
 * With a halo of zeros around dy every tap is one offset for all places; where strides forbid that, a table says which row a place feeds.
 */
import { gather_gradient } from "./generated/spikes";
import { at, loadSome } from "./lanes";

/** Places of one band: their rows take 24 KB of L1. At most 255, as counts are bytes. */
// @ts-ignore: decorator
@inline const BAND: i32 = 192;
// @ts-ignore: decorator
@inline const BLOCK: i32 = 32;

/** Bands [begin, end): events[spans[2i] .. spans[2i + 1]) with i = band*C + c are those of channel c among the places of the band, in their order. */
export function spike_channel_events(begin: i32, end: i32, s: usize, events: usize, spans: usize, B: i32, H: i32, W: i32, C: i32, Hp: i32, Wp: i32): void {
  const places = B * Hp * Wp;
  for (let band = begin; band < end; band++) {
    const first = band * BAND, last = min(first + BAND, places), ends = spans + (<usize>(band * C) << 3);
    for (let c = 0; c < C; c++) store<u32>(ends + (<usize>c << 3), 0, 4);
    for (let from = first, to = first; from < last; from = to) { // the pixels of one image row
      const row = from / Wp, x = from % Wp, y = row % Hp;
      to = min(last, from + Wp - x);
      if (y < H && x < W) countChannels(s + ((row / Hp * H + y) * W + x) * C, min(to - from, W - x), C, ends);
    }
    let start: u32 = first * C;
    for (let c = 0; c < C; c++) {
      const span = ends + (<usize>c << 3), count = load<u32>(span, 4);
      store<u32>(span, start);
      store<u32>(span, start, 4); // where the next event goes; the end, when all are there
      start += count;
    }
    for (let from = first, to = first; from < last; from = to) {
      const row = from / Wp, x = from % Wp, y = row % Hp;
      to = min(last, from + Wp - x);
      if (y >= H) continue;
      let pixel = s + ((row / Hp * H + y) * W + x) * C;
      for (let i = 0; i < min(to - from, W - x); i++, pixel += C) noteChannels(pixel, C, (from - first + i) << 4, ends, events);
    }
  }
}

/** One bit for each of sixteen values that are not zero. */
// @ts-ignore: decorator
@inline function firedOf(s: usize): i32 { return i8x16.bitmask(i8x16.gt_s(v128.and(v128.load(s), i8x16.splat(15)), i8x16.splat(0))); }

/** spans[c].end += how often channel c fired in so many pixels, at most 255 */
function countChannels(s: usize, pixels: i32, C: i32, spans: usize): void {
  const nibble = i8x16.splat(15), zero = i8x16.splat(0);
  let c = 0;
  for (; c <= C - 16; c += 16) {
    let counts = zero;
    for (let p = 0, from = s + c; p < pixels; p++, from += C) counts = i8x16.sub(counts, i8x16.gt_s(v128.and(v128.load(from), nibble), zero));
    if (!v128.any_true(counts)) continue;
    let lo = i16x8.extend_low_i8x16_u(counts), hi = i16x8.extend_high_i8x16_u(counts);
    for (let lane = 0; lane < 8; lane++) {
      addCount(spans, c + lane, i16x8.extract_lane_u(lo, 0));
      addCount(spans, c + lane + 8, i16x8.extract_lane_u(hi, 0));
      lo = v128.shuffle<i16>(lo, lo, 1, 2, 3, 4, 5, 6, 7, 0);
      hi = v128.shuffle<i16>(hi, hi, 1, 2, 3, 4, 5, 6, 7, 0);
    }
  }
  for (; c < C; c++) {
    let count: u32 = 0;
    for (let p = 0; p < pixels; p++) count += <u32>((load<u8>(s + p * C + c) & 15) > 0);
    addCount(spans, c, count);
  }
}

// @ts-ignore: decorator
@inline function addCount(spans: usize, c: i32, count: u32): void {
  const span = spans + (<usize>c << 3);
  store<u32>(span, load<u32>(span, 4) + count, 4);
}

/** Adds an event to each channel that fired in this pixel. */
function noteChannels(pixel: usize, C: i32, tag: i32, ends: usize, events: usize): void {
  let c = 0;
  for (; c <= C - 16; c += 16) for (let fired = firedOf(pixel + c); fired; fired &= fired - 1) note(pixel, c + ctz(fired), tag, ends, events);
  for (; c < C; c++) if (load<u8>(pixel + c) & 15) note(pixel, c, tag, ends, events);
}

// @ts-ignore: decorator
@inline function note(pixel: usize, c: i32, tag: i32, ends: usize, events: usize): void {
  const span = ends + (<usize>c << 3), end = load<u32>(span, 4);
  store<u16>(events + (<usize>end << 1), tag | (load<u8>(pixel + c) & 15));
  store<u32>(span, end + 1, 4);
}

/** Image rows [begin, end) of dyb[block][b*Hp*Wp + (top + y)*Wp + left + x][32] from dy [B][H][W][N]; zeros around, and past N. */
export function spike_gradient_blocks(begin: i32, end: i32, dy: usize, dyb: usize, B: i32, H: i32, W: i32, N: i32, Hp: i32, Wp: i32, top: i32, left: i32): void {
  const places = B * Hp * Wp;
  for (let j = 0; j < N; j += BLOCK) {
    for (let row = begin; row < end; row++) {
      const y = row % Hp - top, to = at(dyb, j * places + row * Wp * BLOCK);
      if (y < 0 || y >= H) { memory.fill(to, 0, at(0, Wp * BLOCK)); continue; }
      memory.fill(to, 0, at(0, left * BLOCK));
      memory.fill(at(to, (left + W) * BLOCK), 0, at(0, (Wp - left - W) * BLOCK));
      let from = at(dy, (row / Hp * H + y) * W * N + j), pixel = at(to, left * BLOCK);
      for (let x = 0; x < W; x++, from += <usize>N << 2, pixel += 4 * BLOCK) {
        for (let lane = 0; lane < BLOCK; lane += 4) v128.store(at(pixel, lane), loadSome(at(from, lane), N - j - lane));
      }
    }
  }
}

/**
 * Channels [begin, end): dwt[j/32][tap][k][j%32] = sum over events (place, value) of channel k of value * dyb[j/32][row][j%32], where row is
 * table[tap][place] (-1: none), or without a table place + (kh-1-ky)*Wp + kw-1-kx.
 */
export function spike_weight_grad(
  begin: i32, end: i32, events: usize, spans: usize, table: usize, places: i32, rows: i32, taps: i32, kw: i32, Wp: i32, K: i32, dyb: usize, dwt: usize, N: i32,
): void {
  gather_gradient(begin, end, events, spans, table, places, rows, taps, kw, Wp, K, BAND, dyb, dwt, N);
}
