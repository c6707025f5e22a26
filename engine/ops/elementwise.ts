/** One value in, one value out, and sums of everything. */
import { defineOp, type Binary, type Unary } from "../op.ts";
import { sameShape } from "../shape.ts";
import { empty, type RealArray, type Tensor } from "../tensor.ts";
import { host } from "../host.ts";

/** z = x + y      dx = dy = dz */
export const add = defineOp<[x: Tensor, y: Tensor]>({
  name: "add",
  reads: {},
  shape: ([x, y]) => sameShape("add", x, y),
  forward: (k, [x, y], z) => k.f32_add(z.size, x.ptr, y.ptr, z.ptr),
  backward: (dz) => [dz, dz],
});

/** z = x - y      dx = dz, dy = -dz */
export const sub = defineOp<[x: Tensor, y: Tensor]>({
  name: "sub",
  reads: {},
  shape: ([x, y]) => sameShape("sub", x, y),
  forward: (k, [x, y], z) => k.f32_sub(z.size, x.ptr, y.ptr, z.ptr),
  backward: (dz, _, { needs }) => [dz, needs[1] ? scale(dz, { by: -1 }) : undefined],
});

/** z = x ∘ y      dx = dz ∘ y, dy = dz ∘ x */
export const mul: Binary = defineOp<[x: Tensor, y: Tensor]>({
  name: "mul",
  reads: { inputs: [0, 1] },
  shape: ([x, y]) => sameShape("mul", x, y),
  forward: (k, [x, y], z) => k.f32_mul(z.size, x.ptr, y.ptr, z.ptr),
  backward: (dz, [x, y], { needs }) => [needs[0] ? mul(dz, y) : undefined, needs[1] ? mul(dz, x) : undefined],
});

/** y = a x      dx = a dy */
export const scale: Unary<{ by: number }> = defineOp<[x: Tensor], { by: number }>({
  name: "scale",
  reads: {},
  shape: ([x]) => x.shape,
  forward: (k, [x], y, { by }) => k.f32_scale(y.size, x.ptr, y.ptr, by),
  backward: (dy, _, { attributes }) => [scale(dy, attributes)],
});

/** y = 1 / (1 + exp(-x))      dx = dy y (1 - y) */
export const sigmoid = defineOp<[x: Tensor]>({
  name: "sigmoid",
  reads: { output: true },
  shape: ([x]) => x.shape,
  forward: (k, [x], y) => k.f32_sigmoid(y.size, x.ptr, y.ptr),
  backward: (dy, _, { output: y }) => {
    const dx = empty(y.shape);
    host().kernels.f32_sigmoid_backward(y.size, y.ptr, dy.ptr, dx.ptr);
    return [dx];
  },
});

/** y = min(exp(x), most)      dx = dy y, 0 where the limit holds */
export const exp = defineOp<[x: Tensor], { most: number }>({
  name: "exp",
  reads: { output: true },
  shape: ([x]) => x.shape,
  forward: (k, [x], y, { most }) => k.f32_exp(y.size, x.ptr, y.ptr, most),
  backward: (dy, _, { output: y, attributes: { most } }) => {
    const dx = empty(y.shape);
    host().kernels.f32_exp_backward(y.size, y.ptr, dy.ptr, dx.ptr, most);
    return [dx];
  },
});

/** y = x where x > 0, slope x elsewhere      dx = dy, slope dy */
export const leakyRelu = defineOp<[x: Tensor], { slope: number }>({
  name: "leakyRelu",
  reads: { inputs: [0] },
  shape: ([x]) => x.shape,
  forward: (k, [x], y, { slope }) => k.f32_leaky(y.size, x.ptr, y.ptr, slope),
  backward: (dy, [x], { attributes: { slope } }) => {
    const dx = empty(x.shape);
    host().kernels.f32_leaky_backward(x.size, x.ptr, dy.ptr, dx.ptr, slope);
    return [dx];
  },
});

/** Kernels sum in blocks of this many elements, so that the result does not depend on who sums which. */
const SUM_BLOCK = 4096;

/** y = sum of all x, []      dx = dy everywhere */
export const sum = defineOp<[x: Tensor]>({
  name: "sum",
  reads: {},
  shape: () => [],
  forward: (k, [x], y) => {
    const { memory, bytes } = host();
    const blocks = Math.max(1, Math.ceil(x.size / SUM_BLOCK));
    const partial = memory.workspace(blocks * bytes);
    k.f32_sum(blocks, x.ptr, partial, x.size);
    k.f32_combine_columns(1, partial, y.ptr, blocks, 1, 1);
  },
  backward: (dy, [x]) => {
    const dx = empty(x.shape);
    host().kernels.f32_repeat(1, dy.ptr, dx.ptr, x.size, 1, 1);
    return [dx];
  },
});

/** Sum of the squares of all x, as a number. Not differentiable. */
export function sumOfSquares(x: Tensor): number {
  const { kernels, memory, bytes } = host();
  return memory.withWorkspace(() => {
    const blocks = Math.max(1, Math.ceil(x.size / SUM_BLOCK));
    const partial = memory.workspace(blocks * bytes);
    kernels.f32_sum_squares(blocks, x.ptr, partial, x.size);
    const values: RealArray = bytes === 8 ? new Float64Array(memory.wasm.buffer, partial, blocks) : new Float32Array(memory.wasm.buffer, partial, blocks);
    let total = 0;
    for (const value of values) total += value;
    return total;
  });
}
