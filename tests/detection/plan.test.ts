import { afterEach, describe, expect, test } from "vitest";
import { expectRoom, largestBatch, networks, newDetector, OverLimitError, planTraining, showPlan, spikeYOLO, train, type PlannedTraining, type SNNYOLOv3Record, type TrainingData, type TrainRecipe } from "../../detection/index.ts";
import { host, loadKernels, Random, type Host } from "../../engine/index.ts";
import { referenceRecipe } from "../../nn/index.ts";

let here: Host | undefined;
afterEach(() => here?.stop());

const MB = 1e6;

/** The linear memory after the first step of the trainer. */
async function measured({ model: config, batch, imgsz }: PlannedTraining): Promise<number> {
  const random = new Random(5), model = newDetector(config);
  const images = { shape: [batch, imgsz, imgsz, 3], data: Float32Array.from({ length: 3 * batch * imgsz * imgsz }, () => random.uniform()) };
  const boxes = { image: Int32Array.of(0), class: Int32Array.of(0), xywh: Float32Array.of(0.5, 0.5, 0.4, 0.4) };
  const data: TrainingData = { batchesPerEpoch: 1, async *train() { yield { images, boxes }; }, async *validation() {} };
  const recipe: TrainRecipe = { ...referenceRecipe, batch, nbs: batch, epochs: 1, clip: 10, ema: {} };
  for await (const event of train(model, data, recipe)) if (event.kind === "step") return host().memory.reserved;
  throw new Error("no step");
}

const tiny = { ...spikeYOLO.tiny, classes: 3 }, small = { ...spikeYOLO.small, classes: 3 };
const snn: SNNYOLOv3Record = { ...networks["snn-yolov3-tiny"], classes: 3 }, wide: SNNYOLOv3Record = { ...networks["snn-yolov3-small"], classes: 20 };
const cases: [string, PlannedTraining][] = [
  ["tiny, 8 of 128", { model: tiny, batch: 8, imgsz: 128 }],
  ["tiny, 2 of 256", { model: tiny, batch: 2, imgsz: 256 }],
  ["tiny, 2 of 128, T 4", { model: { ...tiny, T: 4 }, batch: 2, imgsz: 128 }],
  ["small, 2 of 192", { model: small, batch: 2, imgsz: 192 }],
  ["small, 2 of 192, checkpointing", { model: { ...small, checkpointing: true }, batch: 2, imgsz: 192 }],
  ["small, 2 of 192, f16", { model: { ...small, activations: "f16" }, batch: 2, imgsz: 192 }],
  ["tiny, 3 of 160, T 2, checkpointing", { model: { ...tiny, T: 2, checkpointing: true }, batch: 3, imgsz: 160 }],
  ["SNN-YOLOv3 tiny, 8 of 128, T 4", { model: snn, batch: 8, imgsz: 128 }],
  ["SNN-YOLOv3 tiny, 2 of 192, T 6, by rate", { model: { ...snn, T: 6, decode: "rate" as const }, batch: 2, imgsz: 192 }],
  ["SNN-YOLOv3 small, 2 of 160, T 4", { model: wide, batch: 2, imgsz: 160 }],
  ["SNN-YOLOv3 small with a pyramid, 2 of 160, T 2", { model: { ...wide, spp: true, reset: "zero" as const, T: 2 }, batch: 2, imgsz: 160 }],
  ["SNN-YOLOv3 small, 2 of 192, T 4, checkpointing", { model: { ...wide, checkpointing: true }, batch: 2, imgsz: 192 }],
  ["SNN-YOLOv3 small, 2 of 192, T 4, f16", { model: { ...wide, activations: "f16" }, batch: 2, imgsz: 192 }],
];

describe("a plan of training", () => {
  const onTwo = cases.filter(([name]) => ["tiny, 8 of 128", "small, 2 of 192, checkpointing", "SNN-YOLOv3 small, 2 of 192, T 4, checkpointing"].includes(name));
  test.each([...cases.map((of) => [...of, 1] as const), ...onTwo.map((of) => [...of, 2] as const)])("is right within a tenth: %s %o, threads %i", async (_, training, threads) => {
    here = await loadKernels({ threads, dispatch: "fixed" }); // two hold what is left behind
    const plan = planTraining(training).total, found = await measured(training);
    expect(Math.abs(plan / found - 1), `planned ${plan / MB} MB, found ${found / MB} MB`).toBeLessThan(0.1);
  });

  test("is the sum of its parts, and says them in one line", () => {
    const plan = planTraining(cases[0][1]), { parameters, optimizer, activations, workspace, total } = plan;
    expect(parameters + optimizer + activations + workspace).toBe(total);
    for (const part of [parameters, optimizer, activations, workspace]) expect(part).toBeGreaterThan(0);
    expect(showPlan(plan)).toMatch(/^memory: parameters \d+ MB \+ optimizer \d+ MB \+ activations \d+ MB \+ workspace \d+ MB = \d+ MB$/);
  });

  test("grows with the batch, the image and T, and shrinks with checkpointing and with f16", () => {
    const base: PlannedTraining = { model: tiny, batch: 4, imgsz: 128 }, held = (training: PlannedTraining) => planTraining(training).activations;
    for (const [larger, times] of [[{ batch: 8 }, 2], [{ imgsz: 256 }, 4], [{ model: { ...tiny, T: 2 } }, 2]] as const) {
      const ratio = held({ ...base, ...larger }) / held(base);
      expect(ratio).toBeGreaterThan(0.95 * times);
      expect(ratio).toBeLessThan(1.01 * times);
    }
    expect(held({ ...base, model: { ...tiny, checkpointing: true } })).toBeLessThan(0.6 * held(base));
    expect(held({ ...base, model: { ...tiny, activations: "f16" } })).toBeLessThan(0.7 * held(base));
  });

  test("needs no kernels, and leaves those that are loaded alone", async () => {
    here = await loadKernels({ threads: 1 });
    const before = host().memory.reserved;
    planTraining(cases[0][1]);
    expect(host()).toBe(here);
    expect(here.memory.reserved).toBe(before);
  });

  test("over the limit is refused in one sentence, with the batch that fits", () => {
    const training: PlannedTraining = { model: tiny, batch: 64, imgsz: 128 }, limit = 60 * MB, fits = largestBatch(training, limit);
    expect(fits).toBeGreaterThan(0);
    expect(planTraining({ ...training, batch: fits }).total).toBeLessThanOrEqual(limit);
    expect(planTraining({ ...training, batch: fits + 1 }).total).toBeGreaterThan(limit);
    expect(() => expectRoom(training, limit)).toThrow(OverLimitError);
    expect(() => expectRoom(training, limit)).toThrow(new RegExp(`^memory: batch 64 at 128 x 128 needs \\d+ MB, the limit is 60 MB; batch=${fits} fits, and checkpointing=true takes less$`));
    expect(expectRoom({ ...training, batch: fits }, limit).total).toBeLessThanOrEqual(limit);
    expect(() => expectRoom(training, MB)).toThrow("not even batch=1 fits; take a smaller model or imgsz");
  });

  test("of more than one linear memory can be is refused, too", () => {
    expect(() => expectRoom({ model: tiny, batch: 4096, imgsz: 1024 }, 4e9)).toThrow("needs more than the 4295 MB of one linear memory, the limit is 4000 MB; batch=");
  });
});
