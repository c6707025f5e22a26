/** Ops over windows of pixels that have no weights: max pooling, nearest upsampling, padding. */
import { host } from "../host.ts";
import type { Room } from "../memory.ts";
import { defineOp } from "../op.ts";
import { expectRank, expectWhole, show } from "../shape.ts";
import { empty, type Tensor } from "../tensor.ts";

export interface PoolAttributes { kernel: number; stride: number; padding: number }

/** Largest value of each kernel x kernel window of x [N, H, W, C]; padding counts as -inf. The gradient goes to the first maximum in row-major order. */
export const maxPool2d = defineOp<[x: Tensor], PoolAttributes, Tensor, { argmax: Room }>({
  name: "maxPool2d",
  reads: {},
  shape: ([x], { kernel, stride, padding }) => {
    expectRank("maxPool2d", "N, H, W, C", x);
    expectWhole("maxPool2d", "kernel", kernel, 1, 15);
    expectWhole("maxPool2d", "stride", stride, 1);
    expectWhole("maxPool2d", `padding (at most half of kernel ${kernel})`, padding, 0, Math.floor(kernel / 2));
    const [N, H, W, C] = x.shape;
    const out = (n: number) => Math.floor((n + 2 * padding - kernel) / stride) + 1;
    if (out(H) < 1 || out(W) < 1) throw new Error(`maxPool2d: kernel ${kernel} does not fit into ${show(x.shape)}`);
    return [N, out(H), out(W), C];
  },
  saves: (_, __, shape) => ({ argmax: host().memory.room(shape[0] * shape[1] * shape[2] * shape[3]) }),
  forward: (k, [x], y, { kernel, stride, padding }, { argmax }) => {
    const [, H, W, C] = x.shape, [N, OH, OW] = y.shape;
    k.f32_maxpool(N * OH, x.ptr, y.ptr, argmax.ptr, H, W, C, OH, OW, kernel, stride, padding);
  },
  backward: (dy, [x], { attributes: { kernel, stride, padding }, saved: { argmax } }) => {
    const [N, H, W, C] = x.shape, [, OH, OW] = dy.shape;
    const dx = empty(x.shape);
    host().kernels.f32_maxpool_backward(N, dy.ptr, argmax.ptr, dx.ptr, H, W, C, OH, OW, kernel, stride, padding);
    return [dx];
  },
});

/** Each pixel of x [N, H, W, C] becomes factor x factor pixels      dx = sum of its block of dy */
export const upsampleNearest = defineOp<[x: Tensor], { factor: number }>({
  name: "upsampleNearest",
  reads: {},
  shape: ([x], { factor }) => {
    expectRank("upsampleNearest", "N, H, W, C", x);
    expectWhole("upsampleNearest", "factor", factor, 1);
    const [N, H, W, C] = x.shape;
    return [N, H * factor, W * factor, C];
  },
  forward: (k, [x], y, { factor }) => {
    const [N, H, W, C] = x.shape;
    k.f32_upsample_nearest(N * H * factor, x.ptr, y.ptr, H, W, C, factor);
  },
  backward: (dy, [x], { attributes: { factor } }) => {
    const [N, H, W, C] = x.shape, dx = empty(x.shape);
    host().kernels.f32_upsample_nearest_backward(N * H, dy.ptr, dx.ptr, H, W, C, factor);
    return [dx];
  },
});

/** x [N, H, W, C] with `pad` pixels of border[c] around it. No gradient goes to the border. */
export const padWith = defineOp<[x: Tensor], { border: Tensor; pad: number }>({
  name: "padWith",
  reads: {},
  again: true,
  shape: ([x], { border, pad }) => {
    expectRank("padWith", "N, H, W, C", x);
    expectWhole("padWith", "pad", pad, 0);
    const [N, H, W, C] = x.shape;
    if (border.size !== C) throw new Error(`padWith: x ${show(x.shape)} expects a border of [${C}], got ${show(border.shape)}`);
    return [N, H + 2 * pad, W + 2 * pad, C];
  },
  forward: (k, [x], y, { border, pad }) => {
    const [N, H, W, C] = x.shape;
    k.f32_pad(N * (H + 2 * pad), x.ptr, border.ptr, y.ptr, H, W, C, pad);
  },
  backward: (dy, [x], { attributes: { pad } }) => {
    const [N, H, W, C] = x.shape, dx = empty(x.shape);
    host().kernels.f32_crop(N * H, dy.ptr, dx.ptr, H, W, C, pad);
    return [dx];
  },
});
