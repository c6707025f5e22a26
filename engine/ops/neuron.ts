/**
 * Firing. A neuron is data: how its membrane leaks, when it fires, what firing does to it, and which derivative stands in for the step.
 *
 *   charge  h[t] = decay v[t-1] + gain x[t]                        v[-1] = 0
 *   fire    s[t] = round(clamp(h[t], 0, D))  or  [h[t] >= threshold]
 *   reset   v[t] = h[t] - s[t] threshold,  h[t] (1 - s[t]),  or  h[t]
 *
 * No membrane is kept for gradients: the window bits of spikes, or the currents, are enough.
 */
import { exp } from "../../kernels/elementary.ts";
import { host } from "../host.ts";
import { defineOp, spikesUpTo } from "../op.ts";
import { equalShapes, show } from "../shape.ts";
import { emptySpikes, type Spikes } from "../spikes.ts";
import { empty, scratch, zeros, type Tensor } from "../tensor.ts";

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

/**
 * Emits integers 0..D; gradient 1 where 0 <= h <= D. The reset subtracts what was emitted and is detached. Its window is no field: it stands as a bit
 * in each spike, which is all that the way back needs, and a derivative with tails would be open everywhere and cost the current of each element.
 */
export interface IntegerNeuron extends Leak { readonly fire: "integer"; readonly D: number }

/** Emits 0 or 1. */
export interface BinaryNeuron extends Leak {
  readonly fire: "binary";
  readonly threshold: number;
  readonly reset: "subtract" | "zero" | "none";
  /** Whether the gradient passes by the reset. */
  readonly detachReset: boolean;
  readonly surrogate: Surrogate;
  /** What is trained, as 1/tau = sigmoid(w) with one w per layer (PLIF): decay = 1 - 1/tau, and gain = 1/tau with it where the input decays too. */
  readonly learnable?: "decay" | "decay and gain";
}

export type Neuron = IntegerNeuron | BinaryNeuron;

/** The neuron as it is for this w: numbers in place of what is learnable. */
export function withLearned<N extends Neuron>(neuron: N, w: Tensor | undefined): N {
  const learnable = neuron.fire === "binary" ? neuron.learnable : undefined;
  if (!learnable !== !w) throw new Error(learnable ? `fire: a neuron with learnable ${learnable} needs its w; a module of nn, Neurons, keeps one` : "fire: got a w for a neuron of which nothing is learnable");
  if (!w) return neuron;
  const share = sigmoidOf(w.item());
  return { ...neuron, learnable: undefined, decay: 1 - share, gain: learnable === "decay and gain" ? share : neuron.gain };
}

const sigmoidOf = (w: number): number => 1 / (1 + exp(-w));

function timesteps(op: string, x: Tensor): { T: number; n: number } {
  const T = x.shape[0];
  if (x.shape.length < 2 || !(T >= 1)) throw new Error(`${op}: expected [T, ...] with T of at least 1, got ${show(x.shape)}`);
  return { T, n: x.size / T };
}

function expectD(op: string, D: number): void {
  if (!Number.isInteger(D) || D < 1 || D > 15) throw new Error(`${op}: D must be an integer from 1 to 15 (a spike has four bits), got ${D}`);
}

