/** What a run does unless it is told otherwise: one record for the embedded pictures, one for a folder. All numbers of this kind are here. */
import { freemem } from "node:os";
import { augmentations, frameProtocol, protocolOf, type Augment, type BatchOptions, type FrameProtocol } from "../datasets/index.ts";
import { defaultWorkers } from "../datasets/workers.ts";
import { spikeYOLO, type TrainRecipe } from "../detection/index.ts";
import type { Host, Kept } from "../engine/index.ts";
import { referenceRecipe } from "../nn/index.ts";

export type ModelName = keyof typeof spikeYOLO;

/** The options of a run with every default filled in: what args.json and checkpoints keep. */
export interface Settings extends VariationSettings {
  readonly model: ModelName;
  readonly T: number;
  readonly D: number;
  readonly imgsz: number;
  readonly batch: number;
  readonly epochs: number;
  readonly seed: number;
  readonly lr0: number;
  readonly arithmetic: Host["arithmetic"];
  /** Whether blocks run again in the backward pass: less memory, more time, the same result. */
  readonly checkpointing: boolean;
  /** How outputs of convolutions are kept for the backward pass. */
  readonly activations: Kept;
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
}

export type Switch = "true" | "false";

/** Variations by the names that ultralytics gives them; absent: those of the recipe. */
const VARIATIONS = {
  mosaic: "mosaic", degrees: "degrees", translate: "translate", scale: "scale", shear: "shear", perspective: "perspective",
  hsv_h: "hue", hsv_s: "saturation", hsv_v: "value", fliplr: "flip", flipud: "upsideDown",
} as const satisfies Record<string, keyof Augment>;

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

/** SpikeYOLO as published, at a size that a CPU can train. */
const folder: Preset = {
  settings: { model: "small", T: 1, D: 4, imgsz: 320, batch: 16, epochs: 50, seed: 0, arithmetic: "fast", checkpointing: false, activations: "f32" },
  recipe: { ...referenceRecipe, warmupEpochs: 3, clip: 10, ema: {} },
  augment: augmentations.spikeyolo,
  closeMosaic: 10,
};

/** SpikeYOLO's Gen1 release, which varies nothing (its frames: event-frames.ts), at a size that a CPU can train. */
const events: Preset = {
  settings: { ...folder.settings, T: frameProtocol.T, batch: 4, frames: frameProtocol.encoding, window: frameProtocol.window / 1000, order: "newest" },
  recipe: { ...folder.recipe, lr0: 0.02 },
  augment: augmentations.none,
  closeMosaic: 0,
};

export const presets = { embedded, folder, events } as const;
const presetOf = ({ data, frames }: Pick<Partial<Settings>, "data" | "frames">): Preset => (data === undefined ? embedded : frames === undefined ? folder : events);

/** Options that say how events become frames, and those that mean nothing where pictures are not varied, nor kept. */
export const FRAME_OPTIONS = ["frames", "window", "order"] as const, PICTURE_OPTIONS = [...Object.keys(VARIATIONS) as (keyof typeof VARIATIONS)[], "close_mosaic", "cache"] as const;

/** How a run on recordings makes frames; undefined on pictures. */
export const framesOf = ({ frames, window = frameProtocol.window / 1000, order, T }: Pick<Settings, "frames" | "window" | "order" | "T">): FrameProtocol | undefined =>
  frames && protocolOf({ encoding: frames, T, window: Math.round(1000 * window), order: order === "chronological" ? order : "newest first" });

export function settingsOf(given: Partial<Settings>): Settings {
  const { settings, recipe } = presetOf(given);
  return { ...settings, lr0: recipe.lr0, ...given };
}

export function recipeOf(settings: Settings): TrainRecipe {
  const { lr0, batch, epochs } = settings;
  return { ...presetOf(settings).recipe, lr0, batch, epochs };
}

/**
 * What varies in an epoch, counted from 0. As in the reference, the last `close_mosaic` epochs do without mosaic, but for runs that are
 * shorter than that: they keep it to the end.
 */
export function augmentOf(settings: Settings, epoch = 0): Augment {
  const { augment, closeMosaic } = presetOf(settings), given: Partial<Record<keyof Augment, number>> = {};
  for (const [name, field] of Object.entries(VARIATIONS) as [keyof typeof VARIATIONS, keyof Augment][]) if (settings[name] !== undefined) given[field] = settings[name];
  const { close_mosaic: close = closeMosaic, epochs } = settings, closed = close > 0 && close <= epochs && epoch >= epochs - close;
  return { ...augment, ...given, ...(closed ? { mosaic: 0 } : {}) };
}

/** What a set of files is read with; nothing changes a bit of a batch. */
export const readingOf = ({ workers = defaultWorkers(), cache, strict }: Pick<Settings, "workers" | "cache" | "strict">): Pick<BatchOptions, "workers" | "cache" | "strict"> =>
  ({ workers, cache: cache === "true" ? Math.floor(freemem() / 2) : 0, strict: strict === "true" });
