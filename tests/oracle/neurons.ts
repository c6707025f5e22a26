/** Neurons as a stream runs them: one timestep after the other, with the state handed on. */
import { noGrad, tensor, type Tensor } from "../../engine/index.ts";
import type { Neurons } from "../../nn/index.ts";

/** Spikes, and membranes after the reset, of x [T, ...]. */
export function oneByOne(x: Tensor, neurons: Neurons): { spikes: number[]; states: number[] } {
  const [T, ...rest] = x.shape, n = x.size / T, spikes: number[] = [], states: number[] = [];
  let before: Tensor | undefined;
  for (let t = 0; t < T; t++) {
    const now = tensor(x.data.slice(t * n, (t + 1) * n), [1, ...rest]), left = noGrad(() => neurons.forwardFrom(now, before));
    spikes.push(...left.spikes.values());
    states.push(...left.state.data);
    before = left.state;
  }
  return { spikes, states };
}
