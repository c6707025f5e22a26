/** The average of a module against the reference's table, and how it is lent out. */
import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { loadKernels, Parameter, Random } from "../../engine/index.ts";
import type { Build } from "../../kernels/load.ts";
import { tensorsOf, WrongModelError } from "../../nn/checkpoint.ts";
import { EMA } from "../../nn/ema.ts";
import { BatchNorm2d, Conv2d } from "../../nn/layers.ts";
import { Buffer, Module } from "../../nn/module.ts";
import { builds } from "./builds.ts";

interface Table { decay: number; tau: number; start: number; rows: { update: number; decay: number; source: number; ema_f32: number }[]; decay_at: Record<string, number> }
const table = JSON.parse(readFileSync(new URL("../fixtures/ema.json", import.meta.url), "utf8")) as Table;

class Pair extends Module {
  readonly weight = new Parameter([5]);
  readonly running = new Buffer([5]);
  set(value: number): void { for (const x of [this.weight, this.running]) x.data.fill(value); }
}

class Net extends Module {
  readonly conv = new Conv2d(3, 5, 3);
  readonly norm = new BatchNorm2d(5);
}

/** All values of a module, copied. */
const snapshot = (module: Module): Map<string, number[]> => new Map([...tensorsOf(module)].map(([name, { data }]) => [name, [...data]]));

/** A net, its average over some updates, and the values of both. */
function averaged() {
  const net = new Net();
  net.initialize(new Random(1));
  const ema = new EMA(net, { decay: 0.5, tau: 1 });
  for (let i = 0; i < 3; i++) {
    for (const x of tensorsOf(net).values()) x.data.set(x.data.map((v) => v + 1));
    ema.update();
  }
  const raw = snapshot(net), averages = new Map([...ema.state().tensors].map(([name, { data }]) => [name, [...data]]));
  expect(averages).not.toEqual(raw);
  return { net, ema, raw, averages };
}

describe.each<Build>([...builds, "reference64"])("ema (%s)", (build) => {
  beforeAll(async () => { await loadKernels({ build }); });

  it("follows the reference's averages, parameters and buffers alike", () => {
    const module = new Pair();
    module.set(table.start);
    const ema = new EMA(module, { decay: table.decay, tau: table.tau });
    for (const { update, source, ema_f32 } of table.rows) {
      module.set(source);
      ema.update();
      expect(ema.updates).toBe(update);
      for (const [name, { data }] of ema.state().tensors) {
        for (const average of data) expect(Math.abs(average - ema_f32), `${name}, update ${update}`).toBeLessThanOrEqual(ema_f32 * 2 ** -23);
      }
    }
  });

  it("lends the averages to the module and takes them back", () => {
    const { net, ema, raw, averages } = averaged();
    expect(ema.within(() => snapshot(net))).toEqual(averages);
    expect(snapshot(net)).toEqual(raw);
  });

  it("takes the averages back after a promise, and after a promise that fails", async () => {
    const { net, ema, raw, averages } = averaged();
    const during = ema.within(async () => { await Promise.resolve(); return snapshot(net); });
    expect(snapshot(net)).toEqual(averages);
    expect(await during).toEqual(averages);
    expect(snapshot(net)).toEqual(raw);
    await expect(ema.within(async () => { await Promise.resolve(); throw new Error("no images"); })).rejects.toThrow("no images");
    expect(snapshot(net)).toEqual(raw);
  });

  it("takes the averages back from a run that throws", () => {
    const { net, ema, raw, averages } = averaged();
    expect(() => ema.within(() => { throw new Error("no images"); })).toThrow("no images");
    expect(snapshot(net)).toEqual(raw);
    expect(ema.within(() => snapshot(net))).toEqual(averages);
  });

  it("does nothing else while the averages are in the module", () => {
    const { net, ema, raw } = averaged();
    const sentence = (call: string) => `ema: ${call}() while the averages are in the module; wait until within() is done`;
    const { tensors, updates } = ema.state();
    expect(() => ema.within(() => ema.update())).toThrow(sentence("update"));
    expect(() => ema.within(() => ema.within(() => 0))).toThrow(sentence("within"));
    expect(() => ema.within(() => ema.state())).toThrow(sentence("state"));
    expect(() => ema.within(() => ema.load({ tensors, updates }))).toThrow(sentence("load"));
    expect(ema.updates).toBe(3);
    expect(snapshot(net)).toEqual(raw);
  });

  it("averages a tensor that two parts share once", () => {
    class Twice extends Module {
      readonly a = new Parameter([1], "weight", [1]);
      readonly b = this.a;
    }
    const module = new Twice(), ema = new EMA(module, { decay: 0.5, tau: 1e-9 });
    module.a.data[0] = 3;
    ema.update();
    expect([...ema.state().tensors].map(([name, { data }]) => [name, data[0]])).toEqual([["a", 2], ["b", 2]]);
    expect(ema.within(() => module.a.data[0])).toBe(2);
  });

  it("goes on from a saved state with the same bits", () => {
    const { net, ema } = averaged();
    const again = new EMA(net, { decay: 0.5, tau: 1 });
    again.load(ema.state());
    for (const one of [ema, again]) one.update();
    expect(again.updates).toBe(4);
    for (const [name, { data }] of ema.state().tensors) expect(again.state().tensors.get(name)!.data, name).toEqual(data);
  });

  it("refuses the averages of another module and keeps its own", () => {
    const { ema, averages } = averaged();
    const load = () => ema.load({ updates: 9, tensors: tensorsOf(new Pair()) });
    expect(load).toThrow(WrongModelError);
    expect(load).toThrow('ema: "conv.weight" is missing from the checkpoint; 7 of 7 tensors differ');
    expect(() => ema.load({ ...ema.state(), updates: -1 })).toThrow("ema: updates is -1, expected an integer from 0 up");
    expect(ema.updates).toBe(3);
    expect(new Map([...ema.state().tensors].map(([name, { data }]) => [name, [...data]]))).toEqual(averages);
  });
});

describe("ema", () => {
  it("decays as the reference at every age", async () => {
    await loadKernels({ build: "reference64" });
    const module = new Pair();
    const ema = new EMA(module, { decay: table.decay, tau: table.tau });
    const ages = [...Object.entries(table.decay_at), ...table.rows.map(({ update, decay }): [number, number] => [update, decay])];
    expect(ages.length).toBeGreaterThan(15);
    for (const [update, decay] of ages) {
      module.set(1);
      const { tensors } = ema.state();
      for (const { data } of tensors.values()) data.fill(0);
      ema.updates = Number(update) - 1;
      ema.update();
      expect(1 - tensors.get("weight")!.data[0], `update ${update}`).toBeCloseTo(decay, 15); // 0 d + 1 (1 - d)
    }
  });

  it("gives the same bits in every float32 build", async () => {
    const runs: Map<string, number[]>[] = [];
    for (const build of builds) {
      await loadKernels({ build });
      runs.push(averaged().averages);
    }
    expect(runs.length).toBeGreaterThan(1);
    for (const run of runs) expect(run).toEqual(runs[0]);
  });

  it("says which option is wrong", async () => {
    await loadKernels({ build: "reference" });
    expect(() => new EMA(new Pair(), { decay: 1.5 })).toThrow("ema: decay is 1.5, expected 0 to 1");
    expect(() => new EMA(new Pair(), { tau: 0 })).toThrow("ema: tau is 0, expected a number above 0");
  });
});
