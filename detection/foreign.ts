/**
 * Weights of SpikeYOLO that the public reference wrote, or that were written for it: files of torch.save (whole pickled models, averaged or not,
 * and plain state_dicts) and safetensors under its names. What a file does not say is left open: T and D are in no tensor.
 */
import type { Neuron } from "../engine/index.ts";
import { ilif, ilifGen1 } from "../nn/neurons.ts";
import { PickledObject, Tuple } from "../nn/pickle.ts";
import { FormatError, readSafetensors, type StoredTensor } from "../nn/safetensors.ts";
import { isTorchModule, modulesOf, readTorch, tensorsIn } from "../nn/torch-file.ts";
import { repeats } from "./pyramid.ts";
import type { SpikeYOLOConfig, SpikeYOLOSize } from "./spikeyolo.ts";
import type { ForeignTensor } from "./weights.ts";

/** Which data a network's neurons were made for: I-LIF of COCO, or that of the Gen1 release, which halves its input. */
export type NeuronKind = "coco" | "gen1";
export const neuronOf: Readonly<Record<NeuronKind, (D: number) => Neuron>> = { coco: (D) => ilif(D), gen1: (D) => ilifGen1(D) };

export interface ForeignWeights {
  /** By the names of the reference's state_dict; values are read when they are asked for. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Which of a checkpoint's networks this is: the averaged one where there is one. */
  readonly from: "ema" | "model" | "state_dict";
  /** Names of the classes, if the file says them. */
  readonly classes?: readonly string[];
  readonly T?: number;
  readonly D?: number;
  readonly neuron?: NeuronKind;
  /** Pixels per side that it was trained on. */
  readonly imgsz?: number;
}

/** The weights of a file, by its first bytes. Throws FormatError. */
export const readForeign = (bytes: Uint8Array): ForeignWeights => (looksLikeSafetensors(bytes) ? ofSafetensors(bytes) : ofTorch(readTorch(bytes)));

const looksLikeSafetensors = (bytes: Uint8Array): boolean => bytes[8] === 0x7b && !(bytes[0] === 0x50 && bytes[1] === 0x4b);

// ---- files of torch.save ----

/** A checkpoint {model, ema, ...}, a module, or a state_dict, bare or under a key. */
function ofTorch(root: unknown): ForeignWeights {
  const under = (key: string): unknown => (root instanceof Map ? root.get(key) : undefined);
  const { ema, model, state_dict } = { ema: under("ema"), model: under("model"), state_dict: under("state_dict") };
  const options = under("train_args");
  if (isTorchModule(ema)) return ofModule(ema, "ema", options);
  if (isTorchModule(model)) return ofModule(model, "model", options);
  if (isTorchModule(root)) return ofModule(root, "model", undefined);
  for (const dict of [ema, model, state_dict, root]) {
    const tensors = tensorsIn(dict);
    if (tensors.size > 0) return { tensors: withoutWrappers(tensors), from: "state_dict" };
  }
  throw new FormatError("pt: holds no weights; expected a model, a checkpoint with one under \"ema\" or \"model\", or a state_dict", 0);
}

function ofModule(root: PickledObject, from: "ema" | "model", options: unknown): ForeignWeights {
  const types = new Set<string>(), modules = modulesOf(root);
  let T: number | undefined;
  for (const [, module] of modules) {
    const type = lastName(module.type);
    types.add(type);
    if (type === "MS_GetT") T = countIn(module.field("T"), 1, 16);
  }
  const ceiling = [...types].map((type) => /^MultiSpike(\d+)$/.exec(type)?.[1]).find((D) => D !== undefined);
  return {
    tensors: withoutWrappers(tensorsIn(root)), from, T, classes: namesIn(root.field("names")),
    neuron: types.has("MultiStepLIFNode") ? "gen1" : types.has("mem_update") ? "coco" : undefined,
    D: ceiling === undefined ? undefined : countIn(Number(ceiling), 1, 15),
    imgsz: options instanceof Map ? countIn(options.get("imgsz"), 32, 2048) : undefined,
  };
}

const lastName = (type: string): string => type.slice(type.lastIndexOf(".") + 1);

const countIn = (x: unknown, least: number, most: number): number | undefined => (typeof x === "number" && Number.isInteger(x) && x >= least && x <= most ? x : undefined);

/** {0: "person", 1: "bicycle", ...} or a list. */
function namesIn(value: unknown): string[] | undefined {
  const names = value instanceof Map ? Array.from({ length: value.size }, (_, i) => value.get(i) as unknown) : value instanceof Tuple ? value.items : value;
  return Array.isArray(names) && names.length > 0 && names.every((name) => typeof name === "string") ? (names as string[]) : undefined;
}

/** A weight that every SpikeYOLO has. */
const FIRST = "model.1.encode_conv.weight";

/** Names without what data-parallel training and the YOLO class put before each of them. */
function withoutWrappers(tensors: ReadonlyMap<string, StoredTensor>): ReadonlyMap<string, StoredTensor> {
  const wrapper = ["module.", "model.", "module.model."].find((prefix) => !tensors.has(FIRST) && tensors.has(prefix + FIRST));
  return wrapper === undefined ? tensors : new Map([...tensors].filter(([name]) => name.startsWith(wrapper)).map(([name, tensor]) => [name.slice(wrapper.length), tensor]));
}

