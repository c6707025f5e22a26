/** Rows and time: copies, broadcasts and sums. A row is C consecutive elements. */
import { LANES, at, copyRow, loadSome, madd, storeSome } from "./lanes";

/** y[row][i] = x[row][i], i < width */
export function f32_copy_columns(begin: i32, end: i32, x: usize, ldx: i32, y: usize, ldy: i32, width: i32): void {
  for (let row = begin; row < end; row++) copyRow(at(x, row * ldx), at(y, row * ldy), width);
}

/** y[row][c] = x[row][c] * row0[c] */
export function f32_mul_row(begin: i32, end: i32, x: usize, row0: usize, y: usize, C: i32): void {
  for (let row = begin; row < end; row++) {
    const xr = at(x, row * C), yr = at(y, row * C);
    let c = 0;
    for (; c <= C - LANES; c += LANES) v128.store(at(yr, c), f32x4.mul(v128.load(at(xr, c)), v128.load(at(row0, c))));
    for (; c < C; c++) store<f32>(at(yr, c), load<f32>(at(xr, c)) * load<f32>(at(row0, c)));
  }
}

/** y[row][c] = x[row][c] * scale[c] + shift[c] */
export function f32_affine_row(begin: i32, end: i32, x: usize, scale: usize, shift: usize, y: usize, C: i32): void {
  for (let row = begin; row < end; row++) {
    const xr = at(x, row * C), yr = at(y, row * C);
    let c = 0;
    for (; c <= C - LANES; c += LANES) v128.store(at(yr, c), f32x4.add(f32x4.mul(v128.load(at(xr, c)), v128.load(at(scale, c))), v128.load(at(shift, c))));
    for (; c < C; c++) store<f32>(at(yr, c), load<f32>(at(xr, c)) * load<f32>(at(scale, c)) + load<f32>(at(shift, c)));
  }
}

/** y[row] = x[index[row]] */
export function f32_gather_rows(begin: i32, end: i32, x: usize, index: usize, y: usize, width: i32): void {
  for (let row = begin; row < end; row++) copyRow(at(x, load<i32>(at(index, row)) * width), at(y, row * width), width);
}

/** dx[index[row]] += dy[row], row after row: an index may come twice, so this is one item */
export function f32_scatter_rows(begin: i32, end: i32, dy: usize, index: usize, dx: usize, rows: i32, width: i32): void {
  if (begin >= end) return;
  for (let row = 0; row < rows; row++) {
    const from = at(dy, row * width), to = at(dx, load<i32>(at(index, row)) * width);
    let i = 0;
    for (; i <= width - LANES; i += LANES) v128.store(at(to, i), f32x4.add(v128.load(at(to, i)), v128.load(at(from, i))));
    for (; i < width; i++) store<f32>(at(to, i), load<f32>(at(to, i)) + load<f32>(at(from, i)));
  }
}

/** y[t][i] = a * x[i] */
export function f32_repeat(begin: i32, end: i32, x: usize, y: usize, T: i32, stride: i32, a: f32): void {
  const a4 = f32x4.splat(a);
  for (let t = 0; t < T; t++) {
    const yt = at(y, t * stride);
    let i = begin;
    for (; i <= end - LANES; i += LANES) v128.store(at(yt, i), f32x4.mul(a4, v128.load(at(x, i))));
    for (; i < end; i++) store<f32>(at(yt, i), a * load<f32>(at(x, i)));
  }
}

// @ts-ignore: decorator
@inline function sumOver(count: i32, x: usize, y: usize, T: i32, stride: i32, a4: v128): void {
  let sum4 = f32x4.splat(0);
  for (let t = 0; t < T; t++, x = at(x, stride)) sum4 = f32x4.add(sum4, loadSome(x, count));
  storeSome(y, f32x4.mul(a4, sum4), count);
}

/** y[i] = a * (x[0][i] + x[1][i] + …) */
export function f32_sum_over(begin: i32, end: i32, x: usize, y: usize, T: i32, stride: i32, a: f32): void {
  const a4 = f32x4.splat(a);
  let i = begin;
  for (; i <= end - LANES; i += LANES) sumOver(LANES, at(x, i), at(y, i), T, stride, a4);
  if (i < end) sumOver(end - i, at(x, i), at(y, i), T, stride, a4);
}

// ── sums over everything: blocks of 4096 elements, float64 inside ──────────────────────────────────────────────────

// @ts-ignore: decorator
@inline const BLOCK: i32 = 4096;

