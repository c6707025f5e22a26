/**
 * Which kernel runs each pass of a convolution.
 *
 *   forward   spikes: sparse | dense (integer and binary where asked for);  reals: dense | winograd
 *   dx        winograd | dense | masked
 *   dw        spikes: sparse | dense;  reals: dense
 *
 * The same seed gives the same run, although clocks take part: sparse and dense add the same terms in the same order, but for products with zero,
 * which change no sum of finite numbers. (Where a weight is infinite or not a number the dense kernels say so everywhere, the sparse ones where something fired.) So where the measured crossovers decide between them, and where a layer is held to what it did before, no bit
 * depends on it. Where bits do depend on the kernel (masked, winograd), shapes and the spikes themselves decide, by constants, and nothing that was before.
 */
import { FIXED, type Crossovers } from "../../kernels/crossovers.ts";
import { host } from "../host.ts";
import type { Value } from "../op.ts";
import { Spikes } from "../spikes.ts";
import type { Tensor } from "../tensor.ts";
import type { Geometry } from "./geometry.ts";
import { suitsWinograd, tilesOf } from "./winograd.ts";

/**
 * How real values are convolved.
 *
 * direct    each output is one running sum over taps and channels; the input gradient is computed whichever way is faster
 * winograd  3x3 of stride 1 alone, 2 to 3 times faster: errors of some 1e-5 of the largest value, in place of 1e-6, so not before a
 *           neuron that rounds. The input gradient likewise, at any size.
 */
export type Algorithm = "direct" | "winograd";

/**
 * dense    on the real values of the spikes
 * sparse   a real sum over events; the bits of `dense`
 * integer  an exact sum over events: weights on a power-of-two grid, integer values as multipliers
 * binary   an exact sum over D virtual timesteps of 0/1 spikes: additions only; the same bits as `integer`
 * auto     dense or sparse, whichever is faster at the density met
 */
export type SpikePath = "auto" | "dense" | "sparse" | "integer" | "binary";

/** Kernels to take in place of those that would be chosen. */
export interface KernelChoice {
  /** Of spikes. */
  readonly forward?: Exclude<SpikePath, "auto">;
  /** `masked`: 1x1 of stride 1 alone, zeros where the neuron's window is closed and the gradient would end anyway. `whole`: whichever is always taken, but that. */
  readonly dx?: InputGradientKernel | "whole";
  /** Of spikes. */
  readonly dw?: "sparse" | "dense";
}

export type Pass = "forward" | "dx" | "dw";

/** One pass of a convolution as it runs. */
export interface KernelRun {
  readonly pass: Pass;
  /** Its kernel and the size of the window: "sparse 3x3", "winograd 3x3", "masked 1x1", "depthwise 7x7". */
  readonly kernel: string;
  /** Whose convolution it is. */
  readonly weight: Tensor;
}

let forced: KernelChoice = {};
let observer: ((run: KernelRun) => void) | undefined;

/**
 * Runs with kernels of one's choice, for study. A convolution that a kernel does not serve (grouped for `sparse` and `masked`, not 3x3 of
 * stride 1 for `winograd`, depthwise for all) takes what it always does. A pass given as undefined is chosen as always again.
 */
export function withKernels<R>(choice: KernelChoice, run: () => R): R {
  const before = forced;
  forced = { ...forced, ...choice };
  try { return run(); } finally { forced = before; }
}

const PATHS: Record<SpikePath, KernelChoice> = {
  auto: { forward: undefined, dw: undefined },
  dense: { forward: "dense", dw: "dense" },
  sparse: { forward: "sparse", dw: "sparse" },
  integer: { forward: "integer", dw: undefined },
  binary: { forward: "binary", dw: undefined },
};

/** Runs with one way of convolving spikes. The exact ways keep no gradient and want noGrad. */
export const withSpikePath = <R>(path: SpikePath, run: () => R): R => withKernels(PATHS[path], run);

/** Whether sums of spikes are exact ones in integers now, which take weights as they are. */
export const sumsExactly = (): boolean => forced.forward === "integer" || forced.forward === "binary";

/** Calls `see` before each pass of a convolution that runs inside: for profiles. */
export function observeKernels<R>(see: (run: KernelRun) => void, run: () => R): R {
  const before = observer;
  observer = see;
  try { return run(); } finally { observer = before; }
}

/** Channels that a list of events by pixel can name. */
const MOST_LISTED = 4095;

export type ForwardKernel = Exclude<SpikePath, "auto"> | "winograd" | "depthwise";

export const forwardKernel = (x: Value, weight: Tensor, g: Geometry, algorithm: Algorithm): ForwardKernel => seen("forward", weight, g, forwardOf(x, weight, g, algorithm));

