/** What a run does unless it is told otherwise: records by name. All numbers of this kind are here. */
import { freemem } from "node:os";
import { augmentations, frameProtocol, protocolOf, type Augment, type BatchOptions, type FrameProtocol } from "../datasets/index.ts";
import { defaultWorkers } from "../datasets/workers.ts";
import { familyOf, networks, type AblationName, type NetworkName, type TrainRecipe } from "../detection/index.ts";
import type { Host, Kept } from "../engine/index.ts";
import { referenceRecipe, snnYOLOv3Recipe } from "../nn/index.ts";

/** Ablations that train here; those of other heads are for `npm run bench -- ablation`. */
export const ABLATIONS = ["spikeyolo", "no-reparam", "rep-early", "silu", "relu"] as const satisfies readonly AblationName[];

/** The options of a run with every default filled in: what args.json and checkpoints keep. */
export interface Settings extends VariationSettings, ScheduleSettings {
  readonly model: NetworkName;
  /** SpikeYOLO with one thing changed; absent: as it is. */
  readonly ablation?: (typeof ABLATIONS)[number];
  readonly T: number;
  readonly D: number;
  readonly imgsz: number;
  readonly batch: number;
  readonly epochs: number;
  readonly seed: number;
  readonly lr0: number;
  /** The record that the rest comes from; absent: what suits the data. */
  readonly recipe?: RecipeName;
  /** How many layers of the network's first stand still, in the reference's numbering. */
  readonly freeze?: number;
  readonly arithmetic: Host["arithmetic"];
  /** Whether blocks run again in the backward pass: less memory, more time, the same result. */
  readonly checkpointing: boolean;
  /** How outputs of convolutions are kept for the backward pass. */
  readonly activations: Kept;
  /** Where a network that tells boxes from anchors has them: as published, or from the boxes that it is trained on; absent: as in the recipe. */
  readonly anchors?: "coco" | "auto";
  /** Threads that read pictures; absent: as many as suit the machine. */
  readonly workers?: number;
  /** Pictures that were read stay in memory. */
  readonly cache?: Switch;
  /** A broken picture ends the run. */
  readonly strict?: Switch;
  /** Last epochs without mosaic; absent: those of the recipe. */
  readonly close_mosaic?: number;
  /** What events become; absent: the run is on pictures. */
  readonly frames?: FrameProtocol["encoding"];
  /** Milliseconds of events before a label. */
  readonly window?: number;
  readonly order?: "newest" | "chronological";
  /** A set on disk (cli/data.ts says which); absent: the embedded pictures, as many as the three numbers say. */
  readonly data?: string;
  readonly train?: number;
  readonly val?: number;
  readonly test?: number;
  /** Names of the lists of `data` to train on and to validate with; absent: those that fit best. */
  readonly train_split?: string;
  readonly val_split?: string;
}

export type Switch = "true" | "false";

/** Variations by the names that ultralytics gives them; absent: those of the recipe. */
const VARIATIONS = {
  mosaic: "mosaic", degrees: "degrees", translate: "translate", scale: "scale", shear: "shear", perspective: "perspective",
  hsv_h: "hue", hsv_s: "saturation", hsv_v: "value", fliplr: "flip", flipud: "upsideDown",
} as const satisfies Record<string, keyof Augment>;

/** Fields of the recipe by the names that ultralytics gives them; absent: those of the record. */
const SCHEDULE = { lrf: "lrf", momentum: "momentum", weight_decay: "weightDecay", warmup_epochs: "warmupEpochs", nbs: "nbs" } as const satisfies Record<string, keyof TrainRecipe>;

export type ScheduleSettings = { readonly [K in keyof typeof SCHEDULE]?: number };
export type VariationSettings = { readonly [K in keyof typeof VARIATIONS]?: number };

interface Preset {
  readonly settings: Omit<Settings, "data" | "lr0">;
  readonly recipe: Omit<TrainRecipe, "batch" | "epochs">;
  readonly augment: Augment;
  readonly closeMosaic: number;
}

