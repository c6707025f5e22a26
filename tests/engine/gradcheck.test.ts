/**
 * Every op's backward against central differences in float64, over shapes at which tails and borders break; and every planted error in a
 * backward must be caught by the same check. Firing has no differences to take: its backward is held against the surrogate that is
 * written down, unrolled over time one scalar at a time.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  backward, batchStatistics, defineOp, gradcheck, loadKernels, Random, scope, show, sizeOf, tensor, withHost,
  type BinaryNeuron, type CheckedInput, type Host, type IntegerNeuron, type Neuron, type Shape, type Tensor,
} from "../../engine/index.ts";
import * as conv from "../../engine/ops/conv.ts";
import * as dispatch from "../../engine/ops/dispatch.ts";
import * as depthwise from "../../engine/ops/depthwise.ts";
import * as elementwise from "../../engine/ops/elementwise.ts";
import * as geometry from "../../engine/ops/geometry.ts";
import * as layout from "../../engine/ops/layout.ts";
import * as loss from "../../engine/ops/loss.ts";
import * as matmul from "../../engine/ops/matmul.ts";
import * as neuron from "../../engine/ops/neuron.ts";
import * as norm from "../../engine/ops/norm.ts";
import * as normedConv from "../../engine/ops/normed-conv.ts";
import * as pool from "../../engine/ops/pool.ts";
import * as rateNeuron from "../../engine/ops/rate-neuron.ts";
import * as spikes from "../../engine/ops/spikes.ts";
import * as winograd from "../../engine/ops/winograd.ts";
import { readdirSync } from "node:fs";
import { ilif, ilifGen1, integrateAndFire, leaky, parametricLeaky } from "../../nn/neurons.ts";
import { atan, rectangular, sigmoid, triangular } from "../../nn/surrogates.ts";

const FILES = { conv, depthwise, dispatch, elementwise, geometry, layout, loss, matmul, neuron, norm, "normed-conv": normedConv, pool, "rate-neuron": rateNeuron, spikes, winograd };

type AnyOp = ((...args: any[]) => any) & { readonly spec: any };
type Apply = (op: AnyOp, ...x: Tensor[]) => Tensor;
/** What the gradients of <u, y> should be, from the inputs' values. */
type Reference = (values: readonly Float64Array[], u: Float64Array) => readonly ArrayLike<number>[];

/** One op at one class of shapes. Without a reference, differences say what is right. */
interface Row { readonly op: AnyOp; readonly name: string; readonly inputs: readonly Required<CheckedInput>[]; readonly apply: Apply; readonly reference?: Reference; readonly kernels?: dispatch.KernelChoice }

const table: Row[] = [];
const named = (): [string, Row][] => table.map((r) => [r.name, r]);

/** Values that float32 holds exactly, so that every build sees the same ones. */
function drawn({ shape, values }: CheckedInput, random: Random): Required<CheckedInput> {
  return { shape, values: Float64Array.from(values ?? { length: sizeOf(shape) }, (value) => Math.fround((value as number | undefined) ?? random.uniform(-1, 1))) };
}

function row(op: AnyOp, what: string, inputs: readonly (Shape | CheckedInput)[], apply: Apply = (f, ...x) => f(...x), reference?: Reference, kernels?: dispatch.KernelChoice): void {
  const random = new Random(table.length);
  const full = inputs.map((input) => drawn("shape" in input ? input : { shape: input }, random));
  table.push({ op, name: `${op.spec.name} ${what}`, inputs: full, apply, reference, kernels });
}

// ---- elementwise ----

for (const shape of [[1], [3, 5], [2, 3, 17]]) {
  row(elementwise.add, show(shape), [shape, shape]);
  row(elementwise.sub, show(shape), [shape, shape]);
  row(elementwise.mul, show(shape), [shape, shape]);
  row(elementwise.scale, show(shape), [shape], (f, x) => f(x, { by: -0.7 }));
  row(elementwise.sigmoid, show(shape), [shape]);
  row(elementwise.sum, show(shape), [shape]);
}
for (const shape of [[1], [3, 5], [2, 3, 17]]) {
  row(elementwise.exp, show(shape), [shape], (f, x) => f(x, { most: 1000 }));
  row(elementwise.leakyRelu, show(shape), [shape], (f, x) => f(x, { slope: 0.1 }));
}
row(elementwise.exp, "where a limit holds", [{ shape: [5], values: [-3, 0, 1.5, 1.7, 9] }], (f, x) => f(x, { most: 5 }));
row(elementwise.add, "[3, 5] to itself", [[3, 5]], (f, x) => f(x, x));
row(elementwise.sub, "[3, 5] from itself scaled", [[3, 5]], (f, x) => f(x, elementwise.scale(x, { by: 3 })));
row(elementwise.mul, "[3, 5] with itself", [[3, 5]], (f, x) => f(x, x));
row(elementwise.sigmoid, "far out, where it is flat", [{ shape: [5], values: [-9, -4, 0, 4, 7] }]);

// ---- layout ----

