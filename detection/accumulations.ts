/** What a convolution of sparse input really adds, borders and strides included: an input that is not zero reaches as many outputs as see it. */
import { Spikes, type Value } from "../engine/index.ts";
import type { Conv2d } from "../nn/layers.ts";

export interface Accumulations {
  /** One for each non-zero input and output that it reaches. */
  readonly nonZero: number;
  /** The same with an integer n counted as n additions of 1. */
  readonly valued: number;
}

/** How many outputs see each place of one axis. */
function reached(inputs: number, { kernel, attributes: { stride, padding } }: Conv2d): number[] {
  const outputs = Math.floor((inputs + 2 * padding - kernel) / stride) + 1, seen = new Array<number>(inputs).fill(0);
  for (let o = 0; o < outputs; o++) for (let k = 0; k < kernel; k++) { const at = o * stride + k - padding; if (at >= 0 && at < inputs) seen[at]++; }
  return seen;
}

/** Over all frames of x [N, H, W, C]; layers of one group and dilation 1. */
export function accumulations(layer: Conv2d, x: Value): Accumulations {
  const [N, H, W, C] = x.shape, values = x instanceof Spikes ? x.values() : x.data, rows = reached(H, layer), columns = reached(W, layer);
  let nonZero = 0, valued = 0;
  for (let p = 0; p < N * H * W; p++) {
    const reach = rows[Math.floor(p / W) % H] * columns[p % W] * layer.outChannels;
    for (let c = 0; c < C; c++) { const value = values[p * C + c]; if (value !== 0) { nonZero += reach; valued += value * reach; } }
  }
  return { nonZero, valued };
}
