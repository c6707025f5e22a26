import { beforeAll, describe, expect, test, vi } from "vitest";
import { Activity } from "../../cli/activity.ts";
import { countStrangers, measure, showEnergy, showReport, table } from "../../cli/report.ts";
import { inOrder } from "../../cli/data.ts";
import { shapes } from "../../datasets/index.ts";
import { SpikeYOLO, spikeYOLO, validate, type Detection, type SpikeYOLOConfig } from "../../detection/index.ts";
import { fire, loadKernels, noGrad, Random, scope, tensor } from "../../engine/index.ts";
import { Conv2d, ilif, Module, RepConv } from "../../nn/index.ts";

vi.setConfig({ testTimeout: 60_000 });

beforeAll(async () => { await loadKernels(); });

const size = 64, batch = 4;
const set = shapes({ split: "test", size: 6, imgsz: size, seed: 3 });

/** A small network that fires: its norms hold the statistics of one batch, and its scores are not all tiny. */
async function awake(config: Partial<SpikeYOLOConfig> = {}): Promise<SpikeYOLO> {
  const model = new SpikeYOLO({ ...spikeYOLO.small, classes: set.classes.length, norm: { eps: 1e-3, momentum: 1 }, ...config });
  for (const { predict } of model.head.class) predict.bias!.data.fill(-0.5);
  for await (const { images } of inOrder(set, { imgsz: size, batch })) { scope(() => noGrad(() => model.forward(images))); break; }
  return model;
}

/** Two convolutions on spikes, one on reals, each in a stage of its own. */
class Toy extends Module {
  readonly stem = new Conv2d(1, 2, 3, { padding: 1 });
  readonly body = [new Conv2d(2, 4, 1), new Conv2d(4, 4, 3, { padding: 1, groups: 4, stride: 2 })];
}

describe("activity", () => {
  test("counts rates, densities and operations of each stage, as by hand", () => {
    const toy = new Toy(), activity = new Activity(toy), D = 4;
    toy.initialize(new Random(1));
    // two pictures of 4 x 4; currents 0, 1, 2 ... 15 per channel pair, so that spikes are 0, 1, 2, 3, 4, 4, 4 ...
    const currents = Float32Array.from({ length: 2 * 16 * 2 }, (_, i) => (i >> 1) % 16);
    activity.watch(2, () => scope(() => noGrad(() => {
      toy.stem.forward(tensor(currents.subarray(0, 32), [2, 4, 4, 1]));
      const s = fire(tensor(currents, [2, 4, 4, 2]), ilif(D));
      toy.body[0].forward(s);
      toy.body[1].forward(fire(tensor(new Float32Array(2 * 16 * 4).fill(2), [2, 4, 4, 4]), ilif(D)));
    })));
    // macs per picture: stem 16 pixels x 9 x 2; 1x1 16 x 8; depthwise at stride 2: 4 pixels x 9 x 4
    const rate = (1 + 2 + 3 + 12 * 4) / 16;
    expect(activity.layers()).toEqual([
      { name: "stem", macs: 288, rate: 0, kind: "mac" },
      { name: "body.0", macs: 128, rate, kind: "accumulate" },
      { name: "body.1", macs: 144, rate: 2, kind: "accumulate" },
    ]);
    const [stem, body] = activity.stages();
    expect(stem).toEqual({ stage: "stem", rate: undefined, density: undefined, macs: 288, realMacs: 288, synapticOperations: 0, millijoules: 288 * 4.6 / 1e9, denseMillijoules: 288 * 4.6 / 1e9 });
    expect(body.rate).toBeCloseTo((64 * rate + 128 * 2) / 192, 12);
    expect(body.density).toBeCloseTo((64 * 15 / 16 + 128) / 192, 12);
    expect(body.synapticOperations).toBe(128 * rate + 144 * 2);
    expect(body.millijoules).toBeCloseTo((128 * rate + 288) * 0.9 / 1e9, 15);
    expect(activity.energy().denseMillijoules).toBeCloseTo((288 + 128 + 144) * 4.6 / 1e9, 15);
    expect(activity.rate).toBeCloseTo(body.rate!, 12);
  });

  test("numbers are per picture, however many are watched", () => {
    const toy = new Toy(), once = new Activity(toy), thrice = new Activity(toy);
    const run = (B: number): void => scope(() => { toy.stem.forward(tensor(new Float32Array(B * 16), [B, 4, 4, 1])); });
    once.watch(1, () => run(1));
    thrice.watch(2, () => run(2));
    thrice.watch(1, () => run(1));
    expect(thrice.layers()).toEqual(once.layers());
  });

  test("all timesteps of a picture count", () => {
    const toy = new Toy(), activity = new Activity(toy);
    activity.watch(2, () => scope(() => { toy.stem.forward(tensor(new Float32Array(3 * 2 * 16), [6, 4, 4, 1])); })); // T 3 x B 2
    expect(activity.layers()[0].macs).toBe(3 * 288);
  });

  test("the factors of a RepConv that read reals are MACs, the one that reads spikes is not", () => {
    class Stage extends Module { readonly late = new RepConv(2, 4, { eps: 1e-3, momentum: 0.03 }); }
    const stage = new Stage().eval(), activity = new Activity(stage);
    activity.watch(1, () => scope(() => noGrad(() => { stage.late.forward(fire(tensor(new Float32Array(32).fill(1), [1, 4, 4, 2]), ilif())); })));
    expect(activity.layers().map(({ name, kind, macs }) => [name, kind, macs])).toEqual([["late.reduce", "accumulate", 16 * 4], ["late.depthwise", "mac", 16 * 18], ["late.expand", "mac", 16 * 8]]);
  });
});

