/** Ops that move values and compute nothing: views, joins, slices, repeats. */
import { host } from "../host.ts";
import type { Room } from "../memory.ts";
import { defineOp, type Value } from "../op.ts";
import { lastAxis, rowsOf, show, sizeOf, type Shape } from "../shape.ts";
import type { Spikes } from "../spikes.ts";
import { empty, Tensor, zeros } from "../tensor.ts";

const view = (x: Tensor, shape: Shape): Tensor => new Tensor(shape, x.ptr, x.life, x.home);

const reshapeOp = defineOp<[x: Value], { shape: Shape }, Value>({
  name: "reshape",
  reads: {},
  again: true,
  shape: ([x], { shape }) => {
    if (sizeOf(shape) !== x.size) throw new Error(`reshape: ${show(x.shape)} does not fit ${show(shape)}`);
    return shape;
  },
  output: (shape, [x]) => (x instanceof Tensor ? view(x, shape) : x.reshaped(shape)),
  forward: () => {},
  backward: (dy, [x]) => [view(dy, x.shape)],
});

/** The same values under another shape of equal size. A view: nothing is copied. */
export function reshape<V extends Value>(x: V, shape: Shape): V { return reshapeOp(x, { shape }) as V; }
export { reshapeOp };

/** Joins two tensors along channels: [..., a] and [..., b] -> [..., a + b]. */
export const concat = defineOp<[a: Tensor, b: Tensor]>({
  name: "concat",
  reads: {},
  shape: ([a, b]) => {
    const outer = a.shape.slice(0, -1);
    if (a.shape.length !== b.shape.length || outer.some((n, i) => n !== b.shape[i])) {
      throw new Error(`concat: expected shapes equal but for the channels, got ${show(a.shape)} and ${show(b.shape)}`);
    }
    return [...outer, lastAxis(a.shape) + lastAxis(b.shape)];
  },
  forward: (k, [a, b], y) => {
    const { bytes } = host();
    const A = lastAxis(a.shape), B = lastAxis(b.shape), rows = rowsOf(y.shape);
    k.f32_copy_columns(rows, a.ptr, A, y.ptr, A + B, A);
    k.f32_copy_columns(rows, b.ptr, B, y.ptr + A * bytes, A + B, B);
  },
  backward: (dy, [a, b], { needs }) => [
    needs[0] ? channels(dy, { from: 0, count: lastAxis(a.shape) }) : undefined,
    needs[1] ? channels(dy, { from: lastAxis(a.shape), count: lastAxis(b.shape) }) : undefined,
  ],
});

/** `count` channels starting at `from`: [..., C] -> [..., count]. */
export const channels = defineOp<[x: Tensor], { from: number; count: number }>({
  name: "channels",
  reads: {},
  shape: ([x], { from, count }) => {
    if (from < 0 || count < 0 || from + count > lastAxis(x.shape)) throw new Error(`channels: ${from}..${from + count} of ${show(x.shape)} do not exist`);
    return [...x.shape.slice(0, -1), count];
  },
  forward: (k, [x], y, { from, count }) => {
    k.f32_copy_columns(rowsOf(y.shape), x.ptr + from * host().bytes, lastAxis(x.shape), y.ptr, count, count);
  },
  backward: (dy, [x], { attributes: { from, count } }) => {
    const dx = zeros(x.shape), { kernels, bytes } = host();
    kernels.f32_copy_columns(rowsOf(dy.shape), dy.ptr, count, dx.ptr + from * bytes, lastAxis(x.shape), count);
    return [dx];
  },
});

