/** What a checkpoint keeps, what it refuses, and that a run goes on from it as if it had never stopped. */
import { beforeAll, describe, expect, it } from "vitest";
import { backward, loadKernels, mul, Random, scope, sum, tensor, type Tensor } from "../../engine/index.ts";
import type { Build } from "../../kernels/load.ts";
import { loadCheckpoint, restore, saveCheckpoint, tensorsOf, WrongModelError, type Checkpoint, type NamedTensors } from "../../nn/checkpoint.ts";
import { EMA } from "../../nn/ema.ts";
import { BatchNorm2d, Conv2d } from "../../nn/layers.ts";
import { Module } from "../../nn/module.ts";
import { SGD } from "../../nn/optimizers.ts";
import { FormatError, readSafetensors, writeSafetensors, type TensorData } from "../../nn/safetensors.ts";
import { referenceRecipe, schedule } from "../../nn/schedules.ts";
import { builds } from "./builds.ts";

class Net extends Module {
  readonly stem = new Conv2d(3, 8, 3, { padding: 1 });
  readonly norm = new BatchNorm2d(8);
  readonly head: Conv2d;
  constructor(classes = 2, seed = 1) {
    super();
    this.head = new Conv2d(8, classes, 1, { bias: true });
    this.initialize(new Random(seed));
  }
  forward(x: Tensor): Tensor { return this.head.forward(this.norm.forward(this.stem.forward(x))); }
}

const bits = (data: ArrayLike<number>): number[] => [...new Uint32Array(Float32Array.from(data).buffer)];
const bitsOf = (tensors: NamedTensors): [string, number[]][] => [...tensors].map(([name, { data }]): [string, number[]] => [name, bits(data)]).sort(([a], [b]) => (a < b ? -1 : 1));

describe.each<Build>(builds)("a run (%s)", (build) => {
  beforeAll(async () => { await loadKernels({ build }); });

  it("goes on from its checkpoint as if it had never stopped", () => {
    const plan = schedule({ ...referenceRecipe, epochs: 2, batch: 64, warmupEpochs: 1, minWarmupIterations: 0 }, 3);
    const start = (seed: number) => {
      const net = new Net(2, seed);
      return { net, ema: new EMA(net), optimizer: new SGD(net.namedParameters(), { lr: 0.01, momentum: 0.9, nesterov: true, weightDecay: plan.weightDecay }), random: new Random(5) };
    };
    const train = (run: ReturnType<typeof start>, epoch: number): number[] => [0, 1, 2].map((i) => {
      const { rates, momentum } = plan.at(epoch, i);
      Object.assign(run.optimizer, { rates, momentum });
      const loss = scope(() => {
        const x = tensor(Float32Array.from({ length: 2 * 5 * 5 * 3 }, () => run.random.normal()), [2, 5, 5, 3]);
        const output = run.net.forward(x), y = sum(mul(output, output));
        backward(y);
        return y.item();
      });
      run.optimizer.step({ clip: 10 });
      run.ema.update();
      return loss;
    });
    const save = ({ net, ema, optimizer, random }: ReturnType<typeof start>): Uint8Array => {
      const { tensors, updates } = ema.state();
      return saveCheckpoint({ model: tensorsOf(net), ema: tensors, momentum: optimizer.state(), state: { epoch: 1, updates, random: random.save() } });
    };

    const whole = start(1);
    train(whole, 0);
    const losses = train(whole, 1);

    const before = start(1);
    train(before, 0);
    const bytes = save(before);

    const after = start(2);
    train(after, 0); // a life of its own, which the checkpoint must replace entirely
    const { model, ema, momentum, state } = loadCheckpoint(bytes);
    const { updates, random } = state as { updates: number; random: number[] };
    restore(after.net, model);
    after.optimizer.load(momentum);
    after.ema.load({ updates, tensors: ema });
    after.random = Random.restore(random);
    expect(save(after)).toEqual(bytes);
    expect(train(after, 1)).toEqual(losses);
    expect(save(after)).toEqual(save(whole));
    expect(save(after)).not.toEqual(bytes);
  });
});

