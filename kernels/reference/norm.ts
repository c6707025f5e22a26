/** Batch norm is column sums (rows.ts), an affine map per channel (rows.ts), and this. */
import type { Machine } from "./machine.ts";

export const norm = ({ real, round }: Machine) => ({
  f32_norm_backward(begin: number, end: number, x: number, dy: number, a: number, b: number, k: number, dx: number, C: number): void {
    const X = real(x), dY = real(dy), A = real(a), B = real(b), K = real(k), dX = real(dx);
    for (let row = begin; row < end; row++) {
      for (let c = 0; c < C; c++) dX[row * C + c] = round(round(A[c] * dY[row * C + c]) + round(B[c] * X[row * C + c])) + K[c];
    }
  },
});
