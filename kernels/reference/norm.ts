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

  f32_normed_weight_grad(begin: number, end: number, dA: number, w: number, lines: number, sums: number, dw: number, ofLine: number, out: number, C: number): void {
    const [D, W, L, S, DW, OL] = [dA, w, lines, sums, dw, ofLine].map(real);
    for (let c = begin; c < end; c++) {
      let da = 0, db = 0;
      for (let o = 0, i = c; o < out; o++, i += C) {
        const ofBorder = round(S[out + o] - S[o]);
        DW[i] = round(round(D[i] * L[c]) + round(S[o] * L[C + c])) + round(ofBorder * L[2 * C + c]);
        da = round(da + round(D[i] * W[i]));
        db = round(db + round(S[o] * W[i]));
      }
      OL[c] = da;
      OL[C + c] = db;
    }
  },

  f32_normed_coefficients(
    begin: number, end: number, ofLine: number, gamma: number, mean: number, variance: number, eps: number, rows: number, dgamma: number, dbeta: number, b: number, k: number, C: number,
  ): void {
    const [OL, G, M, V, DG, DB, B, K] = [ofLine, gamma, mean, variance, dgamma, dbeta, b, k].map(real);
    for (let c = begin; c < end; c++) {
      const r = 1 / Math.sqrt(V[c] + eps), db = OL[C + c], t = OL[c] - M[c] * db;
      DG[c] = r * t;
      DB[c] = db;
      B[c] = (-G[c] * r * r * r * t) / rows;
      K[c] = (-G[c] * r * db) / rows - M[c] * B[c];
    }
  },
});