describe("checkpoint", () => {
  beforeAll(async () => { await loadKernels({ build: "reference" }); });

  const parts = (change: Partial<Checkpoint> = {}) => {
    const model = tensorsOf(new Net());
    return { model, state: null, ...change };
  };

  it("gives every value back to the bit", () => {
    const net = new Net();
    new Uint32Array(net.norm.bias.data.buffer, net.norm.bias.ptr, 8).set([0x80000000, 1, 0x7f800000, 0xff800000, 0x7fc00001, 0xffc12345, 0x007fffff, 0x3f800001]);
    const ema = new EMA(net).state().tensors, momentum = new Map([["head.bias", { shape: [2], data: Float32Array.of(-0, 1e-45) }]]);
    const loaded = loadCheckpoint(saveCheckpoint(parts({ model: tensorsOf(net), ema, momentum })));
    const raw = ({ data }: { data: ArrayLike<number> }) => [...new Uint32Array((data as Float32Array).slice().buffer)];
    for (const [group, saved] of Object.entries({ model: tensorsOf(net), ema, momentum } as Record<"model" | "ema" | "momentum", NamedTensors>)) {
      const back = loaded[group as "model"];
      expect([...back.keys()].sort()).toEqual([...saved.keys()].sort());
      for (const [name, tensor] of saved) {
        expect(back.get(name)!.shape).toEqual(tensor.shape);
        expect(raw(back.get(name)!), `${group}.${name}`).toEqual(raw(tensor));
      }
    }
  });

  it("hands the state through as JSON", () => {
    const state = { model: { name: "spikeyolo-n", T: 1, D: 4 }, classes: ["cat", "dög"], epoch: 7, random: [1, 2, 3, 4294967295], lr: 0.1 + 0.2, none: null };
    expect(loadCheckpoint(saveCheckpoint(parts({ state }))).state).toEqual(state);
    expect(loadCheckpoint(saveCheckpoint(parts({ state: undefined }))).state).toBeNull();
  });

  it("leaves out what a run does not have", () => {
    const { model, ema, momentum } = loadCheckpoint(saveCheckpoint(parts()));
    expect([model.size, ema.size, momentum.size]).toEqual([7, 0, 0]);
  });

  it("is a safetensors file that says how its weights lie", () => {
    const { tensors, metadata } = readSafetensors(saveCheckpoint(parts()));
    expect(Object.fromEntries(metadata)).toEqual({ format: "spiketrain", version: "1", layout: "OHWI", state: "null" });
    const weight = tensors.get("model.stem.weight")!;
    expect([weight.dtype, weight.shape]).toEqual(["F32", [8, 3, 3, 3]]);
  });

  it("writes the float64 of the twin as float32", async () => {
    await loadKernels({ build: "reference64" });
    const net = new Net();
    const bytes = saveCheckpoint({ model: tensorsOf(net), state: null });
    const wide = new Map([...tensorsOf(net)].map(([name, { shape, data }]) => [name, { shape, data: Float32Array.from(data) }]));
    await loadKernels({ build: "reference" });
    const narrow = new Net(2, 9);
    restore(narrow, loadCheckpoint(bytes).model);
    expect(bitsOf(tensorsOf(narrow))).toEqual(bitsOf(wide));
  });

  it("refuses a number that JSON would lose", () => {
    expect(() => saveCheckpoint(parts({ state: { best: { fitness: -Infinity } } }))).toThrow("checkpoint: state.fitness is -Infinity, which JSON cannot hold; leave it out");
  });

  describe("restore", () => {
    const refused = (net: Net, tensors: NamedTensors): WrongModelError => {
      const before = bitsOf(tensorsOf(net));
      try {
        restore(net, tensors);
      } catch (error) {
        expect(bitsOf(tensorsOf(net))).toEqual(before);
        expect(error).toBeInstanceOf(WrongModelError);
        return error as WrongModelError;
      }
      throw new Error("restore accepted it");
    };

    it("fills a module with what another one saved", () => {
      const from = new Net(2, 1), to = new Net(2, 2);
      expect(bitsOf(tensorsOf(to))).not.toEqual(bitsOf(tensorsOf(from)));
      restore(to, loadCheckpoint(saveCheckpoint(parts({ model: tensorsOf(from) }))).model);
      expect(bitsOf(tensorsOf(to))).toEqual(bitsOf(tensorsOf(from)));
    });

    it("names the first weight that differs, both shapes, and how many differ", () => {
      const error = refused(new Net(2), tensorsOf(new Net(80)));
      expect(error.message).toBe('restore: "head.weight" is [2, 1, 1, 8] in this model, [80, 1, 1, 8] in the checkpoint; 2 of 7 tensors differ (another model, or another number of classes?)');
      expect(error.differing).toBe(2);
    });

    it("names a weight that is missing", () => {
      const tensors = tensorsOf(new Net(2, 2));
      tensors.delete("norm.runningMean");
      expect(refused(new Net(), tensors).message).toContain('restore: "norm.runningMean" is missing from the checkpoint; 1 of 7 tensors differ');
    });

    it("names a weight that it does not know", () => {
      const tensors = tensorsOf(new Net(2, 2)).set("neck.weight", new Net().head.weight);
      expect(refused(new Net(), tensors).message).toContain('restore: "neck.weight" is in the checkpoint, not in this model; 1 of 8 tensors differ');
    });

    it("does not take equal sizes for equal shapes", () => {
      const tensors: Map<string, { shape: readonly number[]; data: Float32Array | Float64Array }> = new Map(tensorsOf(new Net(2, 2)));
      tensors.set("head.weight", { shape: [8, 1, 1, 2], data: new Float32Array(16) });
      expect(refused(new Net(), tensors).differing).toBe(1);
    });
  });

  describe("loading refuses", () => {
    const good: [string, string][] = [["format", "spiketrain"], ["version", "1"], ["layout", "OHWI"], ["state", "{}"]];
    const file = (metadata: [string, string][], tensors: [string, TensorData][] = []) => () => loadCheckpoint(writeSafetensors(new Map(tensors), new Map(metadata)));
    const without = (key: string, ...instead: [string, string][]) => [...good.filter(([name]) => name !== key), ...instead];
    const one: TensorData = { dtype: "F32", shape: [1], data: Float32Array.of(1) };

    it.each<[string, () => unknown, string]>([
      ["weights of other programs", file([["format", "pt"]]), 'checkpoint: got format "pt", expected "spiketrain" (weights of other programs are imported, not loaded)'],
      ["files without metadata", file([]), 'checkpoint: got format none, expected "spiketrain"'],
      ["versions that it does not know", file(without("version", ["version", "2"])), "checkpoint: got format v2, expected v1 (re-save it with the version that wrote it)"],
      ["files without a version", file(without("version")), "checkpoint: got format v?, expected v1"],
      ["other layouts", file(without("layout", ["layout", "OIHW"])), 'checkpoint: got layout "OIHW", expected "OHWI"'],
      ["a missing state", file(without("state")), "checkpoint: the state is missing"],
      ["a state that is no JSON", file(without("state", ["state", "{epoch: 1}"])), "checkpoint: the state is not JSON"],
      ["tensors that belong nowhere", file(good, [["optimizer.weight", one]]), 'checkpoint: tensor "optimizer.weight" belongs to none of model, ema, momentum'],
      ["tensors without a group", file(good, [["model", one]]), 'checkpoint: tensor "model" belongs to none of model, ema, momentum'],
      ["other types than float32", file(good, [["model.weight", { dtype: "F64", shape: [1], data: Float64Array.of(1) }]]), 'checkpoint: tensor "model.weight" is F64, expected F32'],
    ])("%s", (_, load, message) => {
      expect(load).toThrow(FormatError);
      expect(load).toThrow(message);
    });

    it("accepts the same file when nothing is wrong with it", () => {
      expect([...(file(good, [["model.weight", one]])() as Checkpoint).model.get("weight")!.data]).toEqual([1]);
    });

    it("a file cut off anywhere", () => {
      const bytes = saveCheckpoint(parts());
      for (let length = 0; length < bytes.length; length += 37) expect(() => loadCheckpoint(bytes.subarray(0, length)), `${length} bytes`).toThrow(FormatError);
    });
  });
});
