/** Neurons: charge, fire, reset, and the way back. A spike byte is value | windowOpen << 4. */
import { exp } from "../elementary.ts";
import { nearest, type Machine } from "./machine.ts";
import { RUN, listRun } from "./spike.ts";

const OPEN = 16;
const SUBTRACT = 0, ZERO = 1; // resets
const RECTANGULAR = 0, ATAN = 1, SIGMOID = 2; // surrogates

export const neuron = (machine: Machine) => {
  const { real, u8, round } = machine;
  /** The surrogate derivative at u = h - threshold. */
  const surrogate = (kind: number, alpha: number): ((u: number) => number) => {
    if (kind === RECTANGULAR) {
      const half = round(1 / round(2 * alpha));
      return (u) => (Math.abs(u) < half ? alpha : 0);
    }
    if (kind === ATAN) {
      const slope = round(round(Math.PI / 2) * alpha);
      return (u) => {
        const z = round(slope * u);
        return round(alpha / 2 / round(1 + round(z * z)));
      };
    }
    if (kind === SIGMOID) {
      return (u) => { // sig(z) sig(-z) = e / (1 + e)^2 with e = exp(-|z|), which cannot overflow
        const e = round(exp(-Math.abs(round(alpha * u)))), below = round(1 + e);
        return round(round(alpha * e) / round(below * below));
      };
    }
    return (u) => round(Math.max(0, round(1 - Math.abs(round(alpha * u)))) * alpha);
  };

  /** The spike of a charged membrane, and what the reset leaves. */
  const fired = (h: number, D: number): { byte: number; v: number } => {
    const clamped = h > 0 ? Math.min(h, D) : 0; // 0 for NaN
    const value = nearest(clamped);
    return { byte: value | (h === clamped ? OPEN : 0), v: round(h - value) };
  };

  const kernels = {
    f32_fire_integer(begin: number, end: number, x: number, s: number, T: number, stride: number, decay: number, gain: number, D: number): void {
      const X = real(x), S = u8(s), keep = round(decay), weight = round(gain);
      for (let i = begin; i < end; i++) {
        let v = 0;
        for (let t = 0; t < T; t++) {
          const now = t * stride + i, spike = fired(round(round(keep * v) + round(weight * X[now])), D);
          v = spike.v;
          S[now] = spike.byte;
        }
      }
    },

    f32_fire_integer_events(
      begin: number, end: number, x: number, s: number, events: number, spans: number, T: number, pixels: number, C: number, decay: number, gain: number, D: number,
    ): void {
      for (let run = begin; run < end; run++) {
        const first = run * RUN, last = Math.min(first + RUN, pixels);
        kernels.f32_fire_integer(first * C, last * C, x, s, T, pixels * C, decay, gain, D);
        for (let t = 0; t < T; t++) listRun(machine, t * pixels + first, t * pixels + last, s, events, spans, C);
      }
    },

    f32_norm_fire_integer(
      begin: number, end: number, x: number, scale: number, shift: number, residual: number, u: number, s: number, events: number, spans: number,
      T: number, pixels: number, C: number, decay: number, gain: number, D: number,
    ): void {
      const X = real(x), A = real(scale), B = real(shift), R = real(residual), U = real(u), S = u8(s), keep = round(decay), weight = round(gain);
      for (let run = begin; run < end; run++) {
        const first = run * RUN, last = Math.min(first + RUN, pixels);
        for (let i = first * C; i < last * C; i++) {
          let v = 0;
          for (let t = 0; t < T; t++) {
            const now = t * pixels * C + i, normed = round(round(X[now] * A[i % C]) + B[i % C]);
            const current = residual ? round(normed + R[now]) : normed;
            if (u) U[now] = current;
            const spike = fired(round(round(keep * v) + round(weight * current)), D);
            v = spike.v;
            S[now] = spike.byte;
          }
        }
        if (events) for (let t = 0; t < T; t++) listRun(machine, t * pixels + first, t * pixels + last, s, events, spans, C);
      }
    },

    f32_fire_integer_backward(begin: number, end: number, s: number, ds: number, dx: number, T: number, stride: number, decay: number, gain: number): void {
      const S = u8(s), dS = real(ds), dX = real(dx), keep = round(decay), weight = round(gain);
      for (let i = begin; i < end; i++) {
        let dh = 0;
        for (let t = T - 1; t >= 0; t--) {
          const now = t * stride + i;
          dh = round((S[now] & OPEN ? dS[now] : 0) + round(keep * dh));
          dX[now] = weight * dh;
        }
      }
    },

    f32_fire_binary(begin: number, end: number, x: number, h: number, s: number, T: number, stride: number, decay: number, gain: number, threshold: number, reset: number): void {
      const X = real(x), H = real(h), S = u8(s), keep = round(decay), weight = round(gain), level = round(threshold);
      for (let i = begin; i < end; i++) {
        let v = 0;
        for (let t = 0; t < T; t++) {
          const now = t * stride + i;
          v = H[now] = round(round(keep * v) + round(weight * X[now]));
          const fired = v >= level;
          S[now] = fired ? 1 : 0;
          if (fired && reset === SUBTRACT) v = round(v - level);
          if (fired && reset === ZERO) v = 0;
        }
      }
    },

    f32_fire_binary_backward(
      begin: number, end: number, h: number, s: number, ds: number, dx: number, T: number, stride: number,
      decay: number, gain: number, threshold: number, reset: number, attached: number, kind: number, alpha: number,
    ): void {
      const H = real(h), S = u8(s), dS = real(ds), dX = real(dx), keep = round(decay), weight = round(gain), level = round(threshold);
      const derivative = surrogate(kind, round(alpha));
      for (let i = begin; i < end; i++) {
        let dv = 0;
        for (let t = T - 1; t >= 0; t--) {
          const now = t * stride + i, fired = S[now] !== 0;
          let out = dS[now];
          if (attached && reset === SUBTRACT) out = round(out - round(level * dv));
          if (attached && reset === ZERO) out = round(out - round(H[now] * dv));
          const kept = reset === ZERO && fired ? 0 : dv;
          const dh = round(round(derivative(round(H[now] - level)) * out) + kept);
          dX[now] = weight * dh;
          dv = round(keep * dh);
        }
      }
    },
  };
  return kernels;
};
