/**
 * How others name and lay out weights: the state_dict of the public SpikeYOLO reference (github.com/BICLab/SpikeYOLO), and that of SNN-YOLOv3
 * (snn-yolov3-weights.ts), convolutions as [out, in, kh, kw].
 */
import { show, type Parameter } from "../engine/index.ts";
import { AllConvBlock, ConvBlock, DownSampling, SeparableConv, SpikingConv } from "../nn/blocks.ts";
import { RepConv, SepRepConv, SpikingRepConv, SpikingSepRepConv } from "../nn/chains.ts";
import { BatchNorm2d, BatchNormPad, Conv2d } from "../nn/layers.ts";
import { Buffer, Module } from "../nn/module.ts";
import type { TensorData } from "../nn/safetensors.ts";
import { Branch, DetectHead, SpikeSPPF } from "./head.ts";
import { SNNYOLOv3 } from "./snn-yolov3.ts";
import { publishedNames } from "./snn-yolov3-weights.ts";
import { LAYERS, SpikeYOLO } from "./spikeyolo.ts";

/** A tensor of someone else's file: row-major values in their layout. */
export interface ForeignTensor { readonly shape: readonly number[]; readonly data: ArrayLike<number> }

type Kind = abstract new (...args: never[]) => Module;
type Names = Readonly<Record<string, string>>;

/** What the reference calls the parts of each of our modules. */
const NAMES = new Map<Kind, Names>([
  [Conv2d, { weight: "weight", bias: "bias" }],
  [BatchNorm2d, { weight: "weight", bias: "bias", runningMean: "running_mean", runningVariance: "running_var" }],
  [BatchNormPad, { norm: "bn" }],
  [SpikingConv, { conv: "conv", norm: "bn" }],
  [DownSampling, { conv: "encode_conv", norm: "encode_bn" }],
  ...[RepConv, SpikingRepConv].map((kind): [Kind, Names] => [kind, { reduce: "body.0", reduceNorm: "body.1", depthwise: "body.2.0", expand: "body.2.1", expandNorm: "body.2.2" }]),
  ...[SepRepConv, SpikingSepRepConv].map((kind): [Kind, Names] => [kind, { norm: "body.0", pointwise: "body.1.0", depthwise: "body.1.1" }]),
  [SeparableConv, { expand: "pwconv1", depthwise: "dwconv2", project: "pwconv3", expandNorm: "bn1", depthwiseNorm: "bn2", projectNorm: "bn3" }],
  [AllConvBlock, { separable: "Conv", conv1: "conv1", conv2: "conv2" }],
  [ConvBlock, { separable: "Conv", conv1: "conv1", norm1: "bn1", conv2: "conv2", norm2: "bn2" }],
  [SpikeSPPF, { reduce: "cv1", join: "cv2" }],
  [Branch, { conv1: "0", conv2: "1", predict: "2.conv" }],
  [DetectHead, { box: "cv2", class: "cv3", bins: "dfl.conv.weight" }],
  [SpikeYOLO, Object.fromEntries(Object.entries(LAYERS).map(([field, i]) => [field, `model.${i}`]))],
]);

/** Every weight and buffer of a module under the reference's name. A stage of one block has no index there. */
export function referenceNames(module: Module, prefix = ""): Map<string, Parameter | Buffer> {
  if (module instanceof SNNYOLOv3) return publishedNames(module);
  const named = new Map<string, Parameter | Buffer>();
  const names = NAMES.get(module.constructor as Kind);
  if (!names) throw new Error(`weights: the reference has no module like ${module.constructor.name}`);
  const visit = (name: string, part: unknown): void => {
    if (part instanceof Module) for (const [inner, tensor] of referenceNames(part, `${name}.`)) named.set(inner, tensor);
    else if (Array.isArray(part)) part.forEach((member, i) => visit(part.length > 1 ? `${name}.${i}` : name, member));
    else if (part) named.set(name, part as Parameter | Buffer);
  };
  for (const [field, theirs] of Object.entries(names)) visit(prefix + theirs, (module as unknown as Record<string, unknown>)[field]);
  return named;
}

