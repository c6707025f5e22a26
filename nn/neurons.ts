/** Neurons as records, and the module that trains what is learnable in them. T is the length of the first axis that they are run over; D is the largest integer that one emits. */
import { fire, fireFrom, Parameter, withLearned, type BinaryNeuron, type IntegerNeuron, type Neuron, type Spikes, type Tensor } from "../engine/index.ts";
import { log } from "../kernels/elementary.ts";
import { Module } from "./module.ts";
import { atan } from "./surrogates.ts";

/** I-LIF of SpikeYOLO on COCO (Luo et al., arXiv:2407.20708, eq. 8-10): h = 0.25 (h - s) + x. */
export const ilif = (D = 4, decay = 0.25): IntegerNeuron => ({ fire: "integer", D, decay, gain: 1 });

/** I-LIF of SpikeYOLO's Gen1 release: h = v + (x - v)/2. Its input is halved, also at T = 1. */
export const ilifGen1 = (D = 4): IntegerNeuron => ({ fire: "integer", D, decay: 0.5, gain: 0.5 });

export interface BinaryOptions extends Partial<Omit<BinaryNeuron, "fire" | "learnable">> {
  /** Where a hard reset leads, and the membrane rests. Membranes are measured from there, which leaves of it a threshold that is lower by so much. */
  readonly vReset?: number;
}

export interface LeakyOptions extends Omit<BinaryOptions, "decay" | "gain"> {
  /** Time constant in timesteps, above 1. */
  readonly tau?: number;
  /** Whether the input is divided by tau too. */
  readonly decayInput?: boolean;
}

function binary({ vReset = 0, ...fields }: BinaryOptions, reset: BinaryNeuron["reset"]): BinaryNeuron {
  const neuron: BinaryNeuron = { fire: "binary", decay: 1, gain: 1, threshold: 1, reset, detachReset: false, surrogate: atan(), ...fields };
  if (vReset !== 0 && neuron.reset !== "zero") throw new Error(`neuron: vReset ${vReset} is where a hard reset leads; with reset "${neuron.reset}" leave it out`);
  return { ...neuron, threshold: neuron.threshold - vReset };
}

/** Integrate and fire: no leak. */
export const integrateAndFire = (options: BinaryOptions = {}): BinaryNeuron => binary(options, "subtract");

/** Leaky integrate and fire with time constant tau and a hard reset: h = v + (x - v)/tau, or h = v (1 - 1/tau) + x where the input does not decay. */
export function leaky({ tau = 2, decayInput = true, ...options }: LeakyOptions = {}): BinaryNeuron {
  return binary({ ...options, decay: 1 - 1 / tau, gain: decayInput ? 1 / tau : 1 }, "zero");
}

/** PLIF (Fang et al., arXiv:2007.05785, eq. 6-8): `leaky` from this tau on, which each layer trains: 1/tau = sigmoid(w). */
export function parametricLeaky({ tau = 2, decayInput = true, ...options }: LeakyOptions = {}): BinaryNeuron {
  if (!(tau > 1)) throw new Error(`parametricLeaky: tau must be above 1, since 1/tau is a sigmoid; got ${tau}`);
  return { ...leaky({ tau, decayInput, ...options }), learnable: decayInput ? "decay and gain" : "decay" };
}

/** What a layer emits at most. */
export const largestSpike = (neuron: Neuron): number => (neuron.fire === "integer" ? neuron.D : 1);

/** A layer of neurons, with the parameter of what is learnable in its record. */
export class Neurons extends Module {
  /** [] with 1/tau = sigmoid(w). Weight decay would pull tau to 2, so it takes none. */
  readonly w: Parameter | undefined;
  constructor(readonly neuron: Neuron) {
    super();
    if (neuron.fire === "binary" && neuron.learnable) this.w = new Parameter([], "norm");
    this.reset();
  }

  /** tau as in the record. */
  override reset(): void { if (this.w) this.w.data[0] = log(1 - this.neuron.decay) - log(this.neuron.decay); }

  /** Spikes of the current x [T, ...]. State starts at zero. */
  forward(x: Tensor): Spikes { return fire(x, this.neuron, this.w); }

  /** The next spikes of a stream, and the state that they leave (see `fireFrom`). */
  forwardFrom(x: Tensor, state?: Tensor): { spikes: Spikes; state: Tensor } { return fireFrom(x, this.learned, state); }

  /** The record as it is now, with numbers for what is learnable. */
  get learned(): Neuron { return withLearned(this.neuron, this.w); }
}
