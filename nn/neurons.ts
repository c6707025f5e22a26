/** Neurons as records. T is the length of the first axis that they are run over; D is the largest integer that one emits. */
import type { BinaryNeuron, IntegerNeuron, Neuron } from "../engine/index.ts";
import { atan } from "./surrogates.ts";

/** I-LIF of SpikeYOLO on COCO (Luo et al., arXiv:2407.20708, eq. 8-10): h = 0.25 (h - s) + x. */
export const ilif = (D = 4, decay = 0.25): IntegerNeuron => ({ fire: "integer", D, decay, gain: 1 });

/** I-LIF of SpikeYOLO's Gen1 release: h = v + (x - v)/2. Its input is halved, also at T = 1. */
export const ilifGen1 = (D = 4): IntegerNeuron => ({ fire: "integer", D, decay: 0.5, gain: 0.5 });

/** Integrate and fire: no leak. */
export const integrateAndFire = (options: Partial<BinaryNeuron> = {}): BinaryNeuron => ({
  fire: "binary", decay: 1, gain: 1, threshold: 1, reset: "subtract", detachReset: false, surrogate: atan(), ...options,
});

/** Leaky integrate and fire with time constant tau, v_reset 0: h = v + (x - v)/tau, or h = v (1 - 1/tau) + x where the input does not decay. */
export const leaky = ({ tau = 2, decayInput = true, ...options }: Partial<BinaryNeuron> & { tau?: number; decayInput?: boolean } = {}): BinaryNeuron => ({
  fire: "binary", decay: 1 - 1 / tau, gain: decayInput ? 1 / tau : 1, threshold: 1, reset: "zero", detachReset: false, surrogate: atan(), ...options,
});

/** What a layer emits at most. */
export const largestSpike = (neuron: Neuron): number => (neuron.fire === "integer" ? neuron.D : 1);
