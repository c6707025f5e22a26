/** The input gradient of a 1x1 convolution, where a window is open. */
import type { Machine } from "./machine.ts";

export const masked = ({ real, u8, round }: Machine) => ({
  f32_gemm_masked(begin: number, end: number, s: number, dy: number, wt: number, dx: number, C: number, N: number): void {
    const S = u8(s), DY = real(dy), Weight = real(wt), DX = real(dx);
    for (let p = begin; p < end; p++) {
      for (let c = 0; c < C; c++) {
        let sum = 0;
        if (S[p * C + c] & 16) for (let j = 0; j < N; j++) sum = round(sum + round(DY[p * N + j] * Weight[c * N + j]));
        DX[p * C + c] = sum;
      }
    }
  },
});
