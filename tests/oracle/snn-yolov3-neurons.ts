/** The integrate-and-fire cases of SNN-YOLOv3: soft and hard reset, in and out of the gradient, with the arctangent surrogate. Tensors are [T, N, C]. */
import { backward, fire, fireByRate, fireFrom, reshape, tensor, valuesOf, type BinaryNeuron, type Tensor } from "../../engine/index.ts";
import { integrateAndFire, Neurons } from "../../nn/neurons.ts";
import { atan } from "../../nn/surrogates.ts";
import { oneByOne } from "./neurons.ts";
import type { Check, OracleCase, Player, Recorded, Tolerance } from "./play.ts";

type Reset = "soft" | "hard";
type ResetGradient = "attached" | "detached";

/** A case is of one kind of reset, or of all four with the kind in the names of its tensors. */
function kindsOf({ params: { reset, reset_gradient } }: OracleCase): { reset: Reset; gradient: ResetGradient; suffix: string }[] {
  if (reset) return [{ reset, gradient: reset_gradient, suffix: "" }];
  return (["soft", "hard"] as const).flatMap((reset) => (["attached", "detached"] as const).map((gradient) => ({ reset, gradient, suffix: `_${reset}_${gradient}` })));
}

const toleranceOf = ({ record: { tolerance } }: OracleCase, name: string): Tolerance => {
  const { abs = 0, rel = 0 } = tolerance[name] as { abs?: number; rel?: number };
  return { atol: abs, rtol: rel };
};

const tensorOf = ({ data, shape }: Recorded, requiresGrad = false): Tensor => tensor(data, shape, { requiresGrad });

const ifNeuron: Player = { places: ["reference64", "reference", "best"], play: (c, check) => {
  const { alpha, v_threshold: threshold, v_reset } = c.params;
  for (const { reset, gradient, suffix } of kindsOf(c)) {
    const neuron = integrateAndFire({ threshold, reset: reset === "hard" ? "zero" : "subtract", vReset: v_reset ?? 0, detachReset: gradient === "detached", surrogate: atan(alpha) });
    const x = tensorOf(c.tensor("x"), true), y = valuesOf(fire(x, neuron));
    check.equal(`spikes${suffix}`, y.data, c.tensor(`spikes${suffix}`).data);
    if (suffix === "") compareMembranes(c, check, x, neuron);
    backward(y, [tensorOf(c.tensor("grad_out"))]);
    check.close(`grad_x${suffix}`, x.grad!.data, c.tensor(`grad_x${suffix}`), toleranceOf(c, "grad_x"));
  }
} };

/** A neuron that never reaches its threshold only charges: that is the membrane before firing. */
function compareMembranes(c: OracleCase, check: Check, x: Tensor, neuron: BinaryNeuron): void {
  const { spikes, states } = oneByOne(x, new Neurons(neuron)), [T, ...rest] = x.shape, n = x.size / T;
  check.equal("spikes, timestep by timestep", spikes, c.tensor("spikes").data);
  check.close("v_after_reset", states, c.tensor("v_after_reset"), toleranceOf(c, "v"));
  const charged = Array.from({ length: T }, (_, t) => {
    const now = tensor(x.data.slice(t * n, (t + 1) * n), [1, ...rest]), before = t ? tensor(states.slice((t - 1) * n, t * n), rest) : undefined;
    return [...fireFrom(now, { ...neuron, threshold: Infinity, reset: "none" }, before).state.data];
  });
  check.close("v_before_fire", charged.flat(), c.tensor("v_before_fire"), toleranceOf(c, "v"));
}

/** The first axis is T*N, T outermost. */
const byRate: Player = { places: ["reference64", "reference", "best"], play: (c, check) => {
  const { T, v_threshold, alpha_threshold_factor: alpha } = c.params, { out, grad } = c.record.tolerance;
  const x = tensorOf(c.tensor("x"), true), threshold = tensor([v_threshold], [], { requiresGrad: true }), [TN, ...rest] = x.shape;
  const y = fireByRate(reshape(x, [T, TN / T, ...rest]), threshold, { alpha }), upstream = c.tensor("grad_out");
  check.close("out", y.data, c.tensor("out"), { rtol: 0, atol: out.abs });
  backward(y, [tensor(upstream.data, y.shape)]);
  check.close("grad_x", x.grad!.data, c.tensor("grad_x"), { rtol: 0, atol: grad.abs });
  check.close("grad_vth", threshold.grad!.data, c.tensor("grad_vth"), { rtol: 0, atol: grad.abs });
} };

export const snnYolov3NeuronPlayers: ReadonlyMap<string, Player> = new Map([["if_neuron", ifNeuron], ["rate_if_neuron", byRate]]);
