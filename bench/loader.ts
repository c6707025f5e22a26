/**
 * The share of a training run's time that it waits for pictures: `small` at 320 with the variations of the reference, on the pictures of a
 * VOC folder (BCCD beside the repository, or the folder named after "loader"). A step is what the trainer does with a batch but the optimiser.
 */
import { existsSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { augmentations, voc, type BatchOptions, type DetectionSet, type Batched } from "../datasets/index.ts";
import { decodeWorkers } from "../datasets/workers.ts";
import { detectionLoss, SpikeYOLO, spikeYOLO } from "../detection/index.ts";
import { backward, loadKernels, scope } from "../engine/index.ts";
import { print } from "./desk.ts";

const BATCH = 8, IMGSZ = 320, BATCHES = 4, ROUNDS = 1;
const folder = process.argv[3] ?? fileURLToPath(new URL("../../../shared/data/bccd", import.meta.url));

/** Ways of reading; all give the same batches. */
const WAYS: Readonly<Record<string, Partial<BatchOptions>>> = {
  "between steps": { workers: 0, ahead: 1 },
  "1 thread": { workers: 1 },
  "2 threads": { workers: 2 },
  "1 thread, kept": { workers: 1, cache: 1 << 30 },
};

interface Time { waited: number; all: number }

/** Milliseconds of so many batches, and of these those before a batch was there. The first batch is not counted: nothing runs yet beside which it could be made. */
async function time(set: DetectionSet & Batched, how: Partial<BatchOptions>, epoch: number, step: (batch: { images: any; boxes: any }) => void): Promise<Time> {
  const batches = set.batches({ batch: BATCH, imgsz: IMGSZ, shuffle: true, seed: 0, epoch, augment: augmentations.spikeyolo, dropLast: true, ...how })[Symbol.asyncIterator]();
  await batches.next();
  const start = performance.now();
  let waited = 0;
  for (let count = 0; count < BATCHES; count++) {
    const asked = performance.now(), { value } = await batches.next();
    waited += performance.now() - asked;
    await turn();
    step(value);
  }
  const all = performance.now() - start;
  await batches.return?.();
  return { waited, all };
}

export async function run(): Promise<unknown> {
  if (!existsSync(folder)) throw new Error(`bench loader: there is no ${folder}; give a VOC folder: npm run bench -- loader PATH`);
  const set = await voc(folder).open(), host = await loadKernels();
  const model = new SpikeYOLO({ ...spikeYOLO.small, classes: set.classes.length }).train(true);
  const step = ({ images, boxes }: { images: any; boxes: any }): void => { scope(() => backward(detectionLoss(model.forward(images), boxes).total)); };
  const best: Record<string, Time> = {};
  for (let round = 0; round < ROUNDS + 1; round++) for (const [way, how] of Object.entries(WAYS)) {
    const took = await time(set, how, 0, step);
    if (round > 0 && !(best[way]?.all <= took.all)) best[way] = took;                      // the first round warms
  }
  await Promise.all([1, 2].map((n) => decodeWorkers(n).close()));
  const rows = Object.entries(best).map(([way, { waited, all }]) => ({ way, waiting: waited / all, stepMs: (all - waited) / BATCHES, msPerBatch: all / BATCHES, picturesPerSecond: 1000 * BATCH * BATCHES / all }));
  print(["pictures are read", "waiting %", "step ms", "all ms", "pictures/s"], rows.map(({ way, waiting, stepMs, msPerBatch, picturesPerSecond }) => [way, 100 * waiting, stepMs, msPerBatch, picturesPerSecond]));
  const threads = host.threads;
  await host.stop();
  return { batch: BATCH, imgsz: IMGSZ, threads, rows };
}