describe("the report", () => {
  test("of a network that fires: integer and binary steps agree to the last bit, at every T and D", async () => {
    for (const config of [{ T: 1, D: 4 }, { T: 2, D: 2 }]) {
      const report = await measure(await awake(config), inOrder(set, { imgsz: size, batch }), { data: "test", classes: set.classes });
      expect(report.forms.pictures).toBe(6);
      expect(report.forms.detections).toBeGreaterThan(10);
      expect(report.forms.binaryDiffers).toBe(0);
      expect(report.firingRate).toBeGreaterThan(0.05);
      expect(report.firingRate).toBeLessThan(config.D);
    }
  });

  test("scores are those of the trainer's validation", async () => {
    const model = await awake();
    const report = await measure(model, inOrder(set, { imgsz: size, batch }), { data: "test", classes: set.classes });
    expect(report.scores).toEqual(await validate(model, inOrder(set, { imgsz: size, batch })));
    expect(report.scores.images).toBe(6);
    expect(report.scores.detections).toBeGreaterThan(0);
  });

  test("its stages are those of the network, and its totals their sums", async () => {
    const report = await measure(await awake(), inOrder(set, { imgsz: size, batch }), { data: "test", classes: set.classes });
    expect(report.stages.map(({ stage }) => stage)).toEqual([
      "stem", "stage2", "down3", "stage3", "down4", "stage4", "down5", "stage5", "pool5", "lateral5", "topDown4", "lateral4", "topDown3", "lateral3",
      "out3", "down3to4", "out4", "down4to5", "out5", "head",
    ]);
    const sum = (key: "macs" | "realMacs" | "synapticOperations" | "millijoules" | "denseMillijoules"): number => report.stages.reduce((total, stage) => total + stage[key], 0);
    for (const key of ["macs", "realMacs", "synapticOperations", "millijoules", "denseMillijoules"] as const) expect(report[key] / sum(key)).toBeCloseTo(1, 9);
    expect(report.millijoules / ((report.realMacs * 4.6 + report.synapticOperations * 0.9) / 1e9)).toBeCloseTo(1, 9);
    expect(report.denseMillijoules / (report.macs * 4.6 / 1e9)).toBeCloseTo(1, 9);
    // the stem reads the picture: 7 x 7 x 3 weights for each of 16 channels, at a quarter of each side
    expect(report.stages[0]).toMatchObject({ macs: 7 * 7 * 3 * 16 * 16 * 16, realMacs: 7 * 7 * 3 * 16 * 16 * 16, rate: undefined });
  });

  test("energy in the sheet's way differs in the first layer alone, and is told layer by layer", async () => {
    const of = async (energy: "clean" | "sheet") => measure(await awake(), inOrder(set, { imgsz: size, batch }), { data: "test", classes: set.classes, energy }), [clean, sheet] = [await of("clean"), await of("sheet")];
    expect(clean.layers.slice(1)).toEqual(sheet.layers.slice(1));
    expect(sheet.layers[0].picojoules / clean.layers[0].picojoules).toBeCloseTo(0.9, 12);
    const lines = showEnergy(sheet);
    expect(lines.length).toBe(1 + sheet.layers.length + 2);
    expect(lines[1]).toMatch(/^stem\.conv +reals /);
    expect(lines.at(-2)).toContain(`${sheet.millijoules.toFixed(4)} mJ`);
    expect(showReport(sheet).find((line) => line.startsWith("energy = "))).toMatch(/^energy = MACs on reals x 4\.14 pJ/);
  });

  test("only as many pictures as asked for are compared in all forms", async () => {
    const { forms, scores } = await measure(await awake(), inOrder(set, { imgsz: size, batch: 2 }), { data: "test", classes: set.classes, compared: 2 });
    expect([forms.pictures, scores.images]).toEqual([2, 6]);
  });

  test("says all of it in lines of at most 140 columns", async () => {
    const report = await measure(await awake(), inOrder(set, { imgsz: size, batch }), { data: "shapes test", classes: set.classes }), lines = showReport(report);
    expect(lines[0]).toMatch(/^shapes test: 6 pictures, \d+ objects$/);
    for (const name of ["all", ...set.classes, "stem", "stage4", "head"]) expect(lines.filter((line) => line.startsWith(`${name} `)).length).toBe(1);
    expect(lines).toContain(`integers as multipliers and T x D binary steps: no detections differ, of ${report.forms.detections} on 6 pictures (compared to the last bit)`);
    expect(lines.find((line) => line.startsWith("energy = "))).toMatch(/MACs on reals x 4\.6 pJ \+ synaptic ops x 0\.9 pJ = .* mJ per picture$/);
    expect(lines.some((line) => line.includes("RepConv"))).toBe(true);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(140);
    const differing = showReport({ ...report, forms: { ...report.forms, binaryDiffers: 3 } });
    expect(differing.some((line) => line.startsWith("integers as multipliers and T x D binary steps: 3 detections differ") && line.includes("mistake in this program"))).toBe(true);
  });
});