/** Joins tensors along the second axis: [B, a, C] and [B, b, C] -> [B, a + b, C]. */
export const concatRows = defineOp<[a: Tensor, b: Tensor]>({
  name: "concatRows",
  reads: {},
  shape: ([a, b]) => {
    const [B, n, C] = a.shape;
    if (a.shape.length !== 3 || b.shape.length !== 3 || b.shape[0] !== B || b.shape[2] !== C) {
      throw new Error(`concatRows: expected [B, a, C] and [B, b, C], got ${show(a.shape)} and ${show(b.shape)}`);
    }
    return [B, n + b.shape[1], C];
  },
  forward: (k, [a, b], y) => {
    const [A, B] = [a.size / a.shape[0], b.size / b.shape[0]];
    k.f32_copy_columns(y.shape[0], a.ptr, A, y.ptr, A + B, A);
    k.f32_copy_columns(y.shape[0], b.ptr, B, y.ptr + A * host().bytes, A + B, B);
  },
  backward: (dy, [a, b], { needs }) => {
    const { kernels, bytes } = host();
    const [A, B] = [a.size / a.shape[0], b.size / b.shape[0]];
    const part = (like: Tensor, offset: number, width: number): Tensor => {
      const dx = empty(like.shape);
      kernels.f32_copy_columns(like.shape[0], dy.ptr + offset * bytes, A + B, dx.ptr, width, width);
      return dx;
    };
    return [needs[0] ? part(a, 0, A) : undefined, needs[1] ? part(b, A, B) : undefined];
  },
});

/** y[t] = x for T timesteps: [...] -> [T, ...]      dx = sum over t of dy[t] */
export const repeatOverTime = defineOp<[x: Tensor], { T: number }>({
  name: "repeatOverTime",
  reads: {},
  shape: ([x], { T }) => [T, ...x.shape],
  forward: (k, [x], y, { T }) => k.f32_repeat(x.size, x.ptr, y.ptr, T, x.size, 1),
  backward: (dy, [x], { attributes: { T } }) => {
    const dx = empty(x.shape);
    host().kernels.f32_sum_over(x.size, dy.ptr, dx.ptr, T, x.size, 1);
    return [dx];
  },
});

/** y = mean over t of x[t]: [T, ...] -> [...]      dx[t] = dy / T */
export const meanOverTime = defineOp<[x: Tensor]>({
  name: "meanOverTime",
  reads: {},
  shape: ([x]) => x.shape.slice(1),
  forward: (k, [x], y) => k.f32_sum_over(y.size, x.ptr, y.ptr, x.shape[0], y.size, 1 / x.shape[0]),
  backward: (dy, [x]) => {
    const dx = empty(x.shape), T = x.shape[0];
    host().kernels.f32_repeat(dy.size, dy.ptr, dx.ptr, T, dy.size, 1 / T);
    return [dx];
  },
});

/** Rows by index: [n, C] -> [index.length, C]. A row may be taken more than once; its gradients add up. */
export const gatherRows = defineOp<[x: Tensor], { index: Int32Array }, Tensor, { index: Room }>({
  name: "gatherRows",
  reads: {},
  shape: ([x], { index }) => {
    const rows = rowsOf(x.shape);
    for (const row of index) if (row < 0 || row >= rows) throw new Error(`gatherRows: row ${row} of ${show(x.shape)} does not exist`);
    return [index.length, lastAxis(x.shape)];
  },
  saves: (_, { index }) => {
    const { memory } = host();
    const room = memory.room(4 * index.length);
    new Int32Array(memory.wasm.buffer, room.ptr, index.length).set(index);
    return { index: room };
  },
  forward: (k, [x], y, _, { index }) => k.f32_gather_rows(y.shape[0], x.ptr, index.ptr, y.ptr, y.shape[1]),
  backward: (dy, [x], { saved }) => {
    const dx = zeros(x.shape);
    host().kernels.f32_scatter_rows(1, dy.ptr, saved.index.ptr, dx.ptr, dy.shape[0], dy.shape[1]);
    return [dx];
  },
});

/** The integer values of spikes as real numbers      ds = dy */
export const valuesOf = defineOp<[s: Spikes]>({
  name: "valuesOf",
  reads: {},
  again: true,
  shape: ([s]) => s.shape,
  forward: (k, [s], y) => k.spikes_to_f32(y.size, s.ptr, y.ptr),
  backward: (dy) => [dy],
});
