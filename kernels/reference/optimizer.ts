/** One pass over a parameter and its state. */
import type { Machine } from "./machine.ts";

export const optimizer = ({ real, round }: Machine) => ({
  f32_sgd(begin: number, end: number, w: number, dw: number, m: number, lr: number, momentum: number, decay: number, clip: number, nesterov: number): void {
    const W = real(w), dW = real(dw), M = real(m), rate = round(lr), mu = round(momentum), lambda = round(decay), kappa = round(clip);
    for (let i = begin; i < end; i++) {
      const g = round(round(kappa * dW[i]) + round(lambda * W[i]));
      M[i] = round(mu * M[i]) + g;
      const step = nesterov ? round(g + round(mu * M[i])) : M[i];
      W[i] = W[i] - round(rate * step);
    }
  },

  f32_ema(begin: number, end: number, w: number, average: number, d: number): void {
    const W = real(w), A = real(average), keep = round(d), rest = round(1 - keep);
    for (let i = begin; i < end; i++) A[i] = round(keep * A[i]) + round(rest * W[i]);
  },
});