// ---- safetensors ----

/** What `export` writes beside the tensors, as texts; any of it may be missing. */
export interface ForeignMetadata { readonly classes?: readonly string[]; readonly T?: number; readonly D?: number; readonly neuron?: NeuronKind; readonly imgsz?: number }

export const metadataOf = ({ classes, T, D, neuron, imgsz }: ForeignMetadata): Map<string, string> =>
  new Map(Object.entries({ format: "pt", classes: classes && JSON.stringify(classes), T: T?.toString(), D: D?.toString(), neuron, imgsz: imgsz?.toString() }).filter((entry): entry is [string, string] => entry[1] !== undefined));

function ofSafetensors(bytes: Uint8Array): ForeignWeights {
  const { tensors, metadata } = readSafetensors(bytes), neuron = metadata.get("neuron");
  const count = (key: string, least: number, most: number): number | undefined => countIn(Number(metadata.get(key) ?? NaN), least, most);
  let classes: string[] | undefined;
  try { classes = namesIn(JSON.parse(metadata.get("classes") ?? "null")); } catch { classes = undefined; }
  return { tensors: withoutWrappers(tensors), from: "state_dict", classes, T: count("T", 1, 16), D: count("D", 1, 15), imgsz: count("imgsz", 32, 2048), neuron: neuron === "coco" || neuron === "gen1" ? neuron : undefined };
}

// ---- the network that they belong to ----

/** The size of the network that these tensors fill, read from their names and shapes. Throws FormatError where they are of no SpikeYOLO that is built here. */
export function sizeIn(tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>): SpikeYOLOSize & { readonly classes: number } {
  const shapeOf = (name: string, rank: number): readonly number[] => {
    const shape = tensors.get(name)?.shape;
    if (!shape) throw new FormatError(`weights: ${name} is missing; expected a SpikeYOLO with its head`, 0);
    if (shape.length !== rank || shape.some((d) => d < 1)) throw new FormatError(`weights: ${name} is [${shape.join(", ")}], expected ${rank} axes`, 0);
    return shape;
  };
  const channels = shapeOf("model.7.encode_conv.weight", 4)[0], stem = shapeOf(FIRST, 4)[0];
  const width = channels / 1024, [classes] = shapeOf("model.26.cv3.0.2.conv.weight", 4);
  if (channels % 8 || stem !== channels / 8 || channels > 4096) throw new FormatError(`weights: stages of ${stem} and ${channels} channels are those of no SpikeYOLO, which has eight times as many in the last stage as in the first`, 0);
  const [wide, narrow] = shapeOf("model.25.conv1.body.2.1.weight", 4);
  if (wide % narrow || wide / narrow > 8) throw new FormatError(`weights: model.25.conv1.body.2.1.weight is [${wide}, ${narrow}, ...], which is no whole ratio`, 0);
  return { depth: depthOf(tensors), width, maxChannels: 1024, lastRatio: wide / narrow, classes };
}

/** Blocks of the four stages at depth 1, and the layers that they are. */
const STAGES: readonly (readonly [layer: number, blocks: number])[] = [[2, 3], [4, 6], [6, 9], [8, 3]];
/** Depths of the published sizes and of ours, before any others. */
const DEPTHS = [0.33, 0.5, 0.17, 0.67, 1, ...Array.from({ length: 200 }, (_, i) => (i + 1) / 100)];

/** A depth that gives each stage as many blocks as the names count. */
function depthOf(tensors: ReadonlyMap<string, unknown>): number {
  const found = STAGES.map(([layer]) => {
    let blocks = 1;
    while (blocks < 64 && tensors.has(`model.${layer}.${blocks}.Conv.pwconv1.weight`)) blocks++;
    return blocks;
  });
  const depth = DEPTHS.find((depth) => STAGES.every(([, n], stage) => repeats(n, depth) === found[stage]));
  if (depth === undefined) throw new FormatError(`weights: stages of ${found.join(", ")} blocks are those of no depth of SpikeYOLO`, 0);
  return depth;
}

/** The record of the network of these weights; T and D are 1 and 4, and the neuron that of COCO, where neither the file nor the caller says otherwise. */
export function configIn(weights: ForeignWeights, given: { readonly T?: number; readonly D?: number; readonly neuron?: NeuronKind } = {}): SpikeYOLOSize & Pick<SpikeYOLOConfig, "classes" | "T" | "D" | "neuron"> & { readonly kind: NeuronKind } {
  const T = given.T ?? weights.T ?? 1, D = given.D ?? weights.D ?? 4, kind = given.neuron ?? weights.neuron ?? "coco";
  return { ...sizeIn(weights.tensors), T, D, neuron: neuronOf[kind](D), kind };
}

/** Values as numbers, read when they are asked for: what `loadReference` takes. */
export const numbersIn = (tensors: ReadonlyMap<string, StoredTensor>): Map<string, ForeignTensor> => new Map([...tensors].map(([name, tensor]) => [name, new Numbers(tensor)]));

class Numbers implements ForeignTensor {
  constructor(private readonly tensor: StoredTensor) {}
  get shape(): readonly number[] { return this.tensor.shape; }
  get data(): ArrayLike<number> {
    const values = this.tensor.read();
    return values instanceof BigInt64Array || values instanceof BigUint64Array ? Float64Array.from(values, Number) : values;
  }
}