row(layout.reshapeOp, "[2, 3, 5] as [6, 5]", [[2, 3, 5]], (f, x) => f(x, { shape: [6, 5] }));
row(layout.reshapeOp, "[1] as []", [[1]], (f, x) => f(x, { shape: [] }));
for (const [a, b] of [[1, 1], [3, 5], [17, 1], [5, 17]]) {
  row(layout.concat, `${a} and ${b} channels`, [[2, 3, a], [2, 3, b]]);
  row(layout.concatRows, `${a} and ${b} rows`, [[2, a, 3], [2, b, 3]]);
}
row(layout.concat, "x with itself", [[2, 3]], (f, x) => f(x, x));
for (const [C, from, count] of [[1, 0, 1], [5, 0, 3], [5, 2, 3], [17, 16, 1]]) row(layout.channels, `${from}..${from + count} of ${C}`, [[2, 3, C]], (f, x) => f(x, { from, count }));
for (const T of [1, 2, 3]) {
  row(layout.repeatOverTime, `T ${T}`, [[2, 5]], (f, x) => f(x, { T }));
  row(layout.meanOverTime, `T ${T}`, [[T, 2, 3]]);
}
row(layout.gatherRows, "some rows twice, some never", [[4, 3]], (f, x) => f(x, { index: Int32Array.of(2, 0, 2, 3, 2) }));
row(layout.gatherRows, "the only row", [[1, 17]], (f, x) => f(x, { index: Int32Array.of(0) }));

// ---- norm ----

const statistics = (C: number) => ({ mean: tensor(Float64Array.from({ length: C }, (_, c) => 0.1 * c - 0.3)), variance: tensor(Float64Array.from({ length: C }, (_, c) => 0.5 + 0.2 * c)), eps: 1e-3, ofBatch: false });
for (const C of [1, 3, 5, 17]) {
  row(norm.batchNorm, `of the batch, ${C} channels`, [[2, 3, 2, C], [C], [C]], (f, x, gamma, beta) => f(x, gamma, beta, { ...batchStatistics(x), eps: 1e-3, ofBatch: true }));
  row(norm.batchNorm, `with given statistics, ${C} channels`, [[2, 3, 2, C], [C], [C]], (f, x, gamma, beta) => f(x, gamma, beta, statistics(C)));
  row(norm.mulRow, `${C} channels`, [[2, 3, C], [C]]);
}
row(norm.batchNorm, "of the batch, more rows than one block", [[2, 12, 12, 1], [1], [1]], (f, x, gamma, beta) => f(x, gamma, beta, { ...batchStatistics(x), eps: 1e-3, ofBatch: true }));
row(norm.batchNorm, "for gamma and beta alone", [[3], [3]], (f, gamma, beta) => f(tensor([1, 2, 3, 4, 5, 7], [2, 3]), gamma, beta, statistics(3)));
row(norm.mulRow, "more rows than one block", [[300, 1], [1]]);
row(norm.mulRow, "for the row alone", [[3]], (f, r) => f(tensor([1, 2, 3, 4, 5, 7], [2, 3]), r));

// ---- matrix products ----

for (const [M, K, N] of [[1, 1, 1], [1, 17, 1], [3, 5, 7], [4, 1, 8], [17, 3, 9], [5, 8, 4], [2, 9, 17]]) {
  row(matmul.linearOp, `[${M}, ${K}] to ${N}`, [[M, K], [N, K]], (f, x, w) => f(x, w, undefined));
  row(matmul.linearOp, `[2, ${M}, ${K}] to ${N}, bias`, [[2, M, K], [N, K], [N]]);
  row(matmul.matmul, `[${M}, ${K}] by [${K}, ${N}]`, [[M, K], [K, N]]);
  row(matmul.matmul, `three of [${M}, ${K}] by [${K}, ${N}]`, [[3, M, K], [3, K, N]]);
  row(matmul.matmul, `[2, 2, ${M}, ${K}] by one [${K}, ${N}]`, [[2, 2, M, K], [K, N]]);
}
row(matmul.linearOp, "[3], a vector", [[3], [5, 3], [5]]);
row(matmul.linearOp, "more rows than one block", [[300, 1], [2, 1], [2]]);
row(matmul.linearOp, "for the bias alone", [[3]], (f, b) => f(tensor([1, 2, 3, 4], [2, 2]), tensor([1, 2, 3, 4, 5, 6], [3, 2]), b));
row(matmul.matmul, "[2, 3, 4, 5] by [2, 3, 5, 2]", [[2, 3, 4, 5], [2, 3, 5, 2]]);
row(matmul.matmul, "x with itself", [[2, 3, 3]], (f, x) => f(x, x));
row(matmul.matmul, "for the left alone", [[2, 3]], (f, a) => f(a, tensor([1, 2, 3], [3, 1])));
row(matmul.matmul, "for the right alone", [[3, 2]], (f, b) => f(tensor([1, 2, 3, 4, 5, 6], [2, 3]), b));

// ---- windows of pixels ----

/** 0, 0.1, 0.2 … in random order: no window has two maxima that a small step could exchange. */
const distinct = (shape: Shape, seed: number): CheckedInput => ({ shape, values: new Random(seed).permutation(sizeOf(shape)).map((k) => k / 10 - 1) });
for (const [C, H, W, kernel, stride, padding] of [[1, 4, 5, 2, 2, 0], [3, 5, 4, 3, 1, 1], [5, 3, 3, 5, 1, 2], [17, 4, 3, 3, 2, 1], [3, 2, 1, 5, 1, 2]]) {
  row(pool.maxPool2d, `${kernel}x${kernel} stride ${stride} padding ${padding}, ${C} channels`, [distinct([2, H, W, C], C)], (f, x) => f(x, { kernel, stride, padding }));
}
for (const [C, factor] of [[1, 2], [3, 3], [5, 1], [17, 2]]) row(pool.upsampleNearest, `by ${factor}, ${C} channels`, [[2, 2, 3, C]], (f, x) => f(x, { factor }));
for (const [C, pad] of [[1, 1], [3, 2], [5, 0], [17, 1]]) row(pool.padWith, `${pad}, ${C} channels`, [[2, 2, 3, C]], (f, x) => f(x, { border: tensor(new Float64Array(C).fill(0.5)), pad }));

