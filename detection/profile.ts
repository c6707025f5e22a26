/** What each convolution of a network does with a batch of images: how busy it is, what it costs, which kernel runs it, and how long each would take. */
import { bytesKeptBy, noGrad, observeKernels, scope, show, Spikes, withKernels, type KernelChoice, type Neuron, type Shape, type Tensor, type Value } from "../engine/index.ts";
import { Conv2d, observeConvolutions, RepConv, SepRepConv } from "../nn/index.ts";
import { energy } from "./energy.ts";
import type { Detector } from "./detector.ts";
import type { DetectorInput } from "./spikeyolo.ts";

export interface LayerProfile {
  /** Its path in the model, such as "stage4.0.conv1.reduce". */
  readonly name: string;
  /** [T*B, H, W, C] of what goes in and of what comes out. */
  readonly input: Shape;
  readonly output: Shape;
  /** What it reads; undefined for the real numbers of the picture or of a convolution before it. */
  readonly spikes?: {
    /** The neuron that fired them, such as "I-LIF 0..4", and its largest integer. */
    readonly neuron: string;
    readonly D: number;
    /** Mean integer, 0..D, share that is not zero, share whose surrogate window is open (undefined for surrogates that close nowhere). */
    readonly rate: number;
    readonly density: number;
    readonly open: number | undefined;
    /** Nothing fires, or nearly everything at D: such a layer says nothing of the picture. */
    readonly state: "alive" | "dead" | "saturated";
  };
  /** Multiply-accumulates of the dense layer, and accumulations that its spikes ask for, per image over all timesteps. */
  readonly macs: number;
  readonly synapticOperations: number;
  /** MACs as the published sheet counts them: a chain of linear layers as the one 3x3 convolution that it folds into, in the row that reads its spikes. */
  readonly sheetMacs: number;
  /** Energy per image in both conventions (energy.ts). */
  readonly picojoules: { readonly clean: number; readonly sheet: number };
  /** The kernel that runs its forward pass, such as "sparse 3x3". */
  readonly kernel: string;
  /** Least milliseconds of a forward pass for the whole batch: by the kernel chosen, and where there is a choice by either one, event lists and conversions included. */
  readonly milliseconds: { readonly chosen: number; readonly dense?: number; readonly sparse?: number };
  /** Bytes that stand for the backward pass since the layer before: spikes and statistics on the way here, and its own output. */
  readonly bytesKept: number;
}

export interface Profile {
  readonly layers: readonly LayerProfile[];
  readonly total: Pick<LayerProfile, "macs" | "sheetMacs" | "synapticOperations" | "picojoules" | "bytesKept"> & {
    /** All layers as chosen; all that have the choice dense, or sparse, and the others as chosen. */
    readonly milliseconds: { readonly chosen: number; readonly dense: number; readonly sparse: number };
  };
}

export interface ProfileOptions {
  /** Times that each kernel is timed, in turns. Default 5. */
  readonly turns?: number;
}

/** Share of D from which on the mean integer of a layer counts as saturated. */
const SATURATED = 0.95;

/** Profiles the model in eval mode on images [B, H, W, 3] or a sequence [T, B, H, W, 3]. Takes the time of some forward passes. */
export function profile(model: Detector, images: DetectorInput, { turns = 5 }: ProfileOptions = {}): Profile {
  if (!(Number.isInteger(turns) && turns >= 1)) throw new Error(`profile: turns must be a whole number from 1, got ${turns}`);
  const B = images.shape[images.shape.length - 4];
  if (!(B >= 1)) throw new Error(`profile: expected images [B, H, W, 3] or a sequence [T, B, H, W, 3], got ${show(images.shape)}`);
  const { training } = model;
  model.eval();
  try {
    const names = new Map(model.namedModules().map(([name, module]) => [module, name] as const)), chains = chainsOf(model), neuron = neuronName(model.neuron);
    const kept = bytesKept(model, images), layers: LayerProfile[] = [];
    scope(() => noGrad(() => {
      let kernel = "";
      const see = (layer: Conv2d, x: Value, y: Tensor, again: (x: Value) => Tensor): void => {
        const name = names.get(layer) ?? "", chosen = kernel, macs = macsOf(layer, x.shape, y.shape) / B, sheetMacs = sheetMacsOf(layer, macs, x, B, chains.get(layer));
        layers.push({
          name, input: x.shape, output: y.shape, ...activityOf(x, neuron), ...costOf(name, macs, sheetMacs, x), kernel: chosen,
          milliseconds: time(x, again, turns), bytesKept: kept.get(layer) ?? 0,
        });
      };
      observeKernels((run) => { if (run.pass === "forward") kernel = run.kernel; }, () => observeConvolutions(see, () => model.forward(images)));
    }));
    return { layers, total: totalOf(layers) };
  } finally {
    model.train(training);
  }
}

/** Bytes that stand for the backward pass, by the layer that made them or the next one. */
function bytesKept(model: Detector, images: DetectorInput): Map<Conv2d, number> {
  const ends: { layer: Conv2d; order: number }[] = [], kept = new Map<Conv2d, number>();
  scope(() => {
    const prediction = observeConvolutions((layer, _, y) => { if (y.node) ends.push({ layer, order: y.node.order }); }, () => model.forward(images));
    for (const [{ order }, bytes] of bytesKeptBy(model.outputs(prediction))) {
      const { layer } = ends.find((end) => order <= end.order) ?? ends[ends.length - 1];
      kept.set(layer, (kept.get(layer) ?? 0) + bytes);
    }
  });
  return kept;
}