/** The integer spikes of x [T, ...]. Its gradient needs only the window bits, which stand in the spike bytes. */
export const fireInteger = defineOp<[x: Tensor], { neuron: IntegerNeuron }, Spikes>({
  name: "fireInteger",
  reads: { output: true },
  shape: ([x], { neuron: { D } }) => {
    expectD("fireInteger", D);
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

/** Surrogates that are 0 away from the threshold: gradients of what did not come near are not asked for. */
const gradientWhereOpen = ({ surrogate: { name } }: BinaryNeuron): boolean => name === "rectangular" || name === "triangular";

function expectBinary(op: string, { threshold, surrogate: { name, alpha } }: BinaryNeuron): void {
  if (!(alpha > 0)) throw new Error(`${op}: alpha of the ${name} surrogate must be above 0, got ${alpha}`);
  if (Number.isNaN(threshold)) throw new Error(`${op}: threshold must be a number, got ${threshold}`);
}

/**
 * The binary spikes of x [T, ...], w [] where something is learnable. Keeps nothing but x, from which its gradient charges the membranes again.
 *
 *   dw = share (1 - share) (-sum_t dh[t] v[t-1] + sum_t dh[t] x[t])      share = sigmoid(w); the second sum where the gain is learnable too
 */
export const fireBinary = defineOp<[x: Tensor, w?: Tensor], { neuron: BinaryNeuron }, Spikes>({
  name: "fireBinary",
  reads: { inputs: [0, 1] },
  shape: ([x], { neuron }) => {
    timesteps("fireBinary", x);
    expectBinary("fireBinary", neuron);
    return x.shape;
  },
  output: (shape, _, { neuron }) => emptySpikes(shape, 1, { gradientWhereOpen: gradientWhereOpen(neuron) }),
  forward: (k, [x, w], s, { neuron }) => {
    const { T, n } = timesteps("fireBinary", x), { decay, gain, threshold, reset, surrogate } = withLearned(neuron, w);
    k.f32_fire_binary(n, x.ptr, 0, s.ptr, T, n, decay, gain, threshold, RESETS[reset], SURROGATES[surrogate.name], surrogate.alpha);
  },
  backward: (ds, [x, w], { attributes: { neuron }, needs }) => {
    const { T, n } = timesteps("fireBinary", x), { kernels: k } = host(), dx = empty(x.shape), ofLeak = w && needs[1];
    const { decay, gain, threshold, reset, detachReset, surrogate } = withLearned(neuron, w);
    k.f32_fire_binary_backward(
      n, x.ptr, ds.ptr, dx.ptr, T, n, decay, gain, threshold, RESETS[reset], detachReset ? 0 : 1, SURROGATES[surrogate.name], surrogate.alpha, ofLeak ? 1 : gain,
    );
    if (!ofLeak) return [dx];
    const blocks = Math.ceil(n / LEAK_BLOCK), partial = scratch([blocks, 2]), dw = empty(w.shape);
    k.f32_fire_leak_grad(blocks, x.ptr, dx.ptr, partial.ptr, T, n, decay, gain, threshold, RESETS[reset]); // dx holds dh as yet
    k.f32_scale(x.size, dx.ptr, dx.ptr, gain);
    const share = sigmoidOf(w.item()), sums = partial.data;
    let ofDecay = 0, ofGain = 0;
    for (let block = 0; block < blocks; block++) {
      ofDecay += sums[2 * block];
      ofGain += sums[2 * block + 1];
    }
    dw.data[0] = share * (1 - share) * ((neuron.learnable === "decay and gain" ? ofGain : 0) - ofDecay);
    return [dx, dw];
  },
});

/** Neurons of one partial sum of f32_fire_leak_grad. */
const LEAK_BLOCK = 1024;

/** Spikes of the current x [T, ...]: charge, fire, reset, for each of the T timesteps. State starts at zero. w belongs to learnable neurons. */
export function fire(x: Tensor, neuron: Neuron, w?: Tensor): Spikes {
  if (neuron.fire === "binary") return fireBinary(x, w, { neuron });
  withLearned(neuron, w);
  return fireInteger(x, { neuron });
}

const fireOnward = defineOp<[x: Tensor], { neuron: Neuron; state: Tensor }, Spikes>({
  name: "fireFrom",
  shape: ([x], { neuron, state }) => {
    timesteps("fireFrom", x);
    if (!equalShapes(state.shape, x.shape.slice(1))) throw new Error(`fireFrom: x ${show(x.shape)} expects a state ${show(x.shape.slice(1))}, got ${show(state.shape)}`);
    if (neuron.fire === "binary") expectBinary("fireFrom", neuron); else expectD("fireFrom", neuron.D);
    return x.shape;
  },
  output: (shape, _, { neuron }) => emptySpikes(shape, neuron.fire === "integer" ? neuron.D : 1),
  forward: (k, [x], s, { neuron, state: v }) => {
    const { T, n } = timesteps("fireFrom", x), { decay, gain } = neuron;
    if (neuron.fire === "integer") { k.f32_fire_integer_onward(n, x.ptr, v.ptr, s.ptr, T, n, decay, gain, neuron.D); return; }
    const { threshold, reset, surrogate } = neuron;
    k.f32_fire_binary(n, x.ptr, v.ptr, s.ptr, T, n, decay, gain, threshold, RESETS[reset], SURROGATES[surrogate.name], surrogate.alpha);
  },
  backward: () => { throw new Error("fireFrom: no gradient goes through a state that is carried between calls; run the whole sequence through fire, or this inside noGrad"); },
});

/**
 * The next spikes of a stream, x [T, ...] with T of 1 or more, from the state [...] that the call before left (at first none: membranes 0), and the state that
 * they leave: the membranes after reset. However a sequence is cut, its spikes are those of `fire` on all of it, bit for bit. Gives no gradients.
 */
export function fireFrom(x: Tensor, neuron: Neuron, before?: Tensor): { spikes: Spikes; state: Tensor } {
  const state = before ? copyOf(before) : zeros(x.shape.slice(1));
  return { spikes: fireOnward(x, { neuron: withLearned(neuron, undefined), state }), state };
}

function copyOf(x: Tensor): Tensor {
  x.expectAlive();
  const y = empty(x.shape);
  host().kernels.f32_copy(x.size, x.ptr, y.ptr);
  return y;
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
