/** What each convolution of a network does with a batch of images: how busy it is, what it costs, which kernel runs it, and how long each would take. */
import { bytesKeptBy, noGrad, observeKernels, scope, show, Spikes, withKernels, type Shape, type Tensor, type Value } from "../engine/index.ts";
import { observeConvolutions, type Conv2d } from "../nn/index.ts";
import { energy, type EnergyLayer } from "./energy.ts";
import type { DetectorInput, SpikeYOLO } from "./spikeyolo.ts";

export interface LayerProfile {
  /** Its path in the model, such as "stage4.0.conv1.reduce". */
  readonly name: string;
  /** [T*B, H, W, C] of what goes in and of what comes out. */
  readonly input: Shape;
  readonly output: Shape;
  /** What it reads; undefined for the real numbers of the picture or of a convolution before it. */
  readonly spikes?: {
    /** Largest integer of the neuron. */
    readonly D: number;
    /** Mean integer, 0..D, share that is not zero, share whose surrogate window is open. */
    readonly rate: number;
    readonly density: number;
    readonly open: number;
    /** Nothing fires, or nearly everything at D: such a layer says nothing of the picture. */
    readonly state: "alive" | "dead" | "saturated";
  };
  /** Multiply-accumulates of the dense layer, and accumulations that its spikes ask for, per image over all timesteps. */
  readonly macs: number;
  readonly synapticOperations: number;
  /** Energy per image (energy.ts), with 4.6 pJ a MAC, and as the published sheet counts. */
  readonly picojoules: { readonly clean: number; readonly sheet: number };
  /** The kernel that runs its forward pass, such as "sparse 3x3". */
  readonly kernel: string;
  /** Least milliseconds of a forward pass for the whole batch: by the kernel chosen, and for spikes by either one, event lists and conversions included. */
  readonly milliseconds: { readonly chosen: number; readonly dense?: number; readonly sparse?: number };
  /** Bytes that stand for the backward pass since the layer before: spikes and statistics on the way here, and its own output. */
  readonly bytesKept: number;
}

export interface Profile {
  readonly layers: readonly LayerProfile[];
  readonly total: Pick<LayerProfile, "macs" | "synapticOperations" | "picojoules" | "bytesKept"> & {
    /** All layers as chosen; all that read spikes dense, or sparse, and the others as chosen. */
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
export function profile(model: SpikeYOLO, images: DetectorInput, { turns = 5 }: ProfileOptions = {}): Profile {
  if (!(Number.isInteger(turns) && turns >= 1)) throw new Error(`profile: turns must be a whole number from 1, got ${turns}`);
  const B = images.shape[images.shape.length - 4];
  if (!(B >= 1)) throw new Error(`profile: expected images [B, H, W, 3] or a sequence [T, B, H, W, 3], got ${show(images.shape)}`);
  const { training } = model;
  model.eval();
  try {
    const names = new Map(model.namedModules().map(([name, module]) => [module, name] as const)), kept = bytesKept(model, images), layers: LayerProfile[] = [];
    scope(() => noGrad(() => {
      let kernel = "";
      const see = (layer: Conv2d, x: Value, y: Tensor, again: (x: Value) => Tensor): void => {
        const name = names.get(layer) ?? "", chosen = kernel, macs = (layer.macsPerPixel * y.size) / layer.outChannels / B;
        layers.push({ name, input: x.shape, output: y.shape, ...activityOf(x), ...costOf(name, macs, x), kernel: chosen, milliseconds: time(x, again, turns), bytesKept: kept.get(layer) ?? 0 });
      };
      observeKernels((run) => { if (run.pass === "forward") kernel = run.kernel; }, () => observeConvolutions(see, () => model.forward(images)));
    }));
    return { layers, total: totalOf(layers) };
  } finally {
    model.train(training);
  }
}

/** Bytes that stand for the backward pass, by the layer that made them or the next one. */
function bytesKept(model: SpikeYOLO, images: DetectorInput): Map<Conv2d, number> {
  const ends: { layer: Conv2d; order: number }[] = [], kept = new Map<Conv2d, number>();
  scope(() => {
    const { box, classes } = observeConvolutions((layer, _, y) => { if (y.node) ends.push({ layer, order: y.node.order }); }, () => model.forward(images));
    for (const [{ order }, bytes] of bytesKeptBy([box, classes])) {
      const { layer } = ends.find((end) => order <= end.order) ?? ends[ends.length - 1];
      kept.set(layer, (kept.get(layer) ?? 0) + bytes);
    }
  });
  return kept;
}

function activityOf(x: Value): Pick<LayerProfile, "spikes"> {
  if (!(x instanceof Spikes)) return {};
  const { D } = x, { rate, density, open } = x.statistics();
  return { spikes: { D, rate, density, open, state: rate === 0 ? "dead" : rate >= SATURATED * D ? "saturated" : "alive" } };
}

function costOf(name: string, macs: number, x: Value): Pick<LayerProfile, "macs" | "synapticOperations" | "picojoules"> {
  const layer: EnergyLayer = x instanceof Spikes ? { name, macs, rate: x.statistics().rate, kind: "accumulate" } : { name, macs, rate: 0, kind: "mac" };
  const [clean, sheet] = (["clean", "sheet"] as const).map((convention) => energy([layer], convention).layers[0]);
  return { macs, synapticOperations: clean.synapticOperations, picojoules: { clean: clean.picojoules, sheet: sheet.picojoules } };
}

/** Least milliseconds of each kernel, in turns. */
function time(x: Value, again: (x: Value) => Tensor, turns: number): LayerProfile["milliseconds"] {
  const choices = x instanceof Spikes ? { chosen: {}, dense: { forward: "dense" }, sparse: { forward: "sparse" } } as const : { chosen: {} } as const;
  const best: Record<string, number> = {};
  for (let turn = -1; turn < turns; turn++) {
    for (const [name, choice] of Object.entries(choices)) {
      const input = x instanceof Spikes ? x.unlisted() : x, start = performance.now();
      scope(() => withKernels(choice, () => again(input)));
      if (turn >= 0) best[name] = Math.min(best[name] ?? Infinity, performance.now() - start);
    }
  }
  return best as unknown as LayerProfile["milliseconds"];
}

function totalOf(layers: readonly LayerProfile[]): Profile["total"] {
  const total = (of: (layer: LayerProfile) => number): number => layers.reduce((sum, layer) => sum + of(layer), 0);
  return {
    macs: total(({ macs }) => macs),
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