// ---- convolution ----

interface ConvClass { in: number; out: number; k?: number; kw?: number; H?: number; W?: number; stride?: number; padding?: number; dilation?: number; groups?: number; bias?: boolean; algorithm?: dispatch.Algorithm }

function convClass({ in: C, out, k = 1, kw = k, H = 5, W = 4, stride = 1, padding = 0, dilation = 1, groups = 1, bias = false, algorithm = "direct" }: ConvClass) {
  const attributes = { stride, padding, dilation, groups }, weight: Shape = [out, k, kw, C / groups];
  const what = `${C} -> ${out}, ${k}x${kw} on ${H}x${W}, stride ${stride} padding ${padding} dilation ${dilation} groups ${groups}${bias ? ", bias" : ""}${algorithm === "winograd" ? ", winograd" : ""}`;
  return { attributes, x: [2, H, W, C] as Shape, weight, parameters: bias ? [weight, [out]] : [weight], what };
}

for (const c of [
  { in: 1, out: 1 }, { in: 3, out: 5, bias: true }, { in: 5, out: 17 }, { in: 17, out: 3, bias: true }, { in: 3, out: 5, H: 1, W: 1 }, { in: 3, out: 5, stride: 2 }, { in: 3, out: 1, padding: 1, bias: true },
  { in: 1, out: 1, H: 17, W: 16, bias: true },
  { in: 1, out: 3, k: 3, padding: 1 }, { in: 3, out: 5, k: 3, padding: 1, bias: true }, { in: 5, out: 1, k: 3 }, { in: 17, out: 3, k: 3, padding: 1, H: 3, W: 3 }, { in: 3, out: 17, k: 3, padding: 1, H: 3, W: 2 },
  { in: 3, out: 5, k: 3, stride: 2, padding: 1, H: 7, W: 6 }, { in: 3, out: 3, k: 3, padding: 2, dilation: 2 }, { in: 2, out: 3, k: 3, stride: 2, padding: 3, dilation: 2, H: 6, W: 5 },
  { in: 3, out: 3, k: 7, stride: 4, padding: 2, H: 9, W: 8, bias: true }, { in: 2, out: 2, k: 1, kw: 3, padding: 1 }, { in: 2, out: 3, k: 5, padding: 2, H: 2, W: 2 },
  { in: 6, out: 4, k: 3, padding: 1, groups: 2, bias: true }, { in: 3, out: 6, k: 3, padding: 1, groups: 3 }, { in: 10, out: 6, groups: 2 }, { in: 6, out: 6, k: 3, stride: 2, padding: 1, groups: 2 },
  { in: 3, out: 3, k: 3, padding: 1, groups: 3 }, { in: 5, out: 5, k: 3, groups: 5, bias: true }, { in: 17, out: 17, k: 3, padding: 1, groups: 17, H: 3, W: 3 }, { in: 4, out: 4, k: 7, padding: 3, groups: 4, H: 3, W: 4 },
  { in: 5, out: 5, k: 3, stride: 2, padding: 1, groups: 5, H: 6, W: 5 }, { in: 3, out: 3, k: 3, padding: 2, dilation: 2, groups: 3 }, { in: 5, out: 5, k: 3, stride: 2, padding: 2, dilation: 2, groups: 5, H: 6, W: 7, bias: true },
  { in: 3, out: 3, k: 1, groups: 3 }, { in: 3, out: 3, k: 1, padding: 1, groups: 3 }, { in: 3, out: 3, k: 3, padding: 4, groups: 3, H: 2, W: 2 }, { in: 2, out: 2, k: 3, kw: 5, padding: 2, groups: 2 },
  { in: 1, out: 1, k: 3, padding: 1, bias: true }, { in: 1, out: 4, k: 3, padding: 1, groups: 1 },
  { in: 1, out: 1, k: 3, padding: 1, algorithm: "winograd" }, { in: 3, out: 5, k: 3, padding: 1, bias: true, algorithm: "winograd" }, { in: 5, out: 9, k: 3, H: 7, W: 3, algorithm: "winograd" },
  { in: 9, out: 3, k: 3, padding: 2, H: 3, W: 6, bias: true, algorithm: "winograd" }, { in: 4, out: 8, k: 3, padding: 2, H: 1, W: 1, algorithm: "winograd" }, { in: 17, out: 1, k: 3, padding: 1, H: 3, W: 3, algorithm: "winograd" },
] satisfies ConvClass[]) {
  const { attributes, x, parameters, what } = convClass(c);
  row(conv.conv2dOp, what, [x, ...parameters], (f, x, w, b) => f(x, w, b, attributes));
}
{
  const { attributes, x, weight, what } = convClass({ in: 3, out: 5, k: 3, padding: 1 }), constant = new Float64Array(sizeOf(x)).map((_, i) => Math.sin(i)), fixed = new Float64Array(sizeOf(weight)).map((_, i) => Math.cos(i));
  row(conv.conv2dOp, `${what}, for the weight alone`, [weight], (f, w) => f(tensor(constant, x), w, undefined, attributes));
  row(conv.conv2dOp, `${what}, for x alone`, [x], (f, y) => f(y, tensor(fixed, weight), undefined, attributes));
}

