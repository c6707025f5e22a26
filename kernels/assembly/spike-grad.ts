/**
 * The weight gradient of spike convolutions: the forward pass with the roles exchanged. Events are the places at which channel k fired,
 * and what one event adds is a row of dy.
 *
 *   place  b*Hp*Wp + y*Wp + x        of pixel (y, x) of image b, in images of Hp x Wp
 *   dyb    [N/32][places][32]        dy in blocks of 32 output channels, so that the rows that a band of places adds lie together in L1
 *   lists  by band and channel       u16 (place in the band << 4 | value), one after the other within a band; spans [band][channel]
 *   dwt    [N/32][tap][K][32]        rows that a band adds to lie one after the other
 *
 * With a halo of zeros around dy every tap is one offset for all places, for every phase of a stride; where dilation forbids that, a table says which row a place feeds.
 */
import { gather_gradient } from "./generated/spikes";
import { TAGS, compacted } from "./lists";
import { at, clearVectors, loadSome } from "./lanes";

/** Places of one band: their rows take 24 KB of L1. At most 255, as counts are bytes. */
// @ts-ignore: decorator
@inline const BAND: i32 = 192;
// @ts-ignore: decorator
@inline const BLOCK: i32 = 32;
/** Entries behind a list that are written over by what it did not keep, and what a band's lists may take for each channel. */
// @ts-ignore: decorator
@inline const SLACK: i32 = 8;
// @ts-ignore: decorator
@inline const LISTED: i32 = BAND + SLACK;
/** Pixels that are not there. */
// @ts-ignore: decorator
@lazy const ZEROS = memory.data(16, 16);

/** Bands [begin, end): events[spans[2i] .. spans[2i + 1]) with i = band*C + c are those of channel c among the places of the band, in their order. */
export function spike_channel_events(
  begin: i32, end: i32, s: usize, events: usize, spans: usize, B: i32, H: i32, W: i32, C: i32, Hp: i32, Wp: i32, step: i32, top: i32, left: i32,
): void {
  const places = B * Hp * Wp, h = (H - top + step - 1) / step, w = (W - left + step - 1) / step, pixelBytes = step * C, rowBytes = step * W * C, pictureBytes = H * W * C;
  s += (top * W + left) * C;
  for (let band = begin; band < end; band++) {
    const first = band * BAND, last = min(first + BAND, places), ends = spans + (<usize>(band * C) << 3);
    let c = 0, start: u32 = band * LISTED * C;
    for (; c <= C - 16; c += 16) start = startLists(countSixteen(s + c, first, last, h, w, pixelBytes, rowBytes, pictureBytes, Hp, Wp), ends + (<usize>c << 3), start);
    for (; c < C; c++) {
      const span = ends + (<usize>c << 3);
      store<u32>(span, start);
      store<u32>(span, start, 4);
      start += BAND;
    }
    for (let from = first, to = first; from < last; from = to) { // the pixels of one image row
      const row = from / Wp, x = from % Wp, y = row % Hp;
      to = min(last, from + Wp - x);
      if (y >= h) continue;
      const pixels = min(to - from, w - x), pixel = s + row / Hp * pictureBytes + y * rowBytes + x * pixelBytes;
      for (let i = 0; i < pixels; i += 8) listEight(pixel + i * pixelBytes, min(8, pixels - i), C, pixelBytes, (from - first + i) << 4, ends, events);
    }
  }
}

/** How often each of sixteen channels fired among the places [first, last): a band's fit in bytes. */
// @ts-ignore: decorator
@inline function countSixteen(s: usize, first: i32, last: i32, h: i32, w: i32, pixelBytes: i32, rowBytes: i32, pictureBytes: i32, Hp: i32, Wp: i32): v128 {
  const nibble = i8x16.splat(15), zero = i8x16.splat(0);
  let counts = zero;
  for (let from = first, to = first; from < last; from = to) {
    const row = from / Wp, x = from % Wp, y = row % Hp;
    to = min(last, from + Wp - x);
    if (y >= h) continue;
    let pixel = s + row / Hp * pictureBytes + y * rowBytes + x * pixelBytes;
    for (let i = min(to - from, w - x); i > 0; i--, pixel += pixelBytes) counts = i8x16.sub(counts, i8x16.gt_s(v128.and(v128.load(pixel), nibble), zero));
  }
  return counts;
}

/** Empty lists of sixteen channels from entry `start` on, with room for so many events; where the next list starts. */
// @ts-ignore: decorator
@inline function startLists(counts: v128, span: usize, start: u32): u32 {
  for (let c = 0; c < 16; c++, span += 8, counts = i8x16.shuffle(counts, counts, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0)) {
    store<u32>(span, start);
    store<u32>(span, start, 4); // where the next event goes; the end, when all are there
    start += <u32>i8x16.extract_lane_u(counts, 0) + SLACK;
  }
  return start;
}

