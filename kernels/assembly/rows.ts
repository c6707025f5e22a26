/** Rows and time: copies, broadcasts and sums. A row is C consecutive elements. */
import { LANES, at, loadSome, storeSome } from "./lanes";

// @ts-ignore: decorator
@inline function copyRow(x: usize, y: usize, width: i32): void {
  for (let i = 0; i < width; i += LANES) storeSome(at(y, i), loadSome(at(x, i), width - i), width - i);
}

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

/** y[i] = a * (x[0][i] + x[1][i] + …) */
export function f32_sum_over(begin: i32, end: i32, x: usize, y: usize, T: i32, stride: i32, a: f32): void {
  const a4 = f32x4.splat(a);
  for (let i = begin; i < end; i += LANES) {
    let sum4 = f32x4.splat(0);
    for (let t = 0; t < T; t++) sum4 = f32x4.add(sum4, loadSome(at(x, t * stride + i), end - i));
    storeSome(at(y, i), f32x4.mul(a4, sum4), end - i);
  }
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
// @ts-ignore: decorator
@inline const SUM: i32 = 0;
// @ts-ignore: decorator
@inline const SQUARE: i32 = 1;
// @ts-ignore: decorator
@inline const DOT: i32 = 2;

// @ts-ignore: decorator
@inline function term4(kind: i32, x: usize, dy: usize, mean4: v128): v128 {
  if (kind == SUM) return v128.load(x);
  const centred = f32x4.sub(v128.load(x), mean4);
  return f32x4.mul(kind == SQUARE ? centred : v128.load(dy), centred);
}

// @ts-ignore: decorator
@inline function term(kind: i32, x: usize, dy: usize, mean: f32): f32 {
  if (kind == SUM) return load<f32>(x);
  const centred = load<f32>(x) - mean;
  return (kind == SQUARE ? centred : load<f32>(dy)) * centred;
}

/** partial[block][c] = sum of term(row, c), four rows at a time: (0 + 1) + (2 + 3). Sums of 64 such fours keep float32 good to 1e-6. */
// @ts-ignore: decorator
@inline function columnSums(kind: i32, begin: i32, end: i32, x: usize, mean: usize, dy: usize, partial: usize, rows: i32, C: i32, ldx: i32): void {
  const x1 = at(0, ldx), x2 = x1 + x1, x3 = x2 + x1, d1 = at(0, C), d2 = d1 + d1, d3 = d2 + d1;
  for (let block = begin; block < end; block++) {
    const sums = at(partial, block * C), last = min(rows, (block + 1) * ROWS);
    memory.fill(sums, 0, at(0, C));
    let row = block * ROWS;
    for (; row <= last - 4; row += 4) {
      let xc = at(x, row * ldx), dyc = at(dy, row * C), c = 0;
      for (; c <= C - LANES; c += LANES, xc += 16, dyc += 16) {
        const mean4 = kind == SUM ? f32x4.splat(0) : v128.load(at(mean, c));
        const first = f32x4.add(term4(kind, xc, dyc, mean4), term4(kind, xc + x1, dyc + d1, mean4));
        const second = f32x4.add(term4(kind, xc + x2, dyc + d2, mean4), term4(kind, xc + x3, dyc + d3, mean4));
        v128.store(at(sums, c), f32x4.add(v128.load(at(sums, c)), f32x4.add(first, second)));
      }
      for (; c < C; c++, xc += 4, dyc += 4) {
        const m = kind == SUM ? <f32>0 : load<f32>(at(mean, c));
        const first = term(kind, xc, dyc, m) + term(kind, xc + x1, dyc + d1, m), second = term(kind, xc + x2, dyc + d2, m) + term(kind, xc + x3, dyc + d3, m);
        store<f32>(at(sums, c), load<f32>(at(sums, c)) + (first + second));
      }
    }
    for (; row < last; row++) {
      for (let c = 0; c < C; c++) {
        const m = kind == SUM ? <f32>0 : load<f32>(at(mean, c));
        store<f32>(at(sums, c), load<f32>(at(sums, c)) + term(kind, at(x, row * ldx + c), at(dy, row * C + c), m));
      }
    }
  }
}

/** partial[block][c] = sum of x[row][c] */
export function f32_column_sums(begin: i32, end: i32, x: usize, partial: usize, rows: i32, C: i32, ldx: i32): void {
  columnSums(SUM, begin, end, x, 0, 0, partial, rows, C, ldx);
}

/** partial[block][c] = sum of (x[row][c] - mean[c])^2 */
export function f32_column_squares(begin: i32, end: i32, x: usize, mean: usize, partial: usize, rows: i32, C: i32): void {
  columnSums(SQUARE, begin, end, x, mean, 0, partial, rows, C, C);
}

/** partial[block][c] = sum of dy[row][c] * (x[row][c] - mean[c]) */
export function f32_column_dots(begin: i32, end: i32, x: usize, mean: usize, dy: usize, partial: usize, rows: i32, C: i32): void {
  columnSums(DOT, begin, end, x, mean, dy, partial, rows, C, C);
}

/** y[c] = a * (partial[0][c] + partial[1][c] + …), in float64 */
export function f32_combine_columns(begin: i32, end: i32, partial: usize, y: usize, blocks: i32, C: i32, a: f32): void {
  for (let c = begin; c < end; c++) {
    let sum: f64 = 0;
    for (let block = 0; block < blocks; block++) sum += load<f32>(at(partial, block * C + c));
    store<f32>(at(y, c), <f32>(a * sum));
  }
}
