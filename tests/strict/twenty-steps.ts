/** Twenty training steps in strict arithmetic, and one hash of all that they leave. Knows neither Node nor the browser. */
import { augmentations } from "../../datasets/augment.ts";
import { shapes } from "../../datasets/shapes.ts";
import { SpikeYOLO, spikeYOLO, train, type TrainingData, type TrainRecipe } from "../../detection/index.ts";
import { loadKernels, type Host } from "../../engine/index.ts";
import { loadCheckpoint } from "../../nn/index.ts";

/**
 * What every engine makes of the twenty steps, on any number of threads. A change that means to change arithmetic on the training path
 * (another order of a sum, another default) writes a new one here; any other change that needs a new one has a fault.
 */
export const GOLDEN = "ab97ff27af2243e0ff3ff8a70c4da22513f177d7918a185d6aecadffad47dc8b";

const EPOCHS = 4, STEPS = 5, BATCH = 2, SIDE = 64;

const recipe: TrainRecipe = {
  lr0: 0.02, lrf: 0.1, momentum: 0.937, weightDecay: 5e-4, nbs: BATCH, batch: BATCH, epochs: EPOCHS, cosine: true,
  warmupEpochs: 1, warmupMomentum: 0.8, warmupBiasLr: 0.05, minWarmupIterations: 7, clip: 10, ema: { decay: 0.99, tau: 10 },
};

const data: TrainingData = {
  batchesPerEpoch: STEPS,
  train: (epoch) => shapes({ split: "train", size: STEPS * BATCH, imgsz: SIDE }).batches({ batch: BATCH, imgsz: SIDE, shuffle: true, seed: 1, epoch, augment: augmentations.spikeyolo }),
  validation: () => shapes({ split: "val", size: BATCH, imgsz: SIDE }).batches(BATCH),
};

export interface Outcome {
  /** SHA-256 of the figures of every step, then of all weights, averages and momenta in the order of their names. */
  readonly hash: string;
  readonly host: Host;
}

/** Trains `small` on three classes from the first step on. `threads` left out: as many as the loader takes. */
export async function twentySteps({ threads, plant = () => {} }: { threads?: number; plant?: (model: SpikeYOLO) => void } = {}): Promise<Outcome> {
  const host = await loadKernels({ arithmetic: "strict", threads });
  try {
    const model = new SpikeYOLO({ ...spikeYOLO.small, classes: 3 }), figures: number[] = [];
    plant(model);
    let last = new Uint8Array();
    const store = { write: async (name: "last" | "best", bytes: Uint8Array): Promise<void> => { if (name === "last") last = bytes.slice(); } };
    for await (const event of train(model, data, recipe, { store })) {
      if (event.kind === "step") figures.push(event.box, event.classes, event.dfl, event.gradientNorm ?? -1, event.firingRate);
    }
    const { model: weights, ema, momentum } = loadCheckpoint(last);
    const tensors = [weights, ema, momentum].flatMap((group) => [...group].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, { data }]) => data));
    return { hash: await sha256([Float64Array.from(figures), ...tensors]), host };
  } finally {
    await host.stop();
  }
}

async function sha256(parts: readonly (Float32Array | Float64Array)[]): Promise<string> {
  const all = await new Blob(parts.map((part) => part.slice())).arrayBuffer();
  return [...new Uint8Array(await crypto.subtle.digest("SHA-256", all))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
