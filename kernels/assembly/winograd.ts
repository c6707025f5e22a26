/**
 * 3x3 convolution of stride 1 by Winograd F(4x4,3x3) (Lavin and Gray, arXiv:1509.09308): 36 products give 16 outputs, where taps take 144.
 *
 *   Y = A^T [ (G g G^T) . (B^T d B) ] A      g 3x3 taps, d 6x6 inputs, Y 4x4 outputs; the product in brackets sums over channels
 *
 *         u[position][panel][k][8]     weights    \
 *         v[position][tile][k]         inputs      > 36 positions of the 6x6 tile, one matrix product each:  m = v u
 *         m[position][tile][j]         products   /
 *
 * Positions lie one cache line further apart than their size, or all 36 of a tile would fall into the same few cache sets.
 * Each transform goes down the columns and then, in place, along the rows. Those of inputs and outputs are additions only (2x is x + x),
 * so that every build rounds them alike.
 */
import { product_rows4x8 } from "./generated/dense";
import { LANES, at, loadSome, rowOf, storeLanes } from "./lanes";

const PANEL: i32 = 8;
const SIDE: i32 = 6;
const OUT: i32 = 4;
const POSITIONS: i32 = 36;
const TAPS: i32 = 9;
const LINE: i32 = 16; // f32 in a cache line
/** Channels of a tile that stay in L1 between the two directions. */
const CHUNK: i32 = 64;

// @ts-ignore: decorator
@inline function paddedTo(multiple: i32, n: i32): i32 { return (n + multiple - 1) & -multiple; }

/** Bytes from one position to the next. */
// @ts-ignore: decorator
@inline function stepOf(rows: i32, width: i32): usize { return at(0, rows * width + LINE); }

/** u = G g G^T of packed weights, for each pair of channels; flip reverses the taps. */
export function winograd_weights(begin: i32, end: i32, packed: usize, u: usize, N: i32, K: i32, flip: i32): void {
  const step = stepOf(paddedTo(PANEL, N), K), nextTap = at(0, K * PANEL);
  const forth = flip ? 0 - nextTap : nextTap, first = flip ? (TAPS - 1) * nextTap : 0;
  for (let panel = begin; panel < end; panel++) {
    const g = at(packed, panel * TAPS * K * PANEL) + first, to = at(u, panel * K * PANEL);
    for (let i = 0; i < K * PANEL; i += LANES) {
      for (let x = 0; x < 3; x++) weightLine(at(g, i) + x * forth, 3 * forth, at(to, i) + x * step, SIDE * step);
      for (let y = 0; y < SIDE; y++) weightLine(at(to, i) + y * SIDE * step, step, at(to, i) + y * SIDE * step, step);
    }
  }
}

const FACTORS: usize = memory.data<f32>([1.0 / 4.0, -1.0 / 6.0, 1.0 / 24.0]); // a v128 constant would be rebuilt at each use

/** Six values from three: G times a column. */
// @ts-ignore: decorator
@inline function weightLine(g: usize, nextG: usize, u: usize, nextU: usize): void {
  const g0 = v128.load(g), g1 = v128.load(g + nextG), g2 = v128.load(g + 2 * nextG);
  const ends = f32x4.add(g0, g2), twice = f32x4.add(g1, g1), g24 = f32x4.add(g2, g2), wide = f32x4.add(g0, f32x4.add(g24, g24));
  const sixth = v128.load32_splat(FACTORS, 4), part = v128.load32_splat(FACTORS, 8);
  v128.store(u, f32x4.mul(g0, v128.load32_splat(FACTORS)));
  v128.store(u + nextU, f32x4.mul(f32x4.add(ends, g1), sixth));
  v128.store(u + 2 * nextU, f32x4.mul(f32x4.sub(ends, g1), sixth));
  v128.store(u + 3 * nextU, f32x4.mul(f32x4.add(wide, twice), part));
  v128.store(u + 4 * nextU, f32x4.mul(f32x4.sub(wide, twice), part));
  v128.store(u + 5 * nextU, g2);
}