function forwardOf(x: Value, weight: Tensor, g: Geometry, algorithm: Algorithm): ForwardKernel {
  const spikes = x instanceof Spikes, real = algorithm === "winograd" ? algorithm : "dense";
  if (spikes && (forced.forward === "integer" || forced.forward === "binary")) return forced.forward; // sumsExactly
  if (g.depthwise) return "depthwise";
  if (!spikes || g.groups > 1 || g.C > MOST_LISTED) return real;
  if (forced.forward) return forced.forward === "sparse" ? "sparse" : real;
  if (neverPays(g)) return real;
  const sparse = real === "dense" ? gathers(x, weight, g, "forward") : x.statistics().density < crossoverOf(FIXED, g, "forward");
  return sparse ? "sparse" : real;
}

export type InputGradientKernel = "winograd" | "dense" | "masked";

/** Of a convolution that is not depthwise. */
export const inputGradientKernel = (x: Value, weight: Tensor, g: Geometry, algorithm: Algorithm): InputGradientKernel => seen("dx", weight, g, inputGradientOf(x, g, algorithm));

function inputGradientOf(x: Value, g: Geometry, algorithm: Algorithm): InputGradientKernel {
  const maskable = x instanceof Spikes && x.gradientWhereOpen && g.pointwise && g.groups === 1;
  const serves = { winograd: suitsWinograd(g), masked: maskable, dense: true }, { dx } = forced;
  if (dx && dx !== "whole" && serves[dx]) return dx;
  if (maskable && dx !== "whole" && x.statistics().open < openBelow(g)) return "masked";
  return algorithm === "winograd" ? algorithm : inputGradientPath(g);
}

/** Of a convolution that is not depthwise. */
export const weightGradientKernel = (x: Value, weight: Tensor, g: Geometry): "sparse" | "dense" => seen("dw", weight, g, weightGradientOf(x, weight, g));

function weightGradientOf(x: Value, weight: Tensor, g: Geometry): "sparse" | "dense" {
  if (!(x instanceof Spikes) || g.groups > 1) return "dense";
  return forced.dw ?? (!neverPays(g) && gathers(x, weight, g, "dw") ? "sparse" : "dense");
}

/**
 * Winograd pays where its 36 products per tile, and a transform of the weights that costs as much as 16 more tiles, are fewer than
 * 9 per pixel; and not where dy has a few channels, whose sums are too short to repay the transforms (measured: `npm run bench -- winograd`).
 */
export function inputGradientPath(g: Geometry): "winograd" | "dense" {
  const pays = g.out >= 8 && 36 * (tilesOf(g.B, g.H, g.W) + 16) < 9 * g.inputPixels;
  return suitsWinograd(g) && pays ? "winograd" : "dense";
}

/** Share of open windows below which the masked input gradient pays: what a pixel and what a dot product cost beside it weigh on short ones (measured: `npm run bench -- masked`). */
const openBelow = ({ C, out }: Geometry): number => 0.6 - 8 / out - 4 / C;

// ── sparse or dense ─────────────────────────────────────────────────────────────────────────────────────────────────

/** A layer changes its kernel once density has passed the crossover by so much of it: a band of 10 %, in which it does not alternate. */
const BEYOND = 0.05;

/** A layer so many times below or above the crossover is not asked again for so many passes: to look at its spikes takes as long as a small kernel. */
const CLEARLY = 1.5, UNASKED = 15;

/** What a layer does, and how often it does that again unasked. */
interface Habit { readonly gathers: boolean; unasked: number }
/** By the layer's weight. */
const habits = new WeakMap<Tensor, { [P in "forward" | "dw"]?: Habit }>();

function gathers(s: Spikes, weight: Tensor, g: Geometry, pass: "forward" | "dw"): boolean {
  let known = habits.get(weight);
  if (!known) habits.set(weight, (known = {}));
  const habit = known[pass];
  if (habit && habit.unasked-- > 0) return habit.gathers;
  const density = s.roughDensity(), crossover = crossoverOf(host().crossovers, g, pass), hold = !habit ? 1 : habit.gathers ? 1 + BEYOND : 1 - BEYOND;
  const clear = density * CLEARLY < crossover || density > CLEARLY * crossover;
  const now: Habit = { gathers: density < hold * crossover, unasked: clear ? UNASKED : 0 };
  known[pass] = now;
  return now.gathers;
}

const crossoverOf = (crossovers: Crossovers, { taps }: Geometry, pass: "forward" | "dw"): number => crossovers[pass][taps === 1 ? "pointwise" : "wider"];

/** Channels, on either side, that repay what a pixel's list costs. */
const FEW = 16;

/** Narrow layers: at best even below a tenth of density, two to three times slower at a third, and with much more memory. So shapes decide, and plans of memory know it. */
const neverPays = ({ C, out }: Geometry): boolean => C < FEW || out < FEW;

/** Tells the observer, if there is one. */
export function seen<K extends string>(pass: Pass, weight: Tensor, { kh, kw }: Geometry, kernel: K): K {
  observer?.({ pass, kernel: `${kernel} ${kh}x${kw}`, weight });
  return kernel;
}
