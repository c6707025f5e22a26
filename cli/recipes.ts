/** What a run does unless it is told otherwise: one record for the embedded pictures, one for a folder. All numbers of this kind are here. */
import { augmentations, type Augment } from "../datasets/index.ts";
import { spikeYOLO, type TrainRecipe } from "../detection/index.ts";
import type { Host, Kept } from "../engine/index.ts";
import { referenceRecipe } from "../nn/index.ts";

export type ModelName = keyof typeof spikeYOLO;

/** The options of a run with every default filled in: what args.json and checkpoints keep. */
export interface Settings {
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
  /** A VOC folder; absent: the embedded pictures, as many as the three numbers say. */
  readonly data?: string;
  readonly train?: number;
  readonly val?: number;
  readonly test?: number;
}

interface Preset {
  readonly settings: Omit<Settings, "data" | "lr0">;
  readonly recipe: Omit<TrainRecipe, "batch" | "epochs">;
  readonly augment: Augment;
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
};

/** SpikeYOLO as published, at a size that a CPU can train. */
const folder: Preset = {
  settings: { model: "small", T: 1, D: 4, imgsz: 320, batch: 16, epochs: 50, seed: 0, arithmetic: "fast", checkpointing: false, activations: "f32" },
  recipe: { ...referenceRecipe, warmupEpochs: 3, clip: 10, ema: {} },
  augment: augmentations.spikeyolo,
};

export const presets = { embedded, folder } as const;
const presetOf = ({ data }: { readonly data?: string }): Preset => (data === undefined ? embedded : folder);

export function settingsOf(given: Partial<Settings>): Settings {
  const { settings, recipe } = presetOf(given);
  return { ...settings, lr0: recipe.lr0, ...given };
}

export function recipeOf(settings: Settings): TrainRecipe {
  const { lr0, batch, epochs } = settings;
  return { ...presetOf(settings).recipe, lr0, batch, epochs };
}

export const augmentOf = (settings: Settings): Augment => presetOf(settings).augment;