/** v = B^T d B of tiles first + begin..first + end-1 of the picture, for each channel; zeros outside of the picture and past K. */
export function f32_winograd_input(
  begin: i32, end: i32, x: usize, v: usize, first: i32, tiles: i32, H: i32, W: i32, OH: i32, OW: i32, K: i32, padding: i32,
): void {
  const width = paddedTo(LANES, K), step = stepOf(tiles, width), xBytes = at(0, K);
  const across = (OW + OUT - 1) / OUT, perPicture = (OH + OUT - 1) / OUT * across;
  for (let t = begin; t < end; t++) {
    const tile = first + t, place = tile % perPicture, picture = tile / perPicture * H;
    const iy = place / across * OUT - padding, ix = place % across * OUT - padding;
    for (let k = 0; k < K; k += CHUNK) {
      const to = at(v, t * width + k), left = min(CHUNK, K - k);
      for (let column = 0; column < SIDE; column++) {
        const xx = ix + column, inside = <u32>xx < <u32>W;
        let r0 = at(pixel(x, xBytes, picture, iy, H, W, xx, inside), k), r1 = at(pixel(x, xBytes, picture, iy + 1, H, W, xx, inside), k);
        let r2 = at(pixel(x, xBytes, picture, iy + 2, H, W, xx, inside), k), r3 = at(pixel(x, xBytes, picture, iy + 3, H, W, xx, inside), k);
        let r4 = at(pixel(x, xBytes, picture, iy + 4, H, W, xx, inside), k), r5 = at(pixel(x, xBytes, picture, iy + 5, H, W, xx, inside), k);
        let out = to + column * step, c = 0;
        for (; c <= left - LANES; c += LANES, out += 16, r0 += 16, r1 += 16, r2 += 16, r3 += 16, r4 += 16, r5 += 16) {
          inputLine(v128.load(r0), v128.load(r1), v128.load(r2), v128.load(r3), v128.load(r4), v128.load(r5), out, SIDE * step);
        }
        const some = left - c;
        if (some > 0) inputLine(loadSome(r0, some), loadSome(r1, some), loadSome(r2, some), loadSome(r3, some), loadSome(r4, some), loadSome(r5, some), out, SIDE * step);
      }
      for (let row = 0; row < SIDE; row++) {
        let line = to + row * SIDE * step;
        for (let c = 0; c < left; c += LANES, line += 16) {
          inputLine(v128.load(line), v128.load(line + step), v128.load(line + 2 * step), v128.load(line + 3 * step), v128.load(line + 4 * step), v128.load(line + 5 * step), line, step);
        }
      }
    }
  }
}

/** Address of a pixel, or of zeros outside of the picture whose rows begin at `picture`. */
// @ts-ignore: decorator
@inline function pixel(x: usize, xBytes: usize, picture: i32, iy: i32, H: i32, W: i32, ix: i32, inside: bool): usize {
  return rowOf(x, xBytes, inside && <u32>iy < <u32>H ? (picture + iy) * W + ix : -1);
}

/** Six values from six: B^T times a column. */
// @ts-ignore: decorator
@inline function inputLine(d0: v128, d1: v128, d2: v128, d3: v128, d4: v128, d5: v128, v: usize, next: usize): void {
  const even = f32x4.sub(d4, d2), odd = f32x4.sub(d3, d1), odd2 = f32x4.add(odd, odd);
  v128.store(v + 3 * next, f32x4.add(even, odd2));
  v128.store(v + 4 * next, f32x4.sub(even, odd2));
  v128.store(v + 5 * next, f32x4.sub(f32x4.sub(d5, d3), f32x4.add(odd2, odd2)));
  const near = f32x4.sub(d0, d2), near2 = f32x4.add(near, near);
  v128.store(v, f32x4.add(f32x4.add(near2, near2), even));
  const d22 = f32x4.add(d2, d2), d12 = f32x4.add(d1, d1);
  const fore = f32x4.sub(d4, f32x4.add(d22, d22)), aft = f32x4.sub(d3, f32x4.add(d12, d12));
  v128.store(v + next, f32x4.add(fore, aft));
  v128.store(v + 2 * next, f32x4.sub(fore, aft));
}