/** Minutes on two cores. Higher rates and a looser clip than the reference's, which has hundreds of epochs to come into its stride. */
const embedded: Preset = {
  settings: { model: "tiny", T: 1, D: 4, imgsz: 128, batch: 8, epochs: 8, seed: 0, arithmetic: "fast", checkpointing: false, activations: "f32", train: 1600, val: 128, test: 256 },
  recipe: {
    lr0: 0.03, lrf: 0.02, momentum: 0.937, weightDecay: 5e-4, nbs: 8, cosine: true, oneEpochLate: false,
    warmupEpochs: 0.3, warmupMomentum: 0.8, warmupBiasLr: 0.03, minWarmupIterations: 10,
    clip: 100, ema: { decay: 0.99, tau: 100 },
  },
  augment: augmentations.flip,
  closeMosaic: 0,
};

/** The same for SNN-YOLOv3. The published gains leave three classes a twentieth of the loss, and nearly nothing is learned of them in minutes. */
const embeddedSNN: Preset = {
  ...embedded,
  settings: { ...embedded.settings, model: "snn-yolov3-tiny", T: 4, D: 1, epochs: 10, anchors: "auto" },
  recipe: { ...embedded.recipe, gains: { box: 5, classes: 8, dfl: 20 } },
};

/** A published recipe, at a size that a CPU can train: the one of the reference figures on BCCD. */
const small: Preset = {
  settings: { model: "small", T: 1, D: 4, imgsz: 320, batch: 8, epochs: 50, seed: 0, arithmetic: "fast", checkpointing: false, activations: "f32" },
  recipe: { ...referenceRecipe, lrf: 0.01, warmupEpochs: 3, clip: 10, ema: {} },
  augment: augmentations.spikeyolo,
  closeMosaic: 10,
};

/** SpikeYOLO on COCO as published: the 23M run of 300 epochs. Its rates, one epoch late, are those of that run's log. */
const coco: Preset = {
  ...small,
  settings: { ...small.settings, model: "s", imgsz: 640, batch: referenceRecipe.batch, epochs: referenceRecipe.epochs },
  recipe: { ...referenceRecipe, clip: 10, ema: {} },
};

/**
 * From trained weights to other classes, in minutes. Ours, there is none published: a step after each batch, since gathering 64 pictures for one leaves few steps of
 * a small set, a tenth of the warm-up of biases, and averages over tens of steps.
 */
const finetune: Preset = {
  ...small,
  settings: { ...small.settings, epochs: 20 },
  recipe: { ...small.recipe, lr0: 0.005, nbs: 8, warmupEpochs: 1, warmupBiasLr: 0.01, ema: { decay: 0.998, tau: 200 } },
  closeMosaic: 5,
};

/** SpikeYOLO's Gen1 release, which varies nothing (its frames: event-frames.ts). Its paper has lr0 0.01, batch 40 and 50 epochs. */
const gen1: Preset = {
  settings: { ...coco.settings, T: frameProtocol.T, imgsz: 320, batch: 80, epochs: 80, frames: frameProtocol.encoding, window: frameProtocol.window / 1000, order: "newest" },
  recipe: { ...coco.recipe, lr0: 0.02 },
  augment: augmentations.none,
  closeMosaic: 0,
};

/** The same at a size that a CPU can train. */
const events: Preset = {
  ...gen1,
  settings: { ...gen1.settings, model: small.settings.model, batch: 4, epochs: small.settings.epochs },
  recipe: { ...small.recipe, lr0: 0.02 },
};

/** SNN-YOLOv3 as its published code trains it on VOC2012: no averaged weights, no clipping, decay of norms and biases too. Its paper has momentum 0.9 and decay 5e-3. */
const snn: Preset = {
  settings: { ...small.settings, model: "snn-yolov3", T: 4, D: 1, imgsz: 416, batch: snnYOLOv3Recipe.batch, epochs: snnYOLOv3Recipe.epochs, anchors: "coco" },
  recipe: { ...snnYOLOv3Recipe, decaying: ["weight", "bias", "norm"], clip: 1e9, ema: { decay: 0 } },
  augment: { ...augmentations.none, mosaic: 1, hue: 0.0138, saturation: 0.678, value: 0.36, flip: 0.5 },
  closeMosaic: 0,
};

