/** Batch norm is column sums (rows.ts), an affine map per channel (rows.ts), and this. */
import { LANES, at } from "./lanes";

/** dx[row][c] = a[c] * dy[row][c] + b[c] * x[row][c] + k[c] */
export function f32_norm_backward(begin: i32, end: i32, x: usize, dy: usize, a: usize, b: usize, k: usize, dx: usize, C: i32): void {
  for (let row = begin; row < end; row++) {
    const xr = at(x, row * C), dyr = at(dy, row * C), dxr = at(dx, row * C);
    let c = 0;
    for (; c <= C - LANES; c += LANES) {
      const linear = f32x4.add(f32x4.mul(v128.load(at(a, c)), v128.load(at(dyr, c))), f32x4.mul(v128.load(at(b, c)), v128.load(at(xr, c))));
      v128.store(at(dxr, c), f32x4.add(linear, v128.load(at(k, c))));
    }
    for (; c < C; c++) store<f32>(at(dxr, c), load<f32>(at(a, c)) * load<f32>(at(dyr, c)) + load<f32>(at(b, c)) * load<f32>(at(xr, c)) + load<f32>(at(k, c)));
  }
}