/** m[position][tile][8 panel..] = v[position][tile] u[position][panel]; one item is one panel of one position. */
export function f32_winograd_multiply(begin: i32, end: i32, v: usize, u: usize, m: usize, tiles: i32, K: i32, N: i32): void {
  const vWidth = paddedTo(LANES, K), mWidth = paddedTo(PANEL, N), panels = mWidth / PANEL;
  const vStep = stepOf(tiles, vWidth), uStep = stepOf(mWidth, K), mStep = stepOf(tiles, mWidth);
  for (let item = begin; item < end; item++) {
    const position = item / panels, panel = item % panels;
    const from = v + position * vStep, weights = at(u + position * uStep, panel * K * PANEL), to = at(m + position * mStep, panel * PANEL);
    product_rows4x8(from, at(0, vWidth), K, weights, 0, to, at(0, mWidth), tiles, PANEL);
  }
}

/** y = A^T m A + bias for tiles first + begin..first + end-1 of the picture. Pixels outside of it go to places of m that have been read. */
export function f32_winograd_output(
  begin: i32, end: i32, m: usize, bias: usize, y: usize, first: i32, tiles: i32, OH: i32, OW: i32, N: i32,
): void {
  const width = paddedTo(PANEL, N), step = stepOf(tiles, width), yBytes = at(0, N), shift = rowOf(bias, 0, bias ? 0 : -1);
  const across = (OW + OUT - 1) / OUT, down = (OH + OUT - 1) / OUT;
  for (let t = begin; t < end; t++) {
    const tile = first + t, place = tile % (down * across), picture = tile / (down * across) * OH;
    const oy = place / across * OUT, ox = place % across * OUT, rows = min(OUT, OH - oy), columns = min(OUT, OW - ox);
    for (let j = 0; j < N; j += CHUNK) {
      const from = at(m, t * width + j), left = min(CHUNK, N - j);
      for (let column = 0; column < SIDE; column++) {
        let line = from + column * step;
        for (let c = 0; c < left; c += LANES, line += 16) outputLine(line, SIDE * step, line, line + SIDE * step, line + 2 * SIDE * step, line + 3 * SIDE * step, 0, LANES);
      }
      for (let row = 0; row < rows; row++) {
        let line = from + row * SIDE * step, b = at(shift, j), c = 0;
        let y0 = at(y, ((picture + oy + row) * OW + ox) * N + j);
        let y1 = columns > 1 ? y0 + yBytes : line, y2 = columns > 2 ? y0 + 2 * yBytes : line, y3 = columns > 3 ? y0 + 3 * yBytes : line;
        for (; c <= left - LANES; c += LANES, line += 16, b += 16, y0 += 16, y1 += 16, y2 += 16, y3 += 16) outputLine(line, step, y0, y1, y2, y3, b, LANES);
        if (c < left) outputLine(line, step, y0, y1, y2, y3, b, left - c);
      }
    }
  }
}

/** Four values from six: A^T times a column, plus the bias if there is a pointer to it. */
// @ts-ignore: decorator
@inline function outputLine(m: usize, next: usize, y0: usize, y1: usize, y2: usize, y3: usize, bias: usize, count: i32): void {
  const m0 = v128.load(m), m1 = v128.load(m + next), m2 = v128.load(m + 2 * next), m3 = v128.load(m + 3 * next), m4 = v128.load(m + 4 * next), m5 = v128.load(m + 5 * next);
  const near = f32x4.add(m1, m2), far = f32x4.add(m3, m4), nearOdd = f32x4.sub(m1, m2), farOdd = f32x4.sub(m3, m4);
  const far2 = f32x4.add(far, far), odd2 = f32x4.add(farOdd, farOdd), odd4 = f32x4.add(odd2, odd2);
  storeLanes(y0, plus(f32x4.add(f32x4.add(m0, near), far), bias), count);
  storeLanes(y1, plus(f32x4.add(nearOdd, odd2), bias), count);
  storeLanes(y2, plus(f32x4.add(near, f32x4.add(far2, far2)), bias), count);
  storeLanes(y3, plus(f32x4.add(f32x4.add(nearOdd, f32x4.add(odd4, odd4)), m5), bias), count);
}

// @ts-ignore: decorator
@inline function plus(v: v128, bias: usize): v128 { return bias ? f32x4.add(v, v128.load(bias)) : v; }
