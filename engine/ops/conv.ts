/**
 * Two-dimensional convolution of tensors and of spikes, channels last.
 *
 *   y[n, oy, ox, j] = bias[j] + sum over ky, kx, c of  x[n, oy*stride + ky*dilation - padding, ox*stride + kx*dilation - padding, c] * w[j, ky, kx, c]
 *
 * The gradients are convolutions too:
 *   dx  runs over the same taps from the other end: a table that names, for each input pixel and tap, the output pixel it fed;
 *       or, for 3x3 of stride 1, multiplies tiles of pixels in place of taps (Winograd) where that is faster;
 *   dw  for each tap is X^T dY over the pixels that the tap joins.
 *
 * What a convolution does with spikes is a choice of the moment (dispatch.ts), never of the model: gather weights where something
 * fired, or run dense on their values; as reals, or exactly in integers.
 */
import { BAND, LISTED, type Kernels } from "../../kernels/signatures.ts";
import { behind } from "../behind.ts";
import { host } from "../host.ts";
import { defineOp, isRecording, type Passed, type Value } from "../op.ts";
import { expectRank, expectWhole, show, type Shape } from "../shape.ts";
import { realValues, RUN, Spikes, type EventLists } from "../spikes.ts";
import { empty, gradientOf, Tensor } from "../tensor.ts";
import { depthwiseBackward, depthwiseForward, depthwiseSteps } from "./depthwise.ts";
import { forwardKernel, inputGradientKernel, seen, weightGradientKernel, type Algorithm } from "./dispatch.ts";
import { geometryOf, inParts, inputTable, outputTable, outputTableByPhase, type Geometry } from "./geometry.ts";
import { columnSums } from "./matmul.ts";
import { suitsWinograd, winograd } from "./winograd.ts";

export interface ConvAttributes {
  stride: number; padding: number; dilation: number; groups: number; algorithm: Algorithm;
  /** [out]: what the weights of each output channel are multiplied by, as when the norm behind is folded in. Without gradients, and for sums of reals only. */
  scale?: Tensor;
}

/** Length of the row of zeros that the kernels read behind index -1 of a table. */
const MOST_CHANNELS = 4096;

/** Convolution of x [N, H, W, C] with weight [out, kh, kw, C / groups] and an optional bias [out]. */
export const conv2dOp = defineOp<[x: Value, weight: Tensor, bias: Tensor | undefined], ConvAttributes>({
  name: "conv2d",
  reads: { inputs: [0, 1] },
  halvable: true,
  leavesBehind: true,
  shape: ([x, weight, bias], attributes) => outputShape(x, weight, bias, attributes),
  forward: (_, [x, weight, bias], y, attributes) => {
    const g = geometryOf(x.shape, weight.shape, y.shape, attributes), kernel = forwardKernel(x, weight, g, attributes.algorithm);
    const weights: Weights = { ptr: weight.ptr, scale: attributes.scale?.ptr ?? 0, bias: bias?.ptr ?? 0 };
    if (kernel === "depthwise") depthwiseForward(x, weights, y, g);
    else if (kernel === "winograd") winogradForward(realValues(x), weights, y, g);
    else if (kernel === "dense") denseForward(realValues(x), weights, y, g);
    else if (kernel === "sparse") sparseForward(x as Spikes, weights, y, g);
    else if (attributes.scale) throw new Error(`conv2d: the ${kernel} path takes weights as they are; norm what it gives instead of passing scale`);
    else exactForward(x as Spikes, weight, bias, y, g, kernel);
  },
  backward: (dy, [x, weight, bias], { attributes, needs }: Passed<Tensor, ConvAttributes, undefined>) => {
    const g = geometryOf(x.shape, weight.shape, dy.shape, attributes);
    const dx = needs[0] ? empty(x.shape) : undefined, dw = needs[1] ? gradientOf(weight) : undefined;
    if (g.depthwise) {
      if (dx) seen("dx", weight, g, "depthwise");
      if (dw) seen("dw", weight, g, "depthwise");
      depthwiseBackward(dy, x, weight, dx, dw, g);
    } else {
      if (dx) inputGradient(dy, x, weight, dx, g, attributes.algorithm);
      if (dw) weightGradient(dy, x, weight, dw, g);
    }
    return [dx, dw, needs[2] ? biasGradient(dy, bias!, g) : undefined];
  },
});

