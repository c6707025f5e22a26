/** Batch norm is column sums (rows.ts), an affine map per channel (rows.ts), and this: its numbers per channel, in float64 between loads and stores, and its gradient. */
import type { Machine } from "./machine.ts";

export const norm = ({ real, round }: Machine) => ({
  f32_norm_backward(begin: number, end: number, x: number, dy: number, a: number, b: number, k: number, dx: number, C: number): void {
    const X = real(x), dY = real(dy), A = real(a), B = real(b), K = real(k), dX = real(dx);
    for (let row = begin; row < end; row++) {
      for (let c = 0; c < C; c++) dX[row * C + c] = round(round(A[c] * dY[row * C + c]) + round(B[c] * X[row * C + c])) + K[c];
    }
  },

  f32_norm_affine(begin: number, end: number, gamma: number, beta: number, mean: number, variance: number, eps: number, scale: number, shift: number): void {
    const [G, B, M, V, S, T] = [gamma, beta, mean, variance, scale, shift].map(real);
    for (let c = begin; c < end; c++) {
      S[c] = G[c] / Math.sqrt(V[c] + eps);
      T[c] = B[c] - M[c] * S[c];
    }
  },

  f32_norm_running(begin: number, end: number, mean: number, variance: number, runningMean: number, runningVariance: number, share: number, factor: number): void {
    const [M, V, RM, RV] = [mean, variance, runningMean, runningVariance].map(real);
    for (let c = begin; c < end; c++) {
      RM[c] += share * (M[c] - RM[c]);
      RV[c] += share * (V[c] * factor - RV[c]);
    }
  },

  f32_norm_coefficients(
    begin: number, end: number, gamma: number, mean: number, variance: number, eps: number, sum: number, dot: number, rows: number, a: number, b: number, k: number,
  ): void {
    const [G, M, V, S, Q, A, B, K] = [gamma, mean, variance, sum, dot, a, b, k].map(real);
    for (let c = begin; c < end; c++) {
      const r = 1 / Math.sqrt(V[c] + eps);
      A[c] = G[c] * r;
      B[c] = rows > 0 ? (-A[c] * r * r * Q[c]) / rows : 0;
      K[c] = rows > 0 ? (-A[c] * S[c]) / rows - M[c] * B[c] : 0;
      Q[c] *= r;
    }
  },
});
