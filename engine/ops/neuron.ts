/**
 * Firing. A neuron is data: how its membrane leaks, when it fires, what firing does to it, and which derivative stands in for the step.
 *
 *   charge  h[t] = decay v[t-1] + gain x[t]                        v[-1] = 0
 *   fire    s[t] = round(clamp(h[t], 0, D))  or  [h[t] >= threshold]
 *   reset   v[t] = h[t] - s[t] threshold,  h[t] (1 - s[t]),  or  h[t]
 */
import { host } from "../host.ts";
import { defineOp, spikesUpTo } from "../op.ts";
import { show } from "../shape.ts";
import { emptySpikes, type Spikes } from "../spikes.ts";
import { empty, type Tensor } from "../tensor.ts";

/** The derivative that stands in for that of a step, u = h - threshold. */
export interface Surrogate {
  readonly name: "rectangular" | "atan" | "sigmoid" | "triangular";
  readonly alpha: number;
  readonly derivative: (u: number) => number;
}

interface Leak {
  /** Share of the membrane that survives a timestep. */
  readonly decay: number;
  /** What the input current is multiplied by. */
  readonly gain: number;
}

/** Emits integers 0..D; gradient 1 where 0 <= h <= D. The reset subtracts what was emitted and is detached. */
export interface IntegerNeuron extends Leak { readonly fire: "integer"; readonly D: number }

/** Emits 0 or 1. */
export interface BinaryNeuron extends Leak {
  readonly fire: "binary";
  readonly threshold: number;
  readonly reset: "subtract" | "zero" | "none";
  /** Whether the gradient passes by the reset. */
  readonly detachReset: boolean;
  readonly surrogate: Surrogate;
}

export type Neuron = IntegerNeuron | BinaryNeuron;

function timesteps(op: string, x: Tensor): { T: number; n: number } {
  const T = x.shape[0];
  if (x.shape.length < 2 || !(T >= 1)) throw new Error(`${op}: expected [T, ...] with T of at least 1, got ${show(x.shape)}`);
  return { T, n: x.size / T };
}

/** The integer spikes of x [T, ...]. Its gradient needs only the window bits, which stand in the spike bytes. */
export const fireInteger = defineOp<[x: Tensor], { neuron: IntegerNeuron }, Spikes>({
  name: "fireInteger",
  reads: { output: true },
  shape: ([x], { neuron: { D } }) => {
    if (!Number.isInteger(D) || D < 1 || D > 15) throw new Error(`fireInteger: D must be an integer from 1 to 15 (a spike has four bits), got ${D}`);
    timesteps("fireInteger", x);
    return x.shape;
  },
  output: (shape, _, { neuron }) => emptySpikes(shape, neuron.D, { gradientWhereOpen: true }),
  forward: (k, [x], s, { neuron: { decay, gain, D } }) => {
    const { T, n } = timesteps("fireInteger", x);
    k.f32_fire_integer(n, x.ptr, s.ptr, T, n, decay, gain, D);
  },
  backward: (ds, [x], { output: s, attributes: { neuron: { decay, gain } } }) => {
    const { T, n } = timesteps("fireInteger", x), dx = empty(x.shape);
    host().kernels.f32_fire_integer_backward(n, s.ptr, ds.ptr, dx.ptr, T, n, decay, gain);
    return [dx];
  },
});

const RESETS = { subtract: 0, zero: 1, none: 2 } as const;
const SURROGATES = { rectangular: 0, atan: 1, sigmoid: 2, triangular: 3 } as const;

/** The binary spikes of x [T, ...]. Keeps the membrane h before reset for the surrogate. */
export const fireBinary = defineOp<[x: Tensor], { neuron: BinaryNeuron }, Spikes, { h: Tensor }>({
  name: "fireBinary",
  shape: ([x]) => { timesteps("fireBinary", x); return x.shape; },
  output: spikesUpTo(1),
  saves: ([x]) => ({ h: empty(x.shape) }),
  forward: (k, [x], s, { neuron: { decay, gain, threshold, reset } }, { h }) => {
    const { T, n } = timesteps("fireBinary", x);
    k.f32_fire_binary(n, x.ptr, h.ptr, s.ptr, T, n, decay, gain, threshold, RESETS[reset]);
  },
  backward: (ds, [x], { output: s, saved: { h }, attributes: { neuron } }) => {
    const { T, n } = timesteps("fireBinary", x), dx = empty(x.shape);
    const { decay, gain, threshold, reset, detachReset, surrogate } = neuron;
    host().kernels.f32_fire_binary_backward(
      n, h.ptr, s.ptr, ds.ptr, dx.ptr, T, n, decay, gain, threshold, RESETS[reset], detachReset ? 0 : 1, SURROGATES[surrogate.name], surrogate.alpha,
    );
    return [dx];
  },
});

/** Spikes of the current x [T, ...]: charge, fire, reset, for each of the T timesteps. State starts at zero. */
export function fire(x: Tensor, neuron: Neuron): Spikes {
  return neuron.fire === "integer" ? fireInteger(x, { neuron }) : fireBinary(x, { neuron });
}

/** Integers 0..15 as spikes      dx = ds. For inputs that are spikes already, such as recorded ones. */
export const spikesOf = defineOp<[x: Tensor], { D: number }, Spikes>({
  name: "spikesOf",
  shape: ([x], { D }) => {
    for (const value of x.data) if (!(value >= 0 && value <= D && Number.isInteger(value))) throw new Error(`spikesOf: expected integers from 0 to ${D}, got ${value}`);
    return x.shape;
  },
  output: (shape, _, { D }) => spikesUpTo(D)(shape),
  forward: (k, [x], s) => k.spikes_from_f32(x.size, x.ptr, s.ptr),
  backward: (ds) => [ds],
});