/** Convolution of x [N, H, W, C] with weight [out, kh, kw, C / groups] -> [N, OH, OW, out]. */
export function conv2d(
  x: Value, weight: Tensor, bias?: Tensor, { stride = 1, padding = 0, dilation = 1, groups = 1, algorithm = "direct", scale }: Partial<ConvAttributes> = {},
): Tensor {
  return conv2dOp(x, weight, bias, { stride, padding, dilation, groups, algorithm, scale });
}

function outputShape(x: Value, weight: Tensor, bias: Tensor | undefined, { stride, padding, dilation, groups, algorithm, scale }: ConvAttributes): Shape {
  expectRank("conv2d", "N, H, W, C", x);
  expectWhole("conv2d", "stride", stride, 1);
  expectWhole("conv2d", "padding", padding, 0);
  expectWhole("conv2d", "dilation", dilation, 1);
  expectWhole("conv2d", "groups", groups, 1);
  const [N, H, W, C] = x.shape, [out, kh, kw, perGroup] = weight.shape;
  if (weight.shape.length !== 4) throw new Error(`conv2d: expected a weight [out, kh, kw, in / groups], got ${show(weight.shape)} for x ${show(x.shape)}`);
  if (perGroup * groups !== C) {
    const expected = groups === 1 ? `${perGroup} input channels` : `${perGroup * groups} input channels (${groups} groups of ${perGroup})`;
    throw new Error(`conv2d: weight ${show(weight.shape)} expects ${expected}, got ${C} from x ${show(x.shape)}`);
  }
  if (out % groups !== 0) throw new Error(`conv2d: weight ${show(weight.shape)} has ${out} output channels, which ${groups} groups do not divide`);
  if (bias && bias.size !== out) throw new Error(`conv2d: weight ${show(weight.shape)} expects a bias of [${out}], got ${show(bias.shape)}`);
  if (scale && scale.size !== out) throw new Error(`conv2d: weight ${show(weight.shape)} expects a scale of [${out}], got ${show(scale.shape)}`);
  if (scale && isRecording()) throw new Error("conv2d: scale has no gradient; run it inside noGrad, or norm the result");
  const pointwise = kh === 1 && kw === 1 && stride === 1 && padding === 0;
  if (perGroup > MOST_CHANNELS || (!pointwise && out / groups > MOST_CHANNELS)) { // dx reads rows of out / groups channels of dy
    throw new Error(`conv2d: weight ${show(weight.shape)}: at most ${MOST_CHANNELS} channels per group`);
  }
  if (algorithm === "winograd" && !suitsWinograd({ kh, kw, stride, padding, dilation, groups })) {
    throw new Error(`conv2d: algorithm winograd expects a 3x3 kernel, stride 1, padding 0 to 2, dilation 1 and one group, got weight ${show(weight.shape)}, stride ${stride}, padding ${padding}, dilation ${dilation} and groups ${groups}`);
  }
  const size = (n: number, k: number) => Math.floor((n + 2 * padding - dilation * (k - 1) - 1) / stride) + 1;
  const OH = size(H, kh), OW = size(W, kw);
  if (OH < 1 || OW < 1) throw new Error(`conv2d: weight ${show(weight.shape)} with padding ${padding} does not fit into x ${show(x.shape)}`);
  return [N, OH, OW, out];
}

// ── forward ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const inputPicture = ({ B, H, W, C }: Geometry, pointer: number) => ({ pointer, B, H, W, channels: C });
const outputPicture = ({ B, OH, OW, out }: Geometry, pointer: number) => ({ pointer, B, H: OH, W: OW, channels: out });

/** Where the weights of a convolution stand, what multiplies those of each output channel, and what is added: 0 for nothing. */
export interface Weights { readonly ptr: number; readonly scale: number; readonly bias: number }

function winogradForward(x: number, { ptr, scale, bias }: Weights, y: Tensor, g: Geometry): void {
  const { kernels: k, memory, bytes } = host();
  const packed = memory.workspace(padded8(g.N) * g.taps * g.K * bytes);
  k.conv_pack(Math.ceil(g.N / 8), ptr, packed, g.N, g.taps, g.K, scale);
  winograd(inputPicture(g, x), packed, false, bias, outputPicture(g, y.ptr), g.padding);
}