/** What the field calls it, with the integers that it emits. */
function neuronName(neuron: Neuron): string {
  const leaks = neuron.decay === 1 ? "IF" : "LIF";
  return neuron.fire === "integer" ? `I-${leaks} 0..${neuron.D}` : leaks;
}

function activityOf(x: Value, neuron: string): Pick<LayerProfile, "spikes"> {
  if (!(x instanceof Spikes)) return {};
  const { D } = x, { rate, density, open } = x.statistics();
  return { spikes: { neuron, D, rate, density, open: x.gradientWhereOpen ? open : undefined, state: rate === 0 ? "dead" : rate >= SATURATED * D ? "saturated" : "alive" } };
}

// ── operations ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** Multiply-accumulates of a convolution of frames x [N, H, W, C] to y. Around a 1x1 that pads there is a border of its bias alone, which takes none. */
export function macsOf({ macsPerPixel, kernel }: Conv2d, x: Shape, y: Shape): number {
  return macsPerPixel * (kernel === 1 ? Math.min(pixels(x), pixels(y)) : pixels(y));
}

const pixels = ([N, H, W]: Shape): number => N * H * W;

/** The chain that a convolution is a factor of, or the fold. */
function chainsOf(model: Detector): Map<Conv2d, RepConv | SepRepConv> {
  const chains = model.namedModules().map(([, module]) => module).filter((module) => module instanceof RepConv || module instanceof SepRepConv);
  return new Map(chains.flatMap((chain) => chain.namedModules().flatMap(([, part]) => (part instanceof Conv2d ? [[part, chain] as const] : []))));
}

/** A chain is counted where its input comes in. */
function sheetMacsOf(layer: Conv2d, macs: number, x: Value, B: number, chain: RepConv | SepRepConv | undefined): number {
  if (!chain) return macs;
  return layer === chain.reader ? (9 * chain.inChannels * chain.outChannels * pixels(x.shape)) / B : 0;
}

function costOf(name: string, macs: number, sheetMacs: number, x: Value): Pick<LayerProfile, "macs" | "sheetMacs" | "synapticOperations" | "picojoules"> {
  const kind = x instanceof Spikes ? { rate: x.statistics().rate, kind: "accumulate" as const } : { rate: 0, kind: "mac" as const };
  const clean = energy([{ name, macs, ...kind }], "clean").layers[0], sheet = energy([{ name, macs: sheetMacs, ...kind }], "sheet").layers[0];
  return { macs, sheetMacs, synapticOperations: clean.synapticOperations, picojoules: { clean: clean.picojoules, sheet: sheet.picojoules } };
}

// ── time ────────────────────────────────────────────────────────────────────────────────────────────────────────────

const CHOICES: Readonly<Record<"chosen" | "dense" | "sparse", KernelChoice>> = { chosen: {}, dense: { forward: "dense" }, sparse: { forward: "sparse" } };

/** Least milliseconds of each kernel, in turns. Of a depthwise convolution, or one that reads reals, there is but one. */
function time(x: Value, again: (x: Value) => Tensor, turns: number): LayerProfile["milliseconds"] {
  const best: Record<string, number> = {};
  const run = (choice: KernelChoice): { kernel: string; ms: number } => {
    const input = x instanceof Spikes ? x.unlisted() : x, start = performance.now();
    let kernel = "";
    scope(() => withKernels(choice, () => observeKernels((run) => { kernel = run.kernel; }, () => again(input))));
    return { kernel, ms: performance.now() - start };
  };
  const kernels = { dense: run(CHOICES.dense).kernel, sparse: run(CHOICES.sparse).kernel }, choices = kernels.dense === kernels.sparse ? (["chosen"] as const) : (["chosen", "dense", "sparse"] as const);
  for (let turn = 0; turn < turns; turn++) {
    for (const name of choices) best[name] = Math.min(best[name] ?? Infinity, run(CHOICES[name]).ms);
  }
  return best as unknown as LayerProfile["milliseconds"];
}

function totalOf(layers: readonly LayerProfile[]): Profile["total"] {
  const total = (of: (layer: LayerProfile) => number): number => layers.reduce((sum, layer) => sum + of(layer), 0);
  return {
    macs: total(({ macs }) => macs),
    sheetMacs: total(({ sheetMacs }) => sheetMacs),
    synapticOperations: total(({ synapticOperations }) => synapticOperations),
    picojoules: { clean: total(({ picojoules }) => picojoules.clean), sheet: total(({ picojoules }) => picojoules.sheet) },
    bytesKept: total(({ bytesKept }) => bytesKept),
    milliseconds: {
      chosen: total(({ milliseconds: { chosen } }) => chosen),
      dense: total(({ milliseconds: { chosen, dense = chosen } }) => dense),
      sparse: total(({ milliseconds: { chosen, sparse = chosen } }) => sparse),
    },
  };
}