/** Events of so many pixels, at most eight, go to the lists of their channels: sixteen channels at a time, turned about so that a channel's pixels are neighbours. */
function listEight(pixel: usize, pixels: i32, C: i32, pixelBytes: i32, tag: i32, ends: usize, events: usize): void {
  const tags = i16x8.add(v128.load(TAGS), i16x8.splat(<i16>tag));
  let c = 0;
  for (; c <= C - 16; c += 16, pixel += 16, ends += 16 << 3) {
    const r0 = valuesOf(pixel, 0, pixels, pixelBytes), r1 = valuesOf(pixel, 1, pixels, pixelBytes), r2 = valuesOf(pixel, 2, pixels, pixelBytes), r3 = valuesOf(pixel, 3, pixels, pixelBytes);
    const r4 = valuesOf(pixel, 4, pixels, pixelBytes), r5 = valuesOf(pixel, 5, pixels, pixelBytes), r6 = valuesOf(pixel, 6, pixels, pixelBytes), r7 = valuesOf(pixel, 7, pixels, pixelBytes);
    eightChannels(zipLow(r0, r4), zipLow(r1, r5), zipLow(r2, r6), zipLow(r3, r7), tags, ends, events);
    eightChannels(zipHigh(r0, r4), zipHigh(r1, r5), zipHigh(r2, r6), zipHigh(r3, r7), tags, ends + (8 << 3), events);
  }
  for (; c < C; c++, pixel++, ends += 8) {
    for (let i = 0; i < pixels; i++) {
      const value = <i32>load<u8>(pixel + i * pixelBytes) & 15, end = load<u32>(ends, 4);
      store<u16>(events + (<usize>end << 1), tag + (i << 4) | value);
      store<u32>(ends, end + <u32>(value > 0), 4);
    }
  }
}

/** Values of sixteen channels of the i-th pixel, zeros past the last. */
// @ts-ignore: decorator
@inline function valuesOf(pixel: usize, i: i32, pixels: i32, pixelBytes: i32): v128 { return v128.and(v128.load(i < pixels ? pixel + i * pixelBytes : ZEROS), i8x16.splat(15)); }

/** Bytes of a and b in turns: of their first halves. */
// @ts-ignore: decorator
@inline function zipLow(a: v128, b: v128): v128 { return i8x16.shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23); }

/** … of their last halves. */
// @ts-ignore: decorator
@inline function zipHigh(a: v128, b: v128): v128 { return i8x16.shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31); }

/** From pixels 0 and 4, 1 and 5, 2 and 6, 3 and 7 of eight channels in turns. */
// @ts-ignore: decorator
@inline function eightChannels(a: v128, b: v128, c: v128, d: v128, tags: v128, ends: usize, events: usize): void {
  const ac = zipLow(a, c), bd = zipLow(b, d), AC = zipHigh(a, c), BD = zipHigh(b, d);
  twoChannels(zipLow(ac, bd), tags, ends, events);
  twoChannels(zipHigh(ac, bd), tags, ends + 16, events);
  twoChannels(zipLow(AC, BD), tags, ends + 32, events);
  twoChannels(zipHigh(AC, BD), tags, ends + 48, events);
}

// @ts-ignore: decorator
@inline function twoChannels(values: v128, tags: v128, ends: usize, events: usize): void {
  const fired = i8x16.bitmask(i8x16.gt_s(values, i8x16.splat(0)));
  append(i16x8.extend_low_i8x16_u(values), fired & 255, tags, ends, events);
  append(i16x8.extend_high_i8x16_u(values), fired >> 8, tags, ends + 8, events);
}

/** The events of one channel in eight pixels. Eight entries are written, of which the list keeps those that fired: hence the slack behind it. */
// @ts-ignore: decorator
@inline function append(values: v128, fired: i32, tags: v128, span: usize, events: usize): void {
  const end = load<u32>(span, 4);
  v128.store(events + (<usize>end << 1), compacted(v128.or(tags, values), fired));
  store<u32>(span, end + popcnt(fired), 4);
}

/** Image rows [begin, end) of dyb[block][b*Hp*Wp + (top + y)*Wp + left + x][32] from dy [B][H][W][N]; zeros around, and past N. */
export function spike_gradient_blocks(begin: i32, end: i32, dy: usize, dyb: usize, B: i32, H: i32, W: i32, N: i32, Hp: i32, Wp: i32, top: i32, left: i32): void {
  const places = B * Hp * Wp;
  for (let j = 0; j < N; j += BLOCK) {
    const whole = N - j >= BLOCK;
    for (let row = begin; row < end; row++) {
      const y = row % Hp - top, to = at(dyb, j * places + row * Wp * BLOCK);
      if (y < 0 || y >= H) { clearVectors(to, at(to, Wp * BLOCK)); continue; }
      clearVectors(to, at(to, left * BLOCK));
      clearVectors(at(to, (left + W) * BLOCK), at(to, Wp * BLOCK));
      let from = at(dy, (row / Hp * H + y) * W * N + j), pixel = at(to, left * BLOCK);
      for (let x = 0; x < W; x++, from += <usize>N << 2, pixel += 4 * BLOCK) {
        if (whole) for (let lane = 0; lane < BLOCK; lane += 4) v128.store(at(pixel, lane), v128.load(at(from, lane)));
        else for (let lane = 0; lane < BLOCK; lane += 4) v128.store(at(pixel, lane), loadSome(at(from, lane), N - j - lane));
      }
    }
  }
}

/**
 * Items [begin, end) = block*K + k: dwt[block][to][k][j] = sum over events (place, value) of channel k of value * dyb[block][row][j], where row is
 * table[tap][place] (-1: none), or without a table place + (kh-1-ky)*Wp + kw-1-kx. Of `all` taps of dwt those that are gathered are to = top + ky*line + kx*step.
 */
export function spike_weight_grad(
  begin: i32, end: i32, events: usize, spans: usize, table: usize, places: i32, rows: i32, taps: i32, kw: i32, Wp: i32, K: i32, dyb: usize, dwt: usize, N: i32,
  all: i32, top: i32, step: i32, line: i32,
): void {
  gather_gradient(begin, end, events, spans, table, places, rows, taps, kw, Wp, K, BAND, dyb, dwt, N, all, top, step, line);
}