// @ts-ignore: decorator
@inline function blockSum(x: usize, n: i32, square: bool): f64 {
  let even = f64x2.splat(0), odd = f64x2.splat(0);
  for (let i = 0; i < n; i += LANES) {
    const x4 = loadSome(at(x, i), n - i);
    const low = f64x2.promote_low_f32x4(x4), high = f64x2.promote_low_f32x4(v128.shuffle<i64>(x4, x4, 1, 0));
    even = f64x2.add(even, square ? f64x2.mul(low, low) : low);
    odd = f64x2.add(odd, square ? f64x2.mul(high, high) : high);
  }
  even = f64x2.add(even, odd);
  return f64x2.extract_lane(even, 0) + f64x2.extract_lane(even, 1);
}

/** partial[block] = sum of x over the block */
export function f32_sum(begin: i32, end: i32, x: usize, partial: usize, total: i32): void {
  for (let block = begin; block < end; block++) store<f32>(at(partial, block), <f32>blockSum(at(x, block * BLOCK), min(BLOCK, total - block * BLOCK), false));
}

/** partial[block] = sum of x^2 over the block */
export function f32_sum_squares(begin: i32, end: i32, x: usize, partial: usize, total: i32): void {
  for (let block = begin; block < end; block++) store<f32>(at(partial, block), <f32>blockSum(at(x, block * BLOCK), min(BLOCK, total - block * BLOCK), true));
}

// ── sums down the columns: blocks of 256 rows ──────────────────────────────────────────────────────────────────────

// @ts-ignore: decorator
@inline const ROWS: i32 = 256;
// What is summed: w alone, or w and w*z.
/** w = x */
// @ts-ignore: decorator
@inline const SUM: i32 = 0;
/** w = z = x - mean */
// @ts-ignore: decorator
@inline const SQUARE: i32 = 1;
/** w = dy, z = x - mean */
// @ts-ignore: decorator
@inline const DOT: i32 = 2;

// @ts-ignore: decorator
@inline function z4(kind: i32, x: usize, mean4: v128): v128 { return kind == SUM ? v128.load(x) : f32x4.sub(v128.load(x), mean4); }
// @ts-ignore: decorator
@inline function z(kind: i32, x: usize, mean: usize): f32 { return kind == SUM ? load<f32>(x) : load<f32>(x) - load<f32>(mean); }

/** sums[c] += w, dots[c] += w*z over four rows, as (0 + 1) + (2 + 3): sums of 64 such fours keep float32 good to 1e-6 */
// @ts-ignore: decorator
@inline function addFour(kind: i32, x: usize, step: usize, mean: usize, dy: usize, sums: usize, dots: usize, C: i32): void {
  const step2 = step + step, step3 = step2 + step;
  let c = 0;
  for (; c <= C - LANES; c += LANES, x += 16, dy += 16) {
    const mean4 = kind == SUM ? f32x4.splat(0) : v128.load(at(mean, c));
    const z0 = z4(kind, x, mean4), z1 = z4(kind, x + step, mean4), z2 = z4(kind, x + step2, mean4), z3 = z4(kind, x + step3, mean4);
    const w0 = kind == DOT ? v128.load(dy) : z0, w1 = kind == DOT ? v128.load(dy + step) : z1, w2 = kind == DOT ? v128.load(dy + step2) : z2, w3 = kind == DOT ? v128.load(dy + step3) : z3;
    v128.store(at(sums, c), f32x4.add(v128.load(at(sums, c)), f32x4.add(f32x4.add(w0, w1), f32x4.add(w2, w3))));
    if (kind == SUM) continue;
    v128.store(at(dots, c), madd(w3, z3, madd(w2, z2, madd(w1, z1, madd(w0, z0, v128.load(at(dots, c)))))));
  }
  for (; c < C; c++, x += 4, dy += 4) {
    const m = at(mean, c), z0 = z(kind, x, m), z1 = z(kind, x + step, m), z2 = z(kind, x + step2, m), z3 = z(kind, x + step3, m);
    const w0 = kind == DOT ? load<f32>(dy) : z0, w1 = kind == DOT ? load<f32>(dy + step) : z1, w2 = kind == DOT ? load<f32>(dy + step2) : z2, w3 = kind == DOT ? load<f32>(dy + step3) : z3;
    store<f32>(at(sums, c), load<f32>(at(sums, c)) + (w0 + w1 + (w2 + w3)));
    if (kind != SUM) store<f32>(at(dots, c), load<f32>(at(dots, c)) + (w0 * z0 + w1 * z1 + (w2 * z2 + w3 * z3)));
  }
}