function denseForward(input: number, { ptr, scale, bias }: Weights, y: Tensor, given: Geometry): void {
  const { kernels: k, memory, bytes } = host();
  const { x, g } = alongRows(input, given), { taps, K, N, groups, C, out } = g;
  const packed = memory.workspace(padded8(N) * taps * K * bytes);
  for (let group = 0; group < groups; group++) {
    const columns = { x: x + group * K * bytes, y: y.ptr + group * N * bytes, bias: bias && bias + group * N * bytes };
    k.conv_pack(Math.ceil(N / 8), ptr + group * N * taps * K * bytes, packed, N, taps, K, scale && scale + group * N * bytes);
    if (g.pointwise) k.f32_gemm(g.outputPixels, columns.x, C, K, packed, columns.bias, columns.y, out, N);
    else inParts(g, taps * g.outputPixels, (part, first) => {
      const from = columns.x + first * g.H * g.W * C * bytes, to = columns.y + first * g.OH * g.OW * out * bytes;
      k.f32_conv(part.outputPixels, from, C, inputTable(part), part.outputPixels, taps, K, packed, columns.bias, to, out, N);
    });
  }
}

/** Channels below which a tap is too short a row to be worth stepping to. */
const FEW = 16;

/**
 * With few channels, such as those of a picture, the kw pixels under a row of the kernel are taken as one: a row of kw*C reals, of the picture
 * in a border of zeros. Weights [N][kh][kw][C] stand that way already.
 */
function alongRows(x: number, g: Geometry, k = host().kernels): { x: number; g: Geometry } {
  const { B, H, W, C, OH, OW, out, kh, kw, stride, padding, dilation, groups } = g;
  if (C >= FEW || kh === 1 || kw === 1 || groups > 1 || dilation > 1) return { x, g };
  const Hp = H + 2 * padding, Wp = W + 2 * padding;
  return { x: padding ? inZeros(x, g, k) : x, g: geometryOf([B, Hp, Wp, C], [out, kh, 1, kw * C], [B, OH, OW, out], { stride, padding: 0, dilation, groups }) };
}

/** The picture with `padding` zeros on each side, in the workspace of this op. */
function inZeros(x: number, { B, H, W, C, padding }: Geometry, k: Kernels): number {
  const { memory, bytes } = host(), Hp = H + 2 * padding, Wp = W + 2 * padding;
  const border = memory.workspace(C * bytes), padded = memory.workspace(B * Hp * Wp * C * bytes);
  new Uint8Array(memory.wasm.buffer, border, C * bytes).fill(0);
  k.f32_pad(B * Hp, x, border, padded, H, W, C, padding);
  return padded;
}

const padded8 = (n: number): number => Math.ceil(n / 8) * 8;
const padded32 = (n: number): number => Math.ceil(n / 32) * 32;

function sparseForward(s: Spikes, { ptr, scale, bias }: Weights, y: Tensor, g: Geometry): void {
  const { kernels: k, memory, bytes } = host(), { taps, K, N } = g, lists = s.events();
  const packed = memory.workspace(padded32(N) * taps * K * bytes);
  k.spike_conv_pack(Math.ceil(N / 32), ptr, packed, N, taps, K, scale);
  const together = tapsTogether(g);
  if (g.pointwise) k.spike_conv(g.outputPixels, lists.events, lists.spans, 0, g.outputPixels, 1, K, packed, bias, y.ptr, g.out, N);
  else inParts(g, taps * g.outputPixels, (part, first) => {
    const { events } = lists, spans = lists.spans + 8 * first * g.H * g.W, to = y.ptr + first * g.OH * g.OW * g.out * bytes;
    if (together > 1) sparseUnfolded({ events, spans }, packed, bias, to, part, together);
    else k.spike_conv(part.outputPixels, events, spans, inputTable(part), part.outputPixels, taps, K, packed, bias, to, g.out, N);
  });
}

/** Channels up to which a list is short beside what starting on it costs; output channels that repay copying lists; rows of 32 weights that about fit in L1. */
const SHORT = 96, WIDE = 32, CLOSE = 288;