/** 0..4 in a fixed pattern, three fifths of them zero. */
const integers = (shape: Shape): Float64Array => new Float64Array(sizeOf(shape)).map((_, i) => [0, 3, 0, 1, 0, 0, 4, 0, 2, 0][(i * 7) % 10]);
for (const c of [
  { in: 3, out: 5, bias: true }, { in: 17, out: 3, H: 3, W: 2 }, { in: 3, out: 5, k: 3, padding: 1 }, { in: 5, out: 3, k: 3, stride: 2, padding: 1, bias: true }, { in: 6, out: 4, k: 3, padding: 1, groups: 2 },
  { in: 5, out: 5, k: 7, padding: 3, groups: 5 }, { in: 3, out: 3, k: 3, stride: 2, groups: 3, bias: true }, { in: 3, out: 5, k: 3, padding: 2, dilation: 2 }, { in: 3, out: 5, k: 3, padding: 1, bias: true, algorithm: "winograd" },
] satisfies ConvClass[]) {
  const { attributes, x, parameters, what } = convClass(c), s = () => neuron.spikesOf(tensor(integers(x), x), { D: 4 });
  row(conv.conv2dOp, `of spikes, ${what}`, parameters, (f, w, b) => f(s(), w, b, attributes));
  // the gradient of spikes is that of the reals they stand for
  const weights = parameters.map((shape) => new Float64Array(sizeOf(shape)).map((_, i) => Math.sin(i + 1)));
  const onReals = (f: AnyOp, value: any) => { const [w, b] = parameters.map((shape, i) => tensor(weights[i], shape)); return f(value, w, b, attributes); };
  row(conv.conv2dOp, `of spikes, for the spikes, ${what}`, [{ shape: x, values: integers(x) }], (f, y) => onReals(f, neuron.spikesOf(y, { D: 4 })),
    ([values], u) => gradientsOf((y) => onReals(conv.conv2dOp, y), [{ shape: x, values }], () => u).gradients);
}

// ---- losses ----

for (const bins of [1, 3, 5, 16, 17]) {
  if (bins > 1) row(loss.softmax, `${bins} bins`, [[3, bins]]);
  if (bins > 1) row(loss.expectation, `${bins} bins`, [[3, bins]]);
  if (bins > 1) row(loss.distributionFocal, `${bins} bins`, [[4, bins]], (f, x) => f(x, tensor([0, 0.25, 0.5, 0.999].map((share) => Math.fround(share * (bins - 1) * 0.999)))));
  row(loss.bceWithLogits, `[2, ${bins}]`, [[2, bins]], (f, x) => f(x, tensor(new Float64Array(2 * bins).map((_, i) => (i % 3) / 2), [2, bins])));
}
row(loss.bceWithLogits, "far out", [{ shape: [4], values: [-20, -5, 6, 15] }], (f, x) => f(x, tensor([1, 0.5, 0.25, 0])));
row(loss.softmax, "far apart", [{ shape: [1, 3], values: [-3, 0, 4] }]);

const EPS = 1e-7;

/** Complete IoU of one pair of corner boxes, as arXiv:1911.08287 and the reference trainer have it: alpha is a constant for gradients. */
function plainCiou(box: ArrayLike<number>, alpha?: number): { ciou: number; alpha: number } {
  const [ax1, ay1, ax2, ay2, bx1, by1, bx2, by2] = Array.from(box);
  const [aw, ah, bw, bh] = [ax2 - ax1, ay2 - ay1 + EPS, bx2 - bx1, by2 - by1 + EPS];
  const shared = Math.max(0, Math.min(ax2, bx2) - Math.max(ax1, bx1)) * Math.max(0, Math.min(ay2, by2) - Math.max(ay1, by1));
  const iou = shared / (aw * ah + bw * bh - shared + EPS);
  const diagonal = (Math.max(ax2, bx2) - Math.min(ax1, bx1)) ** 2 + (Math.max(ay2, by2) - Math.min(ay1, by1)) ** 2 + EPS;
  const apart = ((bx1 + bx2 - ax1 - ax2) ** 2 + (by1 + by2 - ay1 - ay2) ** 2) / 4;
  const v = (4 / Math.PI ** 2) * (Math.atan(bw / bh) - Math.atan(aw / ah)) ** 2;
  const weight = alpha ?? v / (v - iou + 1 + EPS);
  return { ciou: iou - (apart / diagonal + v * weight), alpha: weight };
}

function ciouGradients([a, b]: readonly Float64Array[], u: Float64Array): Float64Array[] {
  const gradients = [new Float64Array(a.length), new Float64Array(b.length)], h = 1e-6;
  for (let n = 0; n < u.length; n++) {
    const pair = [...a.subarray(4 * n, 4 * n + 4), ...b.subarray(4 * n, 4 * n + 4)], { alpha } = plainCiou(pair);
    pair.forEach((value, k) => {
      const at = (moved: number) => plainCiou(pair.with(k, moved), alpha).ciou;
      gradients[k >> 2][4 * n + (k & 3)] = (u[n] * (at(value + h) - at(value - h))) / (2 * h);
    });
  }
  return gradients;
}
/** Overlapping, nested, apart, and of very different shape; no two edges coincide. */
const PAIRS = [[0.1, 0.2, 2.3, 3.1, 0.7, 0.4, 2.9, 2.6], [0, 0, 4, 4.5, 1.1, 1.2, 2.3, 1.9], [0.2, 0.1, 1.3, 1.7, 2.4, 2.2, 3.1, 5.3], [0, 0.3, 5, 0.9, 1.9, -2, 2.3, 4.1], [1.5, 1.2, 2.5, 2.7, 1, 1.1, 3.4, 3.3]];
const boxes = (from: number) => ({ shape: [PAIRS.length, 4], values: PAIRS.flatMap((pair) => pair.slice(from, from + 4)) });
row(loss.ciou, "five pairs, both sides", [boxes(0), boxes(4)], (f, a, b) => f(a, b), ciouGradients);
row(loss.ciou, "for the first box alone", [boxes(0)], (f, a) => f(a, tensor(drawn(boxes(4), new Random(0)).values, [5, 4])), ([a], u) => ciouGradients([a, Float64Array.from(drawn(boxes(4), new Random(0)).values)], u).slice(0, 1));