describe("detections that are nearly the same", () => {
  const box = (x1: number, score: number, c = 0): Detection => ({ x1, y1: 0, x2: x1 + 100, y2: 100, score, class: c });

  test("are partners within IoU 0.9, a score of 0.05 and one class", () => {
    expect(countStrangers([box(0, 0.5)], [box(2, 0.54)])).toBe(0);
    expect(countStrangers([box(0, 0.5)], [box(6, 0.5)])).toBe(2);
    expect(countStrangers([box(0, 0.5)], [box(0, 0.56)])).toBe(2);
    expect(countStrangers([box(0, 0.5)], [box(0, 0.5, 1)])).toBe(2);
  });

  test("are partners once: what is left over counts", () => {
    expect(countStrangers([box(0, 0.5), box(1, 0.5)], [box(0, 0.5)])).toBe(1);
    expect(countStrangers([box(1, 0.5), box(0, 0.5)], [box(0, 0.5), box(1, 0.5)])).toBe(0);
    expect(countStrangers([], [box(0, 0.5), box(300, 0.5)])).toBe(2);
    expect(countStrangers([], [])).toBe(0);
  });
});

test("a table is as wide as what is in it", () => {
  expect(table(["a", "bb"], [["long", "1"], ["x", "22222"]])).toEqual(["a        bb", "long      1", "x     22222"]);
});