/** How many taps a pixel's lists are joined over before they are gathered: all, those of a row, or one. */
function tapsTogether({ taps, kw, K, N }: Geometry): number {
  if (K > SHORT || N < WIDE) return 1;
  return taps * K <= CLOSE ? taps : kw * K <= CLOSE ? kw : 1;
}

/** Entries of joined lists that stand in memory at a time. */
const UNFOLDED = 512 * 1024;

/** The sums of spike_conv in their order, over lists that are joined over several taps. */
function sparseUnfolded({ events, spans }: EventLists, packed: number, bias: number, y: number, g: Geometry, together: number): void {
  const { kernels: k, memory, bytes } = host(), { taps, K, N, out, outputPixels } = g, table = inputTable(g);
  const groups = taps / together, run = groups * ((RUN * together + 1) * K + 8), chunk = RUN * Math.max(1, Math.floor(UNFOLDED / run));
  for (let p = 0; p < outputPixels; p += chunk) memory.withWorkspace(() => {
    const pixels = Math.min(chunk, outputPixels - p), runs = Math.ceil(pixels / RUN), unfolded = memory.workspace(2 * runs * run), open = memory.workspace(8 * groups * pixels);
    k.spike_unfold(runs, events, spans, table + 4 * p, outputPixels, pixels, taps, K, together, unfolded, open);
    k.spike_conv(pixels, unfolded, open, 0, pixels, groups, together * K, packed, bias, y + p * out * bytes, out, N);
  });
}

/**
 * Sums of weights on a power-of-two grid, in int32: exact, so that D binary steps give the same bits as one integer step.
 * The bias enters once, after the sum over the virtual steps.
 */
function exactForward(s: Spikes, weight: Tensor, bias: Tensor | undefined, y: Tensor, g: Geometry, path: "integer" | "binary"): void {
  if (isRecording()) throw new Error(`conv2d: the ${path} path keeps no gradient; run it inside noGrad, or take another path`);
  const { kernels: k, memory, bytes } = host();
  const perOutput = g.taps * g.K;
  const q = memory.workspace(4 * weight.size), scale = memory.workspace(g.out * bytes), sums = memory.workspace(4 * y.size);
  k.fixed_quantize(g.out, weight.ptr, q, scale, perOutput, s.D);
  new Int32Array(memory.wasm.buffer, sums, y.size).fill(0);
  const accumulate = g.depthwise ? depthwiseSteps(q, sums, g, inputTable(g)) : fixedSteps(q, sums, g);
  if (path === "binary") for (let d = 0; d < s.D; d++) memory.withWorkspace(() => accumulate(s.eventsAbove(d), true));
  else accumulate(s.events(), false);
  k.fixed_to_f32(g.outputPixels, sums, scale, bias?.ptr ?? 0, y.ptr, g.out);
}

function fixedSteps(q: number, sums: number, g: Geometry): (lists: EventLists, unit: boolean) => void {
  const { kernels: k, memory } = host();
  const { taps, C, out, outputPixels } = g;
  const packed = memory.workspace(4 * padded32(out) * taps * C), table = g.pointwise ? 0 : inputTable(g);
  k.fixed_pack(Math.ceil(out / 32), g.groups === 1 ? q : acrossGroups(q, g), packed, out, taps, C);
  return ({ events, spans }, unit) => {
    const kernel = unit ? k.fixed_accumulate : k.fixed_multiply_accumulate;
    kernel(outputPixels, events, spans, table, outputPixels, taps, C, packed, sums, out);
  };
}

/** q [out][taps][K] as [out][taps][C] with zeros for the channels of other groups, since event lists go over all channels. */
function acrossGroups(q: number, { taps, K, N, C, out }: Geometry): number {
  const { memory } = host();
  const wide = memory.workspace(4 * out * taps * C);
  const from = new Int32Array(memory.wasm.buffer, q, out * taps * K), to = new Int32Array(memory.wasm.buffer, wide, out * taps * C).fill(0);
  for (let row = 0; row < out * taps; row++) {
    const group = Math.floor(row / (taps * N));
    to.set(from.subarray(row * K, (row + 1) * K), row * C + group * K);
  }
  return wide;
}