row(loss.giou, "five pairs, both sides", [boxes(0), boxes(4)]);
row(loss.giou, "for the first box alone", [boxes(0)], (f, a) => f(a, tensor(drawn(boxes(4), new Random(0)).values, [5, 4])));
row(loss.giou, "for the second box alone", [boxes(4)], (f, b) => f(tensor(drawn(boxes(0), new Random(0)).values, [5, 4]), b));

// ---- firing ----

const identity: Reference = (_, u) => [u];
row(neuron.spikesOf, "0..4", [{ shape: [2, 5], values: integers([2, 5]) }], (f, x) => layout.valuesOf(f(x, { D: 4 })), identity);

/** An op on spikes has the gradients of the same op on the reals that they stand for. */
function spikesRow(op: AnyOp, real: AnyOp, what: string, shapes: readonly Shape[], attributes?: object): void {
  const given = attributes ? [attributes] : [], inputs = shapes.map((shape, i) => ({ shape, values: integers([sizeOf(shape) + i]).slice(i) }));
  row(op, what, inputs, (f, ...x) => layout.valuesOf(f(...x.map((y) => neuron.spikesOf(y, { D: 4 })), ...given)),
    (values, u) => gradientsOf((...x) => real(...x, ...given), inputs.map(({ shape }, i) => ({ shape, values: values[i] })), () => u).gradients);
}
for (const C of [1, 3, 17, 40]) {
  spikesRow(spikes.addSpikes, elementwise.add, `${C} channels`, [[2, 3, C], [2, 3, C]]);
  for (const other of [1, 5, 16]) spikesRow(spikes.concatSpikes, layout.concat, `${C} and ${other} channels`, [[2, 3, C], [2, 3, other]]);
  for (const factor of [1, 2, 3]) spikesRow(spikes.upsampleSpikes, pool.upsampleNearest, `by ${factor}, ${C} channels`, [[2, 2, 3, C]], { factor });
  for (const kernel of [1, 3, 5]) spikesRow(spikes.maxPoolSpikes, pool.maxPool2d, `${kernel}x${kernel}, ${C} channels`, [[2, 4, 3, C]], { kernel, stride: 1, padding: kernel >> 1 });
}
row(spikes.addSpikes, "to themselves", [{ shape: [2, 5], values: integers([2, 5]) }], (f, x) => { const s = neuron.spikesOf(x, { D: 4 }); return layout.valuesOf(f(s, s)); }, (_, u) => [u.map((value) => 2 * value)]);

for (const [T, n] of [[1, 5], [4, 17]]) {
  row(rateNeuron.fireByRate, show([T, n]), [[T, n], { shape: [], values: [0.5] }], (f, x, threshold) => f(layout.reshape(elementwise.add(x, tensor(new Float64Array(T * n).fill(0.25), [T, n])), [T, n]), threshold, { alpha: 0.5 }), ([x, [threshold]], u) => {
    const of = (values: Float64Array, i: number): number => Array.from({ length: T }, (_, t) => values[t * n + i]).reduce((a, b) => a + b, 0);
    const mean = Array.from({ length: n }, (_, i) => of(x, i) / T + 0.25), gathered = Array.from({ length: n }, (_, i) => of(u, i));
    const above = gathered.reduce((sum, g, i) => sum + (mean[i] > threshold ? g : 0), 0);
    return [x.map((_, k) => (mean[k % n] >= 0 && mean[k % n] <= threshold ? gathered[k % n] / T : 0)), Float64Array.of(0.001 * above)];
  });
}
row(layout.valuesOf, "0..4", [{ shape: [3, 17], values: integers([3, 17]) }], (f, x) => f(neuron.spikesOf(x, { D: 4 })), identity);

/**
 * dL/dx[t0] one scalar at a time, forwards: how a push on x[t0] travels through charge, fire and reset, with the surrogate in place of the step.
 *
 *   charge  h = decay v + gain x        dh = decay dv + gain [t = t0]
 *   fire    s                           ds = surrogate(h - threshold) dh
 *   reset   v = h - threshold s         dv = dh - threshold ds      or  h (1 - s)  ->  dh (1 - s) - h ds;   ds left out if detached
 */
function unrolled(n: Neuron, x: Float64Array, u: Float64Array, T: number): Float64Array {
  const width = x.length / T, dx = new Float64Array(x.length);
  for (let i = 0; i < width; i++) for (let t0 = 0; t0 < T; t0++) {
    let v = 0, dv = 0;
    for (let t = 0; t < T; t++) {
      const h = n.decay * v + n.gain * x[t * width + i], dh = n.decay * dv + (t === t0 ? n.gain : 0);
      if (n.fire === "integer") {
        const s = roundHalfEven(Math.min(Math.max(h, 0), n.D)), ds = h >= 0 && h <= n.D ? dh : 0;
        dx[t0 * width + i] += u[t * width + i] * ds;
        v = h - s;
        dv = dh;
      } else {
        const s = h >= n.threshold ? 1 : 0, ds = n.surrogate.derivative(h - n.threshold) * dh, felt = n.detachReset ? 0 : ds;
        dx[t0 * width + i] += u[t * width + i] * ds;
        [v, dv] = n.reset === "subtract" ? [h - n.threshold * s, dh - n.threshold * felt] : n.reset === "zero" ? [h * (1 - s), dh * (1 - s) - h * felt] : [h, dh];
      }
    }
  }
  return dx;
}

