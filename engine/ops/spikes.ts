/** What is done to spikes that leaves them spikes: sums of integer values, joins, upsampling. Their gradients are those of the reals that they stand for. */
import { host } from "../host.ts";
import type { Room } from "../memory.ts";
import { defineOp, spikesUpTo } from "../op.ts";
import { expectRank, expectWhole, lastAxis, rowsOf, sameShape, show, sizeOf, type Shape } from "../shape.ts";
import { emptySpikes, type Spikes } from "../spikes.ts";
import { empty, type Tensor } from "../tensor.ts";
import { channels } from "./layout.ts";
import { maxPool2d, type PoolAttributes } from "./pool.ts";

/** The largest value that a spike byte holds. */
const MOST = 15;

/** A window that is closed in one is no reason to pass nothing on to the other. */
const like = (shape: Shape, D: number, ...from: readonly Spikes[]): Spikes => emptySpikes(shape, D, { gradientWhereOpen: from.every(({ gradientWhereOpen }) => gradientWhereOpen) });

/** z = a + b, integer values that add up: a shortcut between spikes      da = db = dz */
export const addSpikes = defineOp<[a: Spikes, b: Spikes], undefined, Spikes>({
  name: "addSpikes",
  reads: {},
  shape: ([a, b]) => {
    if (a.D + b.D > MOST) throw new Error(`addSpikes: a spike holds values up to ${MOST}, got values up to ${a.D} and ${b.D} to add (${show(a.shape)})`);
    return sameShape("addSpikes", a, b);
  },
  output: (shape, [a, b]) => like(shape, a.D + b.D, a, b),
  forward: (k, [a, b], z) => k.spikes_add(z.size, a.ptr, b.ptr, z.ptr),
  backward: (dz) => [dz, dz],
});

/** Joins spikes along channels: [..., a] and [..., b] -> [..., a + b]. */
export const concatSpikes = defineOp<[a: Spikes, b: Spikes], undefined, Spikes>({
  name: "concatSpikes",
  reads: {},
  shape: ([a, b]) => {
    if (a.shape.length !== b.shape.length || a.shape.slice(0, -1).some((n, i) => n !== b.shape[i])) {
      throw new Error(`concatSpikes: expected shapes equal but for the channels, got ${show(a.shape)} and ${show(b.shape)}`);
    }
    return [...a.shape.slice(0, -1), lastAxis(a.shape) + lastAxis(b.shape)];
  },
  output: (shape, [a, b]) => like(shape, Math.max(a.D, b.D), a, b),
  forward: (k, [a, b], y) => {
    const A = lastAxis(a.shape), B = lastAxis(b.shape), rows = rowsOf(y.shape);
    k.spikes_copy_columns(rows, a.ptr, A, y.ptr, A + B, A);
    k.spikes_copy_columns(rows, b.ptr, B, y.ptr + A, A + B, B);
  },
  backward: (dy, [a, b], { needs }) => [
    needs[0] ? channels(dy, { from: 0, count: lastAxis(a.shape) }) : undefined,
    needs[1] ? channels(dy, { from: lastAxis(a.shape), count: lastAxis(b.shape) }) : undefined,
  ],
});

/** Each pixel of s [N, H, W, C] becomes factor x factor pixels      ds = sum of its block of dy */
export const upsampleSpikes = defineOp<[s: Spikes], { factor: number }, Spikes>({
  name: "upsampleSpikes",
  reads: {},
  shape: ([s], { factor }) => {
    expectRank("upsampleSpikes", "N, H, W, C", s);
    expectWhole("upsampleSpikes", "factor", factor, 1);
    const [N, H, W, C] = s.shape;
    return [N, H * factor, W * factor, C];
  },
  output: (shape, [s]) => like(shape, s.D, s),
  forward: (k, [s], y, { factor }) => {
    const [N, H, W, C] = s.shape;
    k.spikes_upsample_nearest(N * H * factor, s.ptr, y.ptr, H, W, C, factor);
  },
  backward: (dy, [s], { attributes: { factor } }): [Tensor] => {
    const [N, H, W, C] = s.shape, ds = empty(s.shape);
    host().kernels.f32_upsample_nearest_backward(N * H, dy.ptr, ds.ptr, H, W, C, factor);
    return [ds];
  },
});

/** Largest value of each window of s [N, H, W, C], as maxPool2d has it. */
export const maxPoolSpikes = defineOp<[s: Spikes], PoolAttributes, Spikes, { argmax: Room }>({
  name: "maxPoolSpikes",
  reads: {},
  shape: (inputs, attributes) => maxPool2d.spec.shape(inputs as unknown as [Tensor], attributes),
  output: (shape, [s]) => spikesUpTo(s.D)(shape),
  saves: (_, __, shape) => ({ argmax: host().memory.room(sizeOf(shape)) }),
  forward: (k, [s], y, { kernel, stride, padding }, { argmax }) => {
    const { memory, bytes } = host(), [, H, W, C] = s.shape, [N, OH, OW] = y.shape, from = memory.workspace(s.size * bytes), to = memory.workspace(y.size * bytes);
    k.spikes_to_f32(s.size, s.ptr, from);
    k.f32_maxpool(N * OH, from, to, argmax.ptr, H, W, C, OH, OW, kernel, stride, padding);
    k.spikes_from_f32(y.size, to, y.ptr);
  },
  backward: (dy, [s], { attributes: { kernel, stride, padding }, saved: { argmax } }): [Tensor] => {
    const [N, H, W, C] = s.shape, [, OH, OW] = dy.shape, ds = empty(s.shape);
    host().kernels.f32_maxpool_backward(N, dy.ptr, argmax.ptr, ds.ptr, H, W, C, OH, OW, kernel, stride, padding);
    return [ds];
  },
});
