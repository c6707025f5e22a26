/** A neuron whose gradient looks at rates and not at time, as conversion methods have it: it is no backpropagation through time. */
import { host } from "../host.ts";
import { defineOp } from "../op.ts";
import { show } from "../shape.ts";
import { empty, scratch, type Tensor } from "../tensor.ts";

/** Share of the gradient of a threshold that is used. */
const THRESHOLD_SHARE = 1e-3;

/**
 * Integrate and fire of x [T, ...] with a learnable threshold [], from membranes at 0:
 *
 *   fire      s[t] = [v[t] >= alpha threshold],  y[t] = s[t] threshold,  the reset subtracts the threshold
 *   gradient  dx[t] = (sum_t dy[t]) [0 <= mean x <= threshold] / T,  dthreshold = 0.001 (sum of dy where mean x > threshold)
 */
export const fireByRate = defineOp<[x: Tensor, threshold: Tensor], { alpha: number }>({
  name: "fireByRate",
  reads: { inputs: [0, 1] },
  shape: ([x, threshold]) => {
    if (x.shape.length < 2 || threshold.size !== 1) throw new Error(`fireByRate: expected [T, ...] and one threshold, got ${show(x.shape)} and ${show(threshold.shape)}`);
    return x.shape;
  },
  forward: (k, [x, threshold], y, { alpha }) => {
    const T = x.shape[0], n = x.size / T, level = threshold.item(), spikes = host().memory.workspace(x.size), v = scratch([n]);
    k.f32_fill(n, v.ptr, (1 - alpha) * level); // measured from there, a membrane fires at the threshold that it is reset by
    k.f32_fire_binary(n, x.ptr, v.ptr, spikes, T, n, 1, 1, level, 0, 1, 2);
    k.spikes_to_f32(y.size, spikes, y.ptr);
    k.f32_scale(y.size, y.ptr, y.ptr, level);
  },
  backward: (dy, [x, threshold]) => {
    const { kernels: k } = host(), T = x.shape[0], n = x.size / T, level = threshold.item(), mean = scratch([n]), gathered = scratch([n]), dx = empty(x.shape), dthreshold = empty(threshold.shape);
    k.f32_sum_over(n, x.ptr, mean.ptr, T, n, 1 / T);
    k.f32_sum_over(n, dy.ptr, gathered.ptr, T, n, 1);
    const means = mean.data, sums = gathered.data;
    let above = 0;
    for (let i = 0; i < n; i++) {
      if (means[i] > level) above += sums[i];
      if (!(means[i] >= 0 && means[i] <= level)) sums[i] = 0;
    }
    k.f32_repeat(n, gathered.ptr, dx.ptr, T, n, 1 / T);
    dthreshold.data[0] = THRESHOLD_SHARE * above;
    return [dx, dthreshold];
  },
});