// ── backward ────────────────────────────────────────────────────────────────────────────────────────────────────────

function inputGradient(dy: Tensor, x: Value, weight: Tensor, dx: Tensor, g: Geometry, algorithm: Algorithm): void {
  const kernel = inputGradientKernel(x, weight, g, algorithm);
  if (kernel === "masked") maskedInputGradient(dy, x as Spikes, weight, dx, g);
  else wholeInputGradient(dy, weight, dx, g, kernel);
}

function wholeInputGradient(dy: Tensor, weight: Tensor, dx: Tensor, g: Geometry, kernel: "winograd" | "dense"): void {
  const { kernels: k, memory, bytes } = host();
  const { taps, K, N, groups, C, out } = g, panels = Math.ceil(K / 8), size = padded8(K) * taps * N * bytes;
  const packed = Array.from({ length: groups }, (_, group) => {
    const to = memory.workspace(size);
    k.conv_pack_transposed(panels, weight.ptr + group * N * taps * K * bytes, to, N, taps, K);
    return to;
  });
  const eachGroup = (dy: number, dx: number, run: (from: number, weights: number, to: number) => void): void => packed.forEach((weights, group) => run(dy + group * N * bytes, weights, dx + group * K * bytes));
  if (kernel === "winograd") eachGroup(dy.ptr, dx.ptr, (from, weights, to) => winograd(outputPicture(g, from), weights, true, 0, inputPicture(g, to), 2 - g.padding));
  else if (g.pointwise) eachGroup(dy.ptr, dx.ptr, (from, weights, to) => k.f32_gemm(g.inputPixels, from, out, N, weights, 0, to, C, K));
  else inParts(g, (taps + 1) * g.inputPixels, (part, first) => memory.withWorkspace(() => {
    const pixels = part.inputPixels, place = dx.ptr + first * g.H * g.W * C * bytes;
    // pixels between which a stride steps meet different taps: those that meet the same ones are computed side by side, then put in place
    const phases = g.stride > 1 ? outputTableByPhase(part) : undefined, rows = phases ? memory.workspace(pixels * C * bytes) : place;
    eachGroup(dy.ptr + first * g.OH * g.OW * out * bytes, rows, (from, weights, to) => k.f32_conv(pixels, from, out, phases?.table ?? outputTable(part), pixels, taps, N, weights, 0, to, C, K));
    if (phases) k.f32_gather_rows(pixels, rows, phases.places, place, C);
  }));
}

/** dx where windows are open, zeros elsewhere: a neuron passes nothing on there. */
function maskedInputGradient(dy: Tensor, s: Spikes, weight: Tensor, dx: Tensor, { inputPixels, C, out }: Geometry): void {
  const { kernels: k, memory, bytes } = host();
  const transposed = memory.workspace(weight.size * bytes);
  k.conv_unpack_weight_grad(C, weight.ptr, transposed, C, out);
  k.f32_gemm_masked(inputPixels, s.ptr, dy.ptr, transposed, dx.ptr, C, out);
}

function weightGradient(dy: Tensor, x: Value, weight: Tensor, dw: Tensor, g: Geometry): void {
  const sparse = weightGradientKernel(x, weight, g) === "sparse";
  behind(weight, g.outputPixels * g.taps * g.K * g.out, (k) => {
    if (sparse) sparseWeightGradient(k, dy, x as Spikes, dw, g);
    else denseWeightGradient(k, dy, realValues(x, k), dw, g);
  });
}

function denseWeightGradient(k: Kernels, dy: Tensor, input: number, dw: Tensor, given: Geometry): void {
  const { memory, bytes } = host();
  const { x, g } = alongRows(input, given, k), { taps, K, N, groups, C, out } = g;
  const transposed = memory.workspace(taps * K * N * bytes);
  for (let group = 0; group < groups; group++) {
    const table = g.pointwise ? 0 : inputTable(g);
    k.f32_conv_weight_grad(taps * K, x + group * K * bytes, C, table, g.outputPixels, K, dy.ptr + group * N * bytes, out, N, transposed);
    k.conv_unpack_weight_grad(N, transposed, dw.ptr + group * N * taps * K * bytes, N, taps * K);
  }
}