/** The same in minutes, on few pictures of one's own: the rates, gains and averages of the embedded run, boxes for anchors. Ours, there is none published. */
const snnSmall: Preset = {
  settings: { ...small.settings, model: "snn-yolov3-tiny", T: 4, D: 1, epochs: 20, anchors: "auto" },
  recipe: { ...embeddedSNN.recipe, warmupEpochs: 1 },
  augment: { ...augmentations.spikeyolo, mosaic: 0 },
  closeMosaic: 0,
};

/** What `recipe=` names. */
export const RECIPES = { small, coco, gen1, finetune, "snn-yolov3": snn, "snn-small": snnSmall } as const;
export type RecipeName = keyof typeof RECIPES;

export const presets = { embedded, embeddedSNN, events, ...RECIPES } as const;

function presetOf({ model = "tiny", data, frames, recipe }: Pick<Partial<Settings>, "model" | "data" | "frames" | "recipe">): Preset {
  const anchored = familyOf(networks[model]).anchors;
  if (data === undefined) return anchored ? embeddedSNN : embedded;
  if (frames !== undefined && recipe !== "gen1") return recipe === "finetune" ? { ...events, recipe: finetune.recipe } : events;
  return RECIPES[recipe ?? (anchored ? "snn-yolov3" : "small")];
}

/** Options that say how events become frames, and those that mean nothing where pictures are not varied, nor kept. */
export const FRAME_OPTIONS = ["frames", "window", "order"] as const, PICTURE_OPTIONS = [...Object.keys(VARIATIONS) as (keyof typeof VARIATIONS)[], "close_mosaic", "cache"] as const;

/** How a run on recordings makes frames; undefined on pictures. */
export const framesOf = ({ frames, window = frameProtocol.window / 1000, order, T }: Pick<Settings, "frames" | "window" | "order" | "T">): FrameProtocol | undefined =>
  frames && protocolOf({ encoding: frames, T, window: Math.round(1000 * window), order: order === "chronological" ? order : "newest first" });

export function settingsOf(given: Partial<Settings>): Settings {
  const { settings: { anchors, ...settings }, recipe } = presetOf(given), all = { ...settings, lr0: recipe.lr0, ...given }, family = familyOf(networks[all.model]);
  return { ...all, ...(family.anchors && { anchors: given.anchors ?? anchors ?? "coco" }), ...(!family.integers && { D: 1 }) };
}

export function recipeOf(settings: Settings): TrainRecipe {
  const { lr0, batch, epochs } = settings;
  return { ...presetOf(settings).recipe, ...renamed(SCHEDULE, settings), lr0, batch, epochs };
}

/**
 * What varies in an epoch, counted from 0. As in the reference, the last `close_mosaic` epochs do without mosaic, but for runs that are
 * shorter than that: they keep it to the end.
 */
export function augmentOf(settings: Settings, epoch = 0): Augment {
  const { augment, closeMosaic } = presetOf(settings);
  const { close_mosaic: close = closeMosaic, epochs } = settings, closed = close > 0 && close <= epochs && epoch >= epochs - close;
  return { ...augment, ...renamed(VARIATIONS, settings), ...(closed ? { mosaic: 0 } : {}) };
}

/** Those of `names` that were given, under the names on the other side. */
function renamed<K extends string, F extends string>(names: Readonly<Record<K, F>>, given: { readonly [name in NoInfer<K>]?: number }): Partial<Record<F, number>> {
  return Object.fromEntries((Object.keys(names) as K[]).flatMap((name) => (given[name] === undefined ? [] : [[names[name], given[name]]]))) as Partial<Record<F, number>>;
}

/** What a set of files is read with; nothing changes a bit of a batch. */
export const readingOf = ({ workers = defaultWorkers(), cache, strict }: Pick<Settings, "workers" | "cache" | "strict">): Pick<BatchOptions, "workers" | "cache" | "strict"> =>
  ({ workers, cache: cache === "true" ? Math.floor(freemem() / 2) : 0, strict: strict === "true" });
