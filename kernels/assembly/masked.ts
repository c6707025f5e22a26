/**
 * The input gradient of a 1x1 convolution where it is asked for: a neuron passes nothing back through a closed window, so that only products for
 * open ones count. Each is a dot product over the output channels; four share every load of dy.
 *
 *   for each block of 32 pixels
 *     for each block of at most 64 channels      their weights: 64 KB at 256 outputs, or 16 channels
 *       for each pixel, for each four open ones  8 sums, two for each: one would wait for itself
 */
import { LANES, at, loadSome, madd, storeSome } from "./lanes";

// @ts-ignore: decorator
@inline const PIXELS: i32 = 32;
/** Most channels of a block, one bit each, and the weights that they may have together. */
// @ts-ignore: decorator
@inline const WIDEST: i32 = 64;
// @ts-ignore: decorator
@inline const WEIGHTS: i32 = 16384;

/** dx[p][c] = sum_j dy[p][j] * wt[c][j] where the window of s[p][c] is open, 0 elsewhere */
export function f32_gemm_masked(begin: i32, end: i32, s: usize, dy: usize, wt: usize, dx: usize, C: i32, N: i32): void {
  const width = max(16, min(WIDEST, WEIGHTS / N & ~15));
  for (let first = begin; first < end; first += PIXELS) {
    const last = min(first + PIXELS, end);
    for (let c = 0; c < C; c += width) {
      const count = min(width, C - c);
      for (let p = first; p < last; p++) dots(openWindows(s + p * C + c, count), at(dy, p * N), at(wt, c * N), at(dx, p * C + c), count, N);
    }
  }
}

/** Bit i: the window of byte i is open, for i < count. */
// @ts-ignore: decorator
@inline function openWindows(s: usize, count: i32): u64 {
  let open: u64 = 0;
  for (let i = 0; i < count; i += 16) open |= <u64>i8x16.bitmask(i8x16.shl(v128.load(s + i), 3)) << i;
  return open << (64 - count) >> (64 - count);
}

/** The products of one pixel for the channels in `open`, zeros for the others of `count`. Where fewer than four are left, the last is computed again. */
function dots(open: u64, dy: usize, wt: usize, dx: usize, count: i32, N: i32): void {
  const zero4 = f32x4.splat(0);
  for (let c = 0; c < count; c += LANES) storeSome(at(dx, c), zero4, count - c);
  while (open) {
    const c0 = <i32>ctz(open); open &= open - 1;
    const c1 = open ? <i32>ctz(open) : c0; open &= open - 1;
    const c2 = open ? <i32>ctz(open) : c1; open &= open - 1;
    const c3 = open ? <i32>ctz(open) : c2; open &= open - 1;
    let y = dy, w0 = at(wt, c0 * N), w1 = at(wt, c1 * N), w2 = at(wt, c2 * N), w3 = at(wt, c3 * N), left = N, y4: v128;
    let s0 = zero4, s1 = zero4, s2 = zero4, s3 = zero4, t0 = zero4, t1 = zero4, t2 = zero4, t3 = zero4;
    while (left >= LANES) { // the exit in the middle ends a basic block: see generate/microkernels.mjs
      y4 = v128.load(y);
      s0 = madd(y4, v128.load(w0), s0); s1 = madd(y4, v128.load(w1), s1); s2 = madd(y4, v128.load(w2), s2); s3 = madd(y4, v128.load(w3), s3);
      left -= LANES;
      if (left < LANES) break;
      y4 = v128.load(y, 16);
      t0 = madd(y4, v128.load(w0, 16), t0); t1 = madd(y4, v128.load(w1, 16), t1); t2 = madd(y4, v128.load(w2, 16), t2); t3 = madd(y4, v128.load(w3, 16), t3);
      left -= LANES;
      y += 32; w0 += 32; w1 += 32; w2 += 32; w3 += 32;
    }
    if (left) {
      const half = at(0, N & LANES); // where the loop was left in the middle
      y4 = loadSome(y + half, left);
      t0 = madd(y4, loadSome(w0 + half, left), t0); t1 = madd(y4, loadSome(w1 + half, left), t1);
      t2 = madd(y4, loadSome(w2 + half, left), t2); t3 = madd(y4, loadSome(w3 + half, left), t3);
    }
    s0 = f32x4.add(s0, t0); s1 = f32x4.add(s1, t1); s2 = f32x4.add(s2, t2); s3 = f32x4.add(s3, t3);
    const s01 = f32x4.add(v128.shuffle<f32>(s0, s1, 0, 4, 1, 5), v128.shuffle<f32>(s0, s1, 2, 6, 3, 7));
    const s23 = f32x4.add(v128.shuffle<f32>(s2, s3, 0, 4, 1, 5), v128.shuffle<f32>(s2, s3, 2, 6, 3, 7));
    const sums = f32x4.add(v128.shuffle<f32>(s01, s23, 0, 1, 4, 5), v128.shuffle<f32>(s01, s23, 2, 3, 6, 7));
    v128.store32_lane(at(dx, c0), sums, 0);
    v128.store32_lane(at(dx, c1), sums, 1);
    v128.store32_lane(at(dx, c2), sums, 2);
    v128.store32_lane(at(dx, c3), sums, 3);
  }
}
