/** How the currents that a last layer [T, ...] gives over time become one answer [...]. */
import { fire, meanOverTime, scale, valuesOf, type BinaryNeuron, type Tensor } from "../engine/index.ts";

/** "mean": of the currents over time (current mean decoding). "sum": as published code has it, where a bias counts T times. "rate": how often a neuron behind the layer fires. */
export type Decoding = "mean" | "sum" | "rate";

/** x [T, ...] -> [...]; the neuron is that of "rate". */
export function decodeCurrents(x: Tensor, decoding: Decoding, neuron: BinaryNeuron): Tensor {
  if (decoding === "rate") return meanOverTime(valuesOf(fire(x, neuron)));
  return decoding === "mean" ? meanOverTime(x) : scale(meanOverTime(x), { by: x.shape[0] });
}