function roundHalfEven(x: number): number {
  const below = Math.floor(x), rest = x - below;
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}

function firingRow(op: AnyOp, what: string, n: IntegerNeuron | BinaryNeuron, shape: Shape, values?: number[]): void {
  const random = new Random(7, sizeOf(shape)), currents = values ?? Array.from({ length: sizeOf(shape) }, () => random.uniform(-1, n.fire === "integer" ? n.D + 1 : 2));
  row(op, `${what}, ${show(shape)}`, [{ shape, values: currents }], (f, x) => layout.valuesOf(f(x, { neuron: n })), ([x], u) => [unrolled(n, x, u, shape[0])]);
}
for (const [T, C] of [[1, 1], [2, 3], [3, 5], [4, 17]]) {
  for (const D of [1, 4, 8]) firingRow(neuron.fireInteger, `D ${D}`, ilif(D), [T, 2, C]);
  firingRow(neuron.fireInteger, "Gen1, D 4", ilifGen1(4), [T, 2, C]);
}
firingRow(neuron.fireInteger, "on every boundary", ilif(4), [1, 12], [0, -0.001, 0.5, 1.5, 2.5, 3.5, 4, 4.001, 4.5, -1, 7, 2]);
for (const T of [1, 2, 3, 4]) for (const reset of ["subtract", "zero", "none"] as const) for (const detachReset of [true, false]) {
  firingRow(neuron.fireBinary, `reset ${reset} ${detachReset ? "detached" : "attached"}, atan`, { fire: "binary", decay: 0.75, gain: 0.9, threshold: 0.8, reset, detachReset, surrogate: atan(2) }, [T, 5]);
}
for (const surrogate of [rectangular(), rectangular(0.4), atan(0.7), sigmoid(), triangular(), triangular(0.6)]) {
  firingRow(neuron.fireBinary, `${surrogate.name} ${surrogate.alpha}`, { fire: "binary", decay: 0.5, gain: 1, threshold: 1, reset: "subtract", detachReset: false, surrogate }, [3, 17]);
}

/** dL/dw one scalar at a time, forwards: share = sigmoid(w) moves decay by -share (1 - share), and gain by as much the other way where the input decays too. */
function unrolledLeak(n: BinaryNeuron, x: Float64Array, u: Float64Array, T: number, w: number): number {
  const share = 1 / (1 + Math.exp(-w)), slope = share * (1 - share), tied = n.learnable === "decay and gain", gain = tied ? share : n.gain, width = x.length / T;
  let dw = 0;
  for (let i = 0; i < width; i++) {
    let v = 0, dv = 0;
    for (let t = 0; t < T; t++) {
      const current = x[t * width + i], h = (1 - share) * v + gain * current, dh = (1 - share) * dv - slope * v + (tied ? slope * current : 0);
      const s = h >= n.threshold ? 1 : 0, ds = n.surrogate.derivative(h - n.threshold) * dh, felt = n.detachReset ? 0 : ds;
      dw += u[t * width + i] * ds;
      [v, dv] = n.reset === "subtract" ? [h - n.threshold * s, dh - n.threshold * felt] : n.reset === "zero" ? [h * (1 - s), dh * (1 - s) - h * felt] : [h, dh];
    }
  }
  return dw;
}

for (const [T, width] of [[1, 7], [2, 9], [4, 17], [3, 1100]]) for (const reset of ["subtract", "zero", "none"] as const) for (const decayInput of [true, false]) {
  if (T === 1 && !decayInput) continue; // nothing has leaked yet: the gradient is 0
  const n = parametricLeaky({ tau: 1.7, decayInput, threshold: 0.8, reset, detachReset: T === 2, surrogate: atan(1.3) }), w = 0.3, share = 1 / (1 + Math.exp(-w));
  const random = new Random(11, T * width), x = Float64Array.from({ length: T * width }, () => Math.fround(random.uniform(-1, 2.5)));
  const now = { ...n, decay: 1 - share, gain: decayInput ? share : 1 };
  row(neuron.fireBinary, `learnable ${n.learnable}, reset ${reset}, [${T}, ${width}]`, [{ shape: [T, width], values: x }, { shape: [], values: [w] }],
    (f, current, leak) => layout.valuesOf(f(current, leak, { neuron: n })), ([at, [leak]], u) => [unrolled(now, at, u, T), Float64Array.of(unrolledLeak(n, at, u, T, leak))]);
}
// what a 1x1 convolution gives back to a neuron through open windows alone
const windowed: [string, Neuron][] = [
  ["", ilif(4)], ["binary, rectangular, ", integrateAndFire({ threshold: 1.5, surrogate: rectangular(0.4) })], ["binary, triangular, ", leaky({ threshold: 0.9, surrogate: triangular(0.5) })],
];
for (const [what, n] of windowed) for (const [T, C, out] of [[1, 1, 1], [2, 3, 5], [1, 17, 3], [2, 5, 17], [1, 64, 9], [1, 80, 4]]) {
  const shape = [T, 2, 2, 1, C], random = new Random(C, out), weight = Float64Array.from({ length: out * C }, () => Math.fround(random.uniform(-1, 1)));
  const currents = Float64Array.from({ length: sizeOf(shape) }, (_, i) => ((i + 1) % (4 * C) ? random.uniform(-2, 7) : i === sizeOf(shape) - 1 ? 1.2 : 0)); // the last window is open
  const apply: Apply = (f, x) => f(layout.reshape(neuron.fire(x, n), [2 * T, 2, 1, C]), tensor(weight, [out, 1, 1, C]), undefined, { stride: 1, padding: 0, dilation: 1, groups: 1, algorithm: "direct" });
  row(conv.conv2dOp, `of what fired, masked, ${what}${show(shape)} to ${out}`, [{ shape, values: currents }], apply, ([x], u) => {
    const ds = Float64Array.from(x, (_, i) => weight.filter((_, k) => k % C === i % C).reduce((sum, w, j) => sum + w * u[Math.floor(i / C) * out + j], 0));
    return [unrolled(n, x, ds, T)];
  }, { dx: "masked" });
}
firingRow(neuron.fireBinary, "exactly at the threshold", { fire: "binary", decay: 1, gain: 1, threshold: 1, reset: "subtract", detachReset: false, surrogate: atan(2) }, [2, 3], [1, 0.5, 0.999, 1, 0.5, 0.001]);