/**
 * Events by channel in bands of places, and dy in blocks of output channels: each event adds one row of a block. With stride 1 the places are those of
 * images with a halo, so that a tap is the same step for all of them. Pixels of a wider stride are taken by phase, each of which is a convolution of
 * stride 1 with the taps that meet it. Otherwise a table says where a place leads.
 */
function sparseWeightGradient(k: Kernels, dy: Tensor, s: Spikes, dw: Tensor, g: Geometry): void {
  const { memory, bytes } = host(), { taps, K, N, kw } = g, rows = taps * K;
  const transposed = memory.workspace(padded32(N) * rows * bytes), phases = phasesOf(g);
  if (!phases) gatherGradient(k, dy, s, transposed, g, { ...across(g.H, 1, 1, 0, 0), taps: g.kh }, { ...across(g.W, 1, 1, 0, 0), taps: kw }, outputTable(g));
  else for (const [down, right] of phases) memory.withWorkspace(() => gatherGradient(k, dy, s, transposed, g, down, right));
  k.conv_unpack_weight_grad(N, transposed, dw.ptr, 32, rows);
}

/** Every stride-th pixel of a row or column from `first` on, and what meets it: the taps from `tap` on, every stride-th, and so many zeros before dy. */
interface Phase { readonly first: number; readonly tap: number; readonly taps: number; readonly before: number; readonly places: number }

function across(size: number, kernel: number, stride: number, padding: number, first: number): Phase {
  const tap = (first + padding) % stride, taps = Math.ceil((kernel - tap) / stride);
  return { first, tap, taps, before: taps - 1 - (first + padding - tap) / stride, places: Math.ceil((size - first) / stride) + taps - 1 };
}

/** The phases of rows and columns that meet a tap; undefined where some tap meets none, or dy would have to begin before the first place. */
function phasesOf({ H, W, kh, kw, stride, padding, dilation }: Geometry): [down: Phase, right: Phase][] | undefined {
  if (dilation > 1 || H < stride || W < stride) return undefined;
  if (stride === 1) return padding < kh && padding < kw ? [[across(H, kh, 1, padding, 0), across(W, kw, 1, padding, 0)]] : undefined;
  const along = (size: number, kernel: number): Phase[] => Array.from({ length: stride }, (_, first) => across(size, kernel, stride, padding, first)).filter(({ taps }) => taps > 0);
  const down = along(H, kh), right = along(W, kw);
  return [...down, ...right].some(({ before }) => before < 0) ? undefined : down.flatMap((d) => right.map((r) => [d, r] as [Phase, Phase]));
}

/** to[block][tap][k][32] of the taps of one phase, or of all by the table. */
function gatherGradient(k: Kernels, dy: Tensor, s: Spikes, to: number, { B, H, W, OH, OW, K, N, taps, kw, stride }: Geometry, down: Phase, right: Phase, table = 0): void {
  const { memory, bytes } = host(), Hp = down.places, Wp = right.places, places = B * Hp * Wp, bands = Math.ceil(places / BAND);
  const image = table ? { H: OH, W: OW, top: 0, left: 0 } : { H: Hp, W: Wp, top: down.before, left: right.before };
  const events = memory.workspace(2 * bands * LISTED * K), spans = memory.workspace(8 * bands * K), blocks = memory.workspace(padded32(N) * B * image.H * image.W * bytes);
  k.spike_channel_events(bands, s.ptr, events, spans, B, H, W, K, Hp, Wp, table ? 1 : stride, down.first, right.first);
  k.spike_gradient_blocks(B * image.H, dy.ptr, blocks, B, OH, OW, N, image.H, image.W, image.top, image.left);
  const step = table ? 1 : stride; // between the taps of the phase, among all
  k.spike_weight_grad(
    padded32(N) / 32 * K, events, spans, table, places, B * image.H * image.W, down.taps * right.taps, right.taps, Wp, K, blocks, to, N, taps, down.tap * kw + right.tap, step, step * kw,
  );
}

/** dbias[j] = sum over pixels of dy[pixel][j] */
function biasGradient(dy: Tensor, bias: Tensor, { outputPixels, out }: Geometry): Tensor {
  const db = gradientOf(bias);
  columnSums(dy.ptr, db.ptr, outputPixels, out);
  return db;
}