/** [out, kh, kw, in] -> [out, in, kh, kw]; other shapes stay, but for the DFL bins, which are the weight of a 1x1 convolution there. */
function theirShape(name: string, shape: readonly number[]): readonly number[] {
  if (name.endsWith("dfl.conv.weight")) return [1, shape[0], 1, 1];
  return shape.length === 4 ? [shape[0], shape[3], shape[1], shape[2]] : shape;
}

/** Position in our layout -> position in theirs. */
export function* theirPositions(shape: readonly number[]): Generator<number> {
  if (shape.length !== 4) { for (let i = 0; i < shape.reduce((n, d) => n * d, 1); i++) yield i; return; }
  const [O, kh, kw, I] = shape;
  for (let o = 0; o < O; o++) for (let y = 0; y < kh; y++) for (let x = 0; x < kw; x++) for (let i = 0; i < I; i++) yield ((o * I + i) * kh + y) * kw + x;
}

/**
 * Copies weights of the reference into a module. Everything is checked before anything is written: a missing name or another shape is refused,
 * but for those that may `differ`, which keep what they are.
 * Step counters (num_batches_tracked) and names that the module does not have are left alone; the latter are returned.
 */
export function loadReference(module: Module, tensors: ReadonlyMap<string, ForeignTensor>, differ: (name: string) => boolean = () => false): string[] {
  const all = referenceNames(module), fits = (name: string, ours: Parameter | Buffer): boolean => tensors.get(name)?.shape.join() === theirShape(name, ours.shape).join();
  const named = new Map([...all].filter(([name, ours]) => fits(name, ours) || !differ(name)));
  for (const [name, ours] of named) {
    const theirs = tensors.get(name), expected = theirShape(name, ours.shape);
    if (!theirs) throw new Error(`weights: ${name} ${show(expected)} is missing; the file holds another model`);
    if (theirs.shape.join() !== expected.join()) throw new Error(`weights: ${name}: expected ${show(expected)}, got ${show(theirs.shape)}; the file holds another size of model`);
  }
  for (const [name, ours] of named) {
    const { data } = tensors.get(name)!, view = ours.data;
    let i = 0;
    for (const position of theirPositions(ours.shape)) view[i++] = data[position];
  }
  return [...tensors.keys()].filter((name) => !all.has(name) && !name.endsWith("num_batches_tracked"));
}

/** The weights of a module as the reference names and lays them out. Refuses one with weights that the reference has not, such as a leak that is learned. */
export function toReference(module: Module): Map<string, ForeignTensor> {
  const named = referenceNames(module), known = new Set(named.values()), [unnamed] = module.namedParameters().find(([, parameter]) => !known.has(parameter)) ?? [];
  if (unnamed !== undefined) throw new Error(`weights: the reference has no name for ${unnamed}`);
  return new Map([...named].map(([name, ours]) => [name, { shape: theirShape(name, ours.shape), data: inTheirLayout(ours.shape, ours.data) }]));
}

/** The names of the branches that tell classes apart: what another number of classes changes. */
export const tellsClasses = (name: string): boolean => name.startsWith("model.26.cv3.");

/** Every tensor of the reference's state_dict: the weights, and the step counters of its norms, which stand at 0. */
export function referenceState(module: Module): Map<string, TensorData> {
  const state = new Map<string, TensorData>();
  for (const [name, { shape, data }] of toReference(module)) {
    state.set(name, { dtype: "F32", shape, data: Float32Array.from(data) });
    if (name.endsWith(".running_var")) state.set(name.replace(/running_var$/, "num_batches_tracked"), { dtype: "I64", shape: [], data: new BigInt64Array(1) });
  }
  return state;
}

/** Values of ours, such as a gradient, in their order. */
export function inTheirLayout(shape: readonly number[], values: ArrayLike<number>): Float64Array {
  const out = new Float64Array(values.length);
  let i = 0;
  for (const position of theirPositions(shape)) out[position] = values[i++];
  return out;
}
