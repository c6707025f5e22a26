/** The schedule against tables of the reference trainer: exact to the last bit of a float64, except the cosine. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { referenceRecipe, schedule, snnYOLOv3Recipe, type Recipe } from "../../nn/schedules.ts";

type Row = [epoch: number, iteration: number, n: number, bias: number, weight: number, norm: number, momentum: number, accumulate: number, step: boolean];
interface Table {
  settings: Record<"batches_per_epoch" | "epochs" | "batch" | "nbs" | "lr0" | "lrf" | "momentum" | "weight_decay" | "warmup_epochs" | "warmup_momentum" | "warmup_bias_lr", number> & { cos_lr: boolean };
  scaled_weight_decay: number;
  warmup_iterations: number;
  total_optimizer_steps: number;
  rows: Row[];
}
const tables = JSON.parse(readFileSync(new URL("../fixtures/schedules.json", import.meta.url), "utf8")) as Record<"schedule_linear" | "schedule_linear_repo" | "schedule_cosine", Table>;

const recipeOf = ({ settings: s }: Table): Recipe => ({
  lr0: s.lr0, lrf: s.lrf, momentum: s.momentum, weightDecay: s.weight_decay, warmupEpochs: s.warmup_epochs, warmupMomentum: s.warmup_momentum,
  warmupBiasLr: s.warmup_bias_lr, nbs: s.nbs, batch: s.batch, epochs: s.epochs, cosine: s.cos_lr,
});
const scheduleOf = (table: Table, change: Partial<Recipe> = {}) => schedule({ ...recipeOf(table), ...change }, table.settings.batches_per_epoch);

/** Every iteration of a run, in order. */
function* run({ settings }: Table, plan: ReturnType<typeof schedule>) {
  for (let epoch = 0; epoch < settings.epochs; epoch++) {
    for (let i = 0; i < settings.batches_per_epoch; i++) yield plan.at(epoch, i);
  }
}

describe.each(["schedule_linear", "schedule_linear_repo", "schedule_cosine"] as const)("%s", (name) => {
  const table = tables[name], plan = scheduleOf(table);

  it("follows the reference in rates, momentum, accumulation and steps", () => {
    expect(table.rows.length).toBeGreaterThan(20);
    for (const [epoch, iteration, , bias, weight, norm, momentum, accumulate, step] of table.rows) {
      expect(plan.at(epoch, iteration), `epoch ${epoch} iteration ${iteration}`).toEqual({ rates: { bias, weight, norm }, momentum, accumulate, step });
    }
  });

  it("warms up for as many iterations, scales the decay and steps as often as the reference", () => {
    expect(plan.warmupIterations).toBe(table.warmup_iterations);
    expect(plan.weightDecay).toBe(table.scaled_weight_decay);
    expect([...run(table, plan)].filter(({ step }) => step)).toHaveLength(table.total_optimizer_steps);
  });
});

