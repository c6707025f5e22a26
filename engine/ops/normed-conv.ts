/**
 * A 1x1 convolution behind a batch norm of spikes. The norm makes reals of them, but it maps each channel by a straight line, and the spikes are still there:
 *
 *   W (a s + b) = (W a) s + W b        a = gamma / sqrt(variance + eps),  b = beta - mean a
 *
 * so spikes are what is convolved, by whichever kernel is faster (dispatch.ts), and what the norm makes of them is never written down.
 */
import { host } from "../host.ts";
import { defineOp } from "../op.ts";
import { expectRank, expectWhole, rowsOf, show, type Shape } from "../shape.ts";
import { realValues, type Spikes } from "../spikes.ts";
import { gradientOf, scratch, Tensor } from "../tensor.ts";
import { conv2dOp, type ConvAttributes } from "./conv.ts";
import { columnSums } from "./matmul.ts";
import type { BatchNormAttributes } from "./norm.ts";

export interface NormedAttributes extends BatchNormAttributes {
  /** [C]: what stands around the normed spikes. No gradient goes to it. */
  readonly border: Tensor;
  /** How many pixels of it, on each side. */
  readonly pad: number;
}

const POINTWISE: ConvAttributes = { stride: 1, padding: 0, dilation: 1, groups: 1, algorithm: "direct" };

/**
 * W of (the norm of s, in a border v): s [N, H, W, C], weight [out, 1, 1, C] -> [N, H + 2 pad, W + 2 pad, out].
 *
 * With A = W a, and S and V the sums of dy over the pixels inside and in the border, n pixels inside, r = 1/sqrt(variance + eps):
 *
 *   dW = dA a + S b + V v,   da = sum over outputs of dA W,   db = sum over outputs of S W,   t = da - mean db
 *   dgamma = r t,   dbeta = db
 *   ds = dy A                                                                statistics given
 *   ds = dy A + k s - (a db / n + k mean),   k = -gamma r^3 t / n            statistics of the batch
 */
export const normedPointwise = defineOp<[s: Spikes, gamma: Tensor, beta: Tensor, weight: Tensor], NormedAttributes>({
  name: "normedPointwise",
  reads: { inputs: [0, 1, 2, 3] },
  halvable: true,
  shape: ([s, gamma, beta, weight], { border, pad }) => {
    expectRank("normedPointwise", "N, H, W, C", s);
    expectWhole("normedPointwise", "pad", pad, 0);
    const [N, H, W, C] = s.shape, [out] = weight.shape;
    if (show(weight.shape) !== show([out, 1, 1, C])) throw new Error(`normedPointwise: s ${show(s.shape)} expects a weight [out, 1, 1, ${C}], got ${show(weight.shape)}`);
    if (gamma.size !== C || beta.size !== C || border.size !== C) {
      throw new Error(`normedPointwise: s ${show(s.shape)} expects gamma, beta and border [${C}], got ${show(gamma.shape)}, ${show(beta.shape)} and ${show(border.shape)}`);
    }
    return [N, H + 2 * pad, W + 2 * pad, out];
  },
  forward: (k, [s, gamma, beta, weight], y, attributes) => {
    const { pad } = attributes, [N, H, W, C] = s.shape, out = weight.shape[0];
    const inside = scratch([N, H, W, out]), sums = scratch([1, 1, 2, out]), { scaled, lines } = throughNorm(gamma, beta, weight, attributes);
    conv2dOp.spec.forward(k, [part(lines, C, [1, 1, 2, C]), weight, undefined], sums, POINTWISE, undefined); // W b and W v
    conv2dOp.spec.forward(k, [s, scaled, part(sums, 0, [out])], inside, POINTWISE, undefined);
    k.f32_pad(N * (H + 2 * pad), inside.ptr, part(sums, out, [out]).ptr, y.ptr, H, W, out, pad);
  },
  backward: (dy, [s, gamma, beta, weight], { attributes, needs }) => {
    const { kernels: k, memory, bytes } = host(), { mean, variance, eps, ofBatch, pad } = attributes;
    const [N, H, W, C] = s.shape, out = weight.shape[0], n = rowsOf(s.shape), { scaled, lines } = throughNorm(gamma, beta, weight, attributes);
    const inside = scratch([N, H, W, out]), sums = scratch([2, out]), ofLine = scratch([2, C]), coefficients = scratch([3, C]);
    k.f32_crop(N * H, dy.ptr, inside.ptr, H, W, out, pad);
    [inside, dy].forEach((x, row) => columnSums(x.ptr, part(sums, row * out, [out]).ptr, rowsOf(x.shape), out));
    const [ds, dA] = conv2dOp.spec.backward(inside, [s, scaled, undefined], { output: inside, attributes: POINTWISE, saved: undefined, needs: [needs[0], true, false] });

    const dw = gradientOf(weight), dgamma = gradientOf(gamma), dbeta = gradientOf(beta), [one, slope, offset] = [0, 1, 2].map((row) => part(coefficients, row * C, [C]).ptr);
    k.f32_normed_weight_grad(C, dA!.ptr, weight.ptr, lines.ptr, sums.ptr, dw.ptr, ofLine.ptr, out, C);
    k.f32_normed_coefficients(C, ofLine.ptr, gamma.ptr, mean.ptr, variance.ptr, eps, n, dgamma.ptr, dbeta.ptr, slope, offset, C);
    memory.recycle(dA!.ptr, dA!.size * bytes);
    if (ds && ofBatch) {
      k.f32_fill(C, one, 1);
      k.f32_norm_backward(n, realValues(s), ds.ptr, one, slope, offset, ds.ptr, C);
    }
    return [ds, dgamma, dbeta, dw];
  },
});

/** The weights that do the first half of the norm too, W a; and its lines [3, C]: a, b, and the border. */
function throughNorm(gamma: Tensor, beta: Tensor, weight: Tensor, { mean, variance, eps, border }: NormedAttributes): { scaled: Tensor; lines: Tensor } {
  const { kernels: k } = host(), C = gamma.size, scaled = scratch(weight.shape), lines = scratch([3, C]), [a, b, v] = [0, 1, 2].map((row) => part(lines, row * C, [C]).ptr);
  k.f32_norm_affine(C, gamma.ptr, beta.ptr, mean.ptr, variance.ptr, eps, a, b);
  k.f32_copy(C, border.ptr, v);
  k.f32_mul_row(weight.size / C, weight.ptr, a, scaled.ptr, C);
  return { scaled, lines };
}

/** Elements of x from `from` on, as a tensor of that shape. */
const part = (x: Tensor, from: number, shape: Shape): Tensor => new Tensor(shape, x.ptr + from * host().bytes, x.life, x.home);
