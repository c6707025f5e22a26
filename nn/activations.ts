/** What stands before a convolution: a layer of neurons, or a function that makes an ordinary network of the same graph. */
import { leakyRelu, mul, sigmoid, type Neuron, type Tensor, type Value } from "../engine/index.ts";
import { Module } from "./module.ts";
import { Neurons } from "./neurons.ts";

/** silu: y = x sigmoid(x) (arXiv:1702.03118).   relu: y = max(x, 0) */
export type RealActivation = "silu" | "relu";
export type Activation = Neuron | RealActivation;

const FUNCTIONS: Readonly<Record<RealActivation, (x: Tensor) => Tensor>> = {
  silu: (x) => mul(x, sigmoid(x)),
  relu: (x) => leakyRelu(x, { slope: 0 }),
};

/** One place of a network where it fires or activates. [T, ...] -> [T, ...], spikes or real numbers. */
export interface Activating extends Module { forward(x: Tensor): Value }

/** A place of its own: with parameters where the neuron has any that are learned. */
export const activating = (activation: Activation): Activating => (typeof activation === "string" ? new RealFunction(activation) : new Neurons(activation));

class RealFunction extends Module {
  constructor(readonly name: RealActivation) { super(); }
  forward(x: Tensor): Tensor { return FUNCTIONS[this.name](x); }
}