describe("schedule", () => {
  const table = tables.schedule_linear_repo; // 12 epochs of 25 batches, warm-up to iteration 250
  const line = (epoch: number) => 0.01 * ((1 - epoch / 12) * (1 - 0.004) + 0.004);

  it("runs an epoch late after warm-up, and on time where that is asked for", () => {
    const late = scheduleOf(table, { warmupEpochs: 4 }), onTime = scheduleOf(table, { warmupEpochs: 4, oneEpochLate: false });
    const rates = (plan: typeof late) => [4, 5, 6, 11].map((epoch) => plan.at(epoch, 24).rates.weight);
    expect(rates(late)).toEqual([4, 4, 5, 10].map(line)); // warm-up ended in epoch 4, which keeps its own rate
    expect(rates(onTime)).toEqual([4, 5, 6, 11].map(line));
  });

  it("starts at once without warm-up", () => {
    const plan = scheduleOf(table, { warmupEpochs: 0 });
    expect(plan.warmupIterations).toBe(-1);
    expect([0, 1, 2].map((epoch) => plan.at(epoch, 0).rates.bias)).toEqual([0, 0, 1].map(line));
    expect(plan.at(0, 0)).toMatchObject({ momentum: 0.937, accumulate: 2, step: false });
    expect(plan.at(0, 1).step).toBe(true);
  });

  it("warms up for at least a hundred iterations, or for fewer where a small run says so", () => {
    expect(scheduleOf(table, { warmupEpochs: 1 }).warmupIterations).toBe(100);
    const small = scheduleOf(table, { warmupEpochs: 0.1, minWarmupIterations: 0 }); // 2.5 iterations: the half goes to the even 2
    expect(small.warmupIterations).toBe(2);
    expect([0, 1, 2, 3].map((i) => small.at(0, i).rates.weight)).toEqual([0, 0.005, 0.01, 0.01]);
  });

  it("steps at fixed distances after warm-up, without regard to epochs", () => {
    const steps = [...run(table, scheduleOf(table, { warmupEpochs: 0, batch: 20 }))].flatMap(({ step }, n) => (step ? [n] : []));
    expect(steps).toEqual(Array.from({ length: 100 }, (_, i) => 3 * i + 2)); // 64/20 rounds to 3
  });

  it("never accumulates less than one batch, and decays with what it sees", () => {
    const plan = scheduleOf(table, { batch: 256 });
    expect(new Set([...run(table, plan)].map(({ accumulate }) => accumulate))).toEqual(new Set([1]));
    expect(plan.weightDecay).toBe(5e-4 * 4);
  });

  it("reproduces the last rate of the published run", () => {
    const { rates } = schedule(referenceRecipe, 2958).at(299, 0); // 118 287 images in batches of 40
    expect(rates.weight.toPrecision(4)).toBe("0.0001064");
  });

  it("may end before its warm-up does", () => {
    const plan = schedule({ ...referenceRecipe, epochs: 2 }, 10);
    expect(plan.at(1, 9)).toMatchObject({ accumulate: 1, step: true });
    expect(plan.at(1, 9).rates.weight).toBeCloseTo((19 / 100) * 0.01 * (0.5 * 0.996 + 0.004), 15);
  });

  it("of SNN-YOLOv3 steps after each batch of the first epoch, warming up from a thousandth, then after every sixteenth, on half a cosine", () => {
    const batches = 1429, plan = schedule(snnYOLOv3Recipe, batches); // VOC2012 train in batches of 4
    expect(plan.warmupIterations).toBe(1000);
    expect(plan.weightDecay).toBe(5e-4);
    const rate = (epoch: number, i: number) => plan.at(epoch, i).rates.weight / 1e-3;
    expect([rate(0, 0), rate(0, 500), rate(0, 1000), rate(0, 1428)].map((x) => Number(x.toFixed(12)))).toEqual([0.001, 0.5005, 1, 1]);
    for (const epoch of [1, 100, 199]) expect(rate(epoch, 7)).toBeCloseTo(((1 + Math.cos((Math.PI * epoch) / 200)) / 2) * 0.99 + 0.01, 12);
    expect(Array.from({ length: batches }, (_, i) => plan.at(0, i)).every(({ step, accumulate, momentum }) => step && accumulate === 1 && momentum === 0.937)).toBe(true);
    expect(Array.from({ length: 48 }, (_, i) => plan.at(1, i)).flatMap(({ step, accumulate }, i) => (step ? [[i, accumulate]] : []))).toEqual([[15, 16], [31, 16], [47, 16]]);
    expect(plan.at(0, 0).rates.bias / 1e-3).toBeCloseTo(0.001, 12);
  });

  it("decays as it is told where the mean of batches is taken", () => {
    expect(schedule({ ...snnYOLOv3Recipe, batch: 5 }, 10).weightDecay).toBe(5e-4);
    expect(schedule({ ...snnYOLOv3Recipe, batch: 5, gather: "sum" }, 10).weightDecay).toBeCloseTo((5e-4 * 65) / 64, 12);
  });

  it("names the field that is wrong", () => {
    expect(() => schedule({ ...referenceRecipe, batch: 0 }, 10)).toThrow("schedule: batch is 0, expected an integer from 1 up");
    expect(() => schedule(referenceRecipe, 2.5)).toThrow("schedule: batchesPerEpoch is 2.5, expected an integer from 1 up");
    expect(() => schedule({ ...referenceRecipe, lr0: NaN }, 10)).toThrow("schedule: lr0 is NaN, expected a number from 0 up");
    expect(() => schedule(referenceRecipe, 10).at(300, 0)).toThrow("schedule: epoch 300 is none of 0 to 299");
    expect(() => schedule(referenceRecipe, 10).at(0, 10)).toThrow("schedule: iteration 10 is none of 0 to 9");
  });
});