// ---- a convolution behind a norm ----

/** A 1x1 convolution behind a norm of spikes has the gradients of the norm of reals, the border and the convolution, one after the other. */
const some = (shape: Shape, seed: number): Float64Array => Float64Array.from(drawn({ shape }, new Random(seed)).values);
for (const ofBatch of [true, false]) for (const [C, out, pad] of [[1, 1, 1], [3, 5, 1], [17, 9, 0], [19, 33, 2]]) for (const kernels of [{}, { forward: "sparse", dw: "sparse" }] as const) {
  const shape = [2, 4, 3, C], shapes = [shape, [C], [C], [out, 1, 1, C]], how = (x: Tensor) => {
    const given = { mean: tensor(some([C], 7)), variance: tensor(some([C], 8).map((v) => v * v)) };
    return { ...(ofBatch ? batchStatistics(x) : given), eps: 1e-3, ofBatch, border: tensor(some([C], 9)), pad };
  };
  const inputs = shapes.map((of, i) => ({ shape: of, values: i ? some(of, i) : integers(of) }));
  row(normedConv.normedPointwise, `${C} -> ${out} in a border of ${pad}, statistics ${ofBatch ? "of the batch" : "given"}, ${"forward" in kernels ? "sparse" : "as dispatched"}`, inputs,
    (f, x, gamma, beta, w) => f(neuron.spikesOf(x, { D: 4 }), gamma, beta, w, how(x)),
    (given, u) => gradientsOf((x, gamma, beta, w) => conv.conv2d(pool.padWith(norm.batchNorm(x, gamma, beta, how(x)), how(x)), w), shapes.map((of, i) => ({ shape: of, values: given[i] })), () => u).gradients, kernels);
}

describe("a convolution behind a norm of spikes", () => {
  it("is the norm, the border and the convolution, one after the other", () => withHost(twin, () => scope(() => {
    const shape = [2, 4, 3, 17], x = tensor(integers(shape), shape), [gamma, beta, v] = [1, 2, 3].map((seed) => tensor(some([17], seed))), w = tensor(some([9, 1, 1, 17], 4), [9, 1, 1, 17]);
    const how = { ...batchStatistics(x), eps: 1e-3, ofBatch: true, border: v, pad: 1 };
    const wanted = conv.conv2d(pool.padWith(norm.batchNorm(x, gamma, beta, how), how), w).data, got = normedConv.normedPointwise(neuron.spikesOf(x, { D: 4 }), gamma, beta, w, how).data;
    wanted.forEach((value, i) => expect(got[i]).toBeCloseTo(value, 12));
  })));
});

// ---- checking ----

interface Found { readonly u: Float64Array; readonly gradients: Float64Array[] }

/** Gradients of <u, f(inputs)>. */
function gradientsOf(f: (...x: Tensor[]) => Tensor, inputs: readonly CheckedInput[], chooseU: (n: number) => Float64Array): Found {
  return scope(() => {
    const leaves = inputs.map(({ shape, values }) => tensor(values!, shape, { requiresGrad: true })), y = f(...leaves), u = chooseU(y.size);
    backward(y, [tensor(u, y.shape)]);
    return { u, gradients: leaves.map((leaf) => (leaf.grad ? Float64Array.from(leaf.grad.data) : new Float64Array(leaf.size))) };
  });
}

const randomU = (n: number): Float64Array => { const random = new Random(99); return Float64Array.from({ length: n }, () => Math.fround(random.uniform(-1, 1))); };

/** Throws a sentence with "backward gives" in it if a gradient is wrong. */
function check({ inputs, apply, reference }: Row, op: AnyOp): void {
  const f = (...x: Tensor[]) => apply(op, ...x);
  if (!reference) { gradcheck(f, inputs); return; }
  const { u, gradients } = gradientsOf(f, inputs, randomU), wanted = reference(inputs.map(({ values }) => Float64Array.from(values)), u);
  gradients.forEach((gradient, input) => gradient.forEach((got, i) => {
    const want = wanted[input][i];
    if (!(Math.abs(got - want) <= 1e-7 + 1e-6 * Math.abs(want))) throw new Error(`reference: input ${input} element ${i}: backward gives ${got}, expected ${want}`);
  }));
}

/** Errors as people make them: a factor, a sign, a forgotten term, one bad element, a tail that was never written. */
const ERRORS: Record<string, (gradient: Float64Array) => Float64Array | undefined> = {
  "scaled by 1.01": (g) => g.map((value) => value * 1.01),
  "with its sign flipped": (g) => g.map((value) => -value),
  "dropped": () => undefined,
  "wrong in the last element": (g) => g.with(g.length - 1, 1.01 * g[g.length - 1] + (g[g.length - 1] < 0 ? -0.01 : 0.01)),
  "half zero": (g) => { const odd = heavierHalf(g); return g.map((value, i) => (i % 2 === odd ? 0 : value)); },
};

