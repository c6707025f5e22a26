/** Neurons: charge, fire, reset, and the way back. A spike byte is value | windowOpen << 4. */
import { exp } from "../elementary.ts";
import { nearest, type Machine } from "./machine.ts";
import { RUN, listRun } from "./spike.ts";

const OPEN = 16;
const BLOCK = 1024; // neurons of a partial sum
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

  /** Whether the surrogate derivative at u is not 0. */
  const window = (kind: number, alpha: number): ((u: number) => boolean) => {
    if (kind === ATAN || kind === SIGMOID) return () => true;
    const half = round(1 / round(2 * alpha));
    return kind === RECTANGULAR ? (u) => Math.abs(u) < half : (u) => Math.abs(round(alpha * u)) < 1;
  };

  /** The spike of a charged membrane, and what the reset leaves. */
  const fired = (h: number, D: number): { byte: number; v: number } => {
    const clamped = h > 0 ? Math.min(h, D) : 0; // 0 for NaN
    const value = nearest(clamped);
    return { byte: value | (h === clamped ? OPEN : 0), v: round(h - value) };
  };

  /** A binary neuron: charge, fire, reset. */
  const binary = (decay: number, gain: number, threshold: number, reset: number) => {
    const keep = round(decay), weight = round(gain), level = round(threshold);
    const fires = (h: number): boolean => h >= level;
    return {
      keep, level, fires,
      charge: (x: number, v: number): number => round(round(keep * v) + round(weight * x)),
      rest: (h: number): number => (!fires(h) ? h : reset === SUBTRACT ? round(h - level) : reset === ZERO ? 0 : h),
    };
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

    f32_fire_integer_onward(begin: number, end: number, x: number, v: number, s: number, T: number, stride: number, decay: number, gain: number, D: number): void {
      const X = real(x), V = real(v), S = u8(s), keep = round(decay), weight = round(gain);
      for (let i = begin; i < end; i++) {
        for (let t = 0; t < T; t++) {
          const now = t * stride + i, spike = fired(round(round(keep * V[i]) + round(weight * X[now])), D);
          V[i] = spike.v;
          S[now] = spike.byte;
        }
      }
    },

    f32_fire_binary(
      begin: number, end: number, x: number, v: number, s: number, T: number, stride: number,
      decay: number, gain: number, threshold: number, reset: number, kind: number, alpha: number,
    ): void {
      const X = real(x), V = real(v), S = u8(s), { charge, fires, rest, level } = binary(decay, gain, threshold, reset), open = window(kind, round(alpha));
      for (let i = begin; i < end; i++) {
        let left = v ? V[i] : 0;
        for (let t = 0; t < T; t++) {
          const now = t * stride + i, h = charge(X[now], left);
          S[now] = (fires(h) ? 1 : 0) | (open(round(h - level)) ? OPEN : 0);
          left = rest(h);
        }
        if (v) V[i] = left;
      }
    },

    f32_fire_binary_backward(
      begin: number, end: number, x: number, ds: number, dx: number, T: number, stride: number,
      decay: number, gain: number, threshold: number, reset: number, attached: number, kind: number, alpha: number, share: number,
    ): void {
      const X = real(x), dS = real(ds), dX = real(dx), factor = round(share), { charge, fires, rest, keep, level } = binary(decay, gain, threshold, reset);
      const derivative = surrogate(kind, round(alpha));
      for (let i = begin; i < end; i++) {
        for (let t = 0, v = 0; t < T; t++) { // membranes first, where the gradients will stand
          const now = t * stride + i, h = charge(X[now], v);
          dX[now] = h;
          v = rest(h);
        }
        let dv = 0;
        for (let t = T - 1; t >= 0; t--) {
          const now = t * stride + i, h = dX[now];
          let out = dS[now];
          if (attached && reset === SUBTRACT) out = round(out - round(level * dv));
          if (attached && reset === ZERO) out = round(out - round(h * dv));
          const kept = reset === ZERO && fires(h) ? 0 : dv;
          const dh = round(round(derivative(round(h - level)) * out) + kept);
          dX[now] = factor * dh;
          dv = round(keep * dh);
        }
      }
    },

    f32_fire_leak_grad(
      begin: number, end: number, x: number, dh: number, partial: number, T: number, stride: number, decay: number, gain: number, threshold: number, reset: number,
    ): void {
      const X = real(x), dH = real(dh), P = real(partial), { charge, rest } = binary(decay, gain, threshold, reset);
      for (let block = begin; block < end; block++) {
        const kept = [0, 0, 0, 0], fed = [0, 0, 0, 0], first = block * BLOCK; // every fourth neuron together, as vectors sum them
        for (let i = first; i < Math.min(first + BLOCK, stride); i++) {
          for (let t = 0, v = 0; t < T; t++) {
            const now = t * stride + i;
            kept[i & 3] += dH[now] * v;
            fed[i & 3] += dH[now] * X[now];
            v = rest(charge(X[now], v));
          }
        }
        [kept, fed].forEach((sums, which) => { P[2 * block + which] = sums[0] + sums[2] + (sums[1] + sums[3]); });
      }
    },
  };
  return kernels;
};