/** sums[c] = sum of w, dots[c] = sum of w*z over `rows` rows, `ld` apart. Four rows at once, a quarter of all apart: memory answers four streams faster than one. */
// @ts-ignore: decorator
@inline function sumRows(kind: i32, x: usize, mean: usize, dy: usize, sums: usize, dots: usize, rows: i32, C: i32, ld: i32): void {
  memory.fill(sums, 0, at(0, C));
  if (kind != SUM) memory.fill(dots, 0, at(0, C));
  const quarter = rows >> 2;
  for (let row = 0; row < quarter; row++) addFour(kind, at(x, row * ld), at(0, quarter * ld), mean, at(dy, row * ld), sums, dots, C);
  for (let row = quarter << 2; row < rows; row++) {
    for (let c = 0; c < C; c++) {
      const zc = z(kind, at(x, row * ld + c), at(mean, c)), w = kind == DOT ? load<f32>(at(dy, row * ld + c)) : zc;
      store<f32>(at(sums, c), load<f32>(at(sums, c)) + w);
      if (kind != SUM) store<f32>(at(dots, c), load<f32>(at(dots, c)) + w * zc);
    }
  }
}

/** partial[block][c] = sum of x[row][c] */
export function f32_column_sums(begin: i32, end: i32, x: usize, partial: usize, rows: i32, C: i32, ldx: i32): void {
  for (let block = begin; block < end; block++) sumRows(SUM, at(x, block * ROWS * ldx), 0, 0, at(partial, block * C), 0, min(ROWS, rows - block * ROWS), C, ldx);
}

/** sums[block][c] = sum of dy[row][c];  dots[block][c] = sum of dy[row][c] * (x[row][c] - mean[c]) */
export function f32_column_dots(begin: i32, end: i32, x: usize, mean: usize, dy: usize, sums: usize, dots: usize, rows: i32, C: i32): void {
  for (let block = begin; block < end; block++) {
    const first = block * ROWS * C, out = block * C;
    sumRows(DOT, at(x, first), mean, at(dy, first), at(sums, out), at(dots, out), min(ROWS, rows - block * ROWS), C, C);
  }
}

/** Rows of a block whose mean stands for that of the block: within a fraction of its spread, so that sums of what is left keep their digits. */
// @ts-ignore: decorator
@inline const FEW: i32 = 8;

/** means[block][c] = mean of the first eight x[row][c];  rests[block][c] = sum of z, squares[block][c] = sum of z^2, where z = x[row][c] - means[block][c] */
export function f32_column_moments(begin: i32, end: i32, x: usize, means: usize, rests: usize, squares: usize, rows: i32, C: i32): void {
  for (let block = begin; block < end; block++) {
    const xb = at(x, block * ROWS * C), out = block * C, mean = at(means, out), count = min(ROWS, rows - block * ROWS), few = min(FEW, count);
    sumRows(SUM, xb, 0, 0, mean, 0, few, C, C);
    for (let c = 0; c < C; c++) store<f32>(at(mean, c), load<f32>(at(mean, c)) / <f32>few);
    sumRows(SQUARE, xb, mean, 0, at(rests, out), at(squares, out), count, C, C);
  }
}

/** y[c] = a * (partial[0][c] + partial[1][c] + …), in float64 */
export function f32_combine_columns(begin: i32, end: i32, partial: usize, y: usize, blocks: i32, C: i32, a: f32): void {
  for (let c = begin; c < end; c++) {
    let sum: f64 = 0;
    for (let block = 0; block < blocks; block++) sum += load<f32>(at(partial, block * C + c));
    store<f32>(at(y, c), <f32>(a * sum));
  }
}

/**
 * A block of `count` rows has the mean m = means + rests / count and the squared deviations s = squares - rests^2 / count. Together (Chan et al., 1979):
 *
 *   mean = sum of count * m / rows,   variance = sum of s + count * (m - mean)^2 / rows          all in float64
 */
export function f32_combine_moments(begin: i32, end: i32, means: usize, rests: usize, squares: usize, mean: usize, variance: usize, rows: i32, C: i32): void {
  for (let c = begin; c < end; c++) {
    let sum: f64 = 0, spread: f64 = 0;
    for (let row = 0, i = c; row < rows; row += ROWS, i += C) sum += <f64>min(ROWS, rows - row) * load<f32>(at(means, i)) + load<f32>(at(rests, i));
    const whole = sum / rows;
    for (let row = 0, i = c; row < rows; row += ROWS, i += C) {
      const count = <f64>min(ROWS, rows - row), rest: f64 = load<f32>(at(rests, i)), away = load<f32>(at(means, i)) + rest / count - whole;
      spread += load<f32>(at(squares, i)) - rest * rest / count + count * away * away;
    }
    store<f32>(at(mean, c), <f32>whole);
    store<f32>(at(variance, c), <f32>(max(0, spread) / rows));
  }
}