const heavierHalf = (g: Float64Array): number => (g.reduce((sum, value, i) => sum + (i % 2 ? Math.abs(value) : -Math.abs(value)), 0) > 0 ? 1 : 0);

/** The op with an error planted in one of its gradients. */
const planted = ({ spec }: AnyOp, input: number, error: (g: Float64Array) => Float64Array | undefined): AnyOp => defineOp<any, any, any, any>({
  ...spec,
  backward: (...a: [Tensor, any, any]) => spec.backward(...a).map((gradient: Tensor | undefined, i: number) => {
    if (i !== input || !gradient) return gradient;
    const wrong = error(Float64Array.from(gradient.data));
    return wrong && tensor(wrong, gradient.shape);
  }),
}) as unknown as AnyOp;

/** Which of the op's gradients somebody waits for. */
function gradientsAsked(r: Row): number[] {
  const asked = new Set<number>();
  const watched = defineOp<any, any, any, any>({ ...r.op.spec, backward: (...a: [Tensor, any, { needs: boolean[] }]) => {
    const gradients = r.op.spec.backward(...a);
    a[2].needs.forEach((needed, i) => { if (needed && gradients[i]) asked.add(i); });
    return gradients;
  } }) as unknown as AnyOp;
  gradientsOf((...x) => r.apply(watched, ...x), r.inputs, randomU);
  return [...asked];
}

/** Runs on this host, with the kernels that the row asks for. */
const under = <R>(h: Host, { kernels }: Row, run: () => R): R => withHost(h, () => dispatch.withKernels(kernels ?? {}, run));

let twin: Host;
const ran = { gradchecks: 0, references: 0, errors: 0 };
beforeAll(async () => { twin = await loadKernels({ build: "reference64" }); });
afterAll(() => console.log(`${table.length} classes: ${ran.gradchecks} gradchecks, ${ran.references} against a reference; ${ran.errors} planted errors caught`));

describe("every backward is the derivative of its forward", () => {
  it.each(named())("%s", (_, r) => under(twin, r, () => {
    check(r, r.op);
    ran[r.reference ? "references" : "gradchecks"]++;
  }));
});

describe("every error planted in a backward is caught", () => {
  it.each(named())("%s", (_, r) => under(twin, r, () => {
    const asked = gradientsAsked(r);
    expect(asked.length).toBeGreaterThan(0);
    for (const input of asked) for (const [what, error] of Object.entries(ERRORS)) {
      expect(() => check(r, planted(r.op, input, error)), `gradient of input ${input} ${what}`).toThrow(/backward gives/);
      ran.errors++;
    }
  }));
});

describe("every float32 build gives the gradients of the float64 twin", async () => {
  const builds = ["reference", "simd", "relaxed"] as const;
  for (const build of builds) {
    const host = await loadKernels({ build }).catch((error) => {
      if (/does not run on this host/.test(String(error))) return undefined;
      throw error;
    });
    it.runIf(host).each(named())(`${build}: %s`, (_, r) => {
      const of = (h: Host) => under(h, r, () => gradientsOf((...x) => r.apply(r.op, ...x), r.inputs, randomU).gradients);
      const wanted = of(twin), got = of(host!);
      wanted.forEach((want, input) => {
        const largest = want.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        want.forEach((value, i) => expect(Math.abs(got[input][i] - value), `input ${input} element ${i}`).toBeLessThanOrEqual(2e-6 + 2e-5 * largest));
      });
    });
  }
});

describe("gradcheck", () => {
  const halved = defineOp<[x: Tensor]>({ ...elementwise.sigmoid.spec, backward: (...a) => elementwise.sigmoid.spec.backward(...a).map((g) => g && elementwise.scale(g, { by: 0.5 })) });

  it("names the input, its shape and the first wrong element", () => withHost(twin, () => {
    expect(() => gradcheck((_, x) => halved(x), [{ shape: [2] }, { shape: [2, 3] }])).toThrow(/^gradcheck: input 1 \[2, 3\] element 0: backward gives \S+, central difference \S+$/);
  }));

  it("notices an output that does not depend on its input in backward", () => withHost(twin, () => {
    const constant = defineOp<[x: Tensor]>({ ...elementwise.sigmoid.spec, backward: () => [undefined] });
    expect(() => gradcheck(constant, [{ shape: [3] }])).toThrow(/backward gives 0/);
  }));

  it("refuses float32, and says how to load float64", async () => {
    const host = await loadKernels({ build: "reference" });
    expect(() => withHost(host, () => gradcheck(elementwise.sigmoid, [{ shape: [3] }]))).toThrow('gradcheck: needs float64, got build "reference"; load the kernels with { build: "reference64" }');
  });
});

describe("the table", () => {
  it("imports every file of engine/ops", () => {
    const found = readdirSync(new URL("../../engine/ops", import.meta.url)).map((name) => name.replace(".ts", ""));
    expect(Object.keys(FILES).sort()).toEqual(found.sort());
  });

  it("has every op that a file of engine/ops exports", () => {
    const checked = new Set(table.map(({ op }) => op));
    const missing = Object.entries(FILES).flatMap(([file, exports]) =>
      Object.entries(exports).filter(([, value]) => typeof value === "function" && "spec" in value && !checked.has(value as AnyOp)).map(([name]) => `${file}: ${name}`));
    expect(missing).toEqual([]);
  });
});
