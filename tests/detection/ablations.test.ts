/** The ablations of SpikeYOLO: how many parameters each has, that each trains and finds, and that each is what its field says. */
import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { add, backward, bceWithLogits, loadKernels, mul, noGrad, Random, scale, scope, spikesOf, sum, tensor, withHost, withSpikePath, type Host, type SpikePath } from "../../engine/index.ts";
import {
  ablations, FiringRate, foldFor, kernelList, picojoules, predict, predictionNms, profile, SpikeYOLO, spikeYOLO, SpikingYOLOv8, spikingYOLOv8, toReference, type Detector, type HeadName, type SpikeYOLOConfig,
} from "../../detection/index.ts";
import { fold, foldedChains, ilif, SGD, SpikingRepConv } from "../../nn/index.ts";
import { noise } from "./noise.ts";

vi.setConfig({ testTimeout: 60_000 });

let host: Host;
beforeAll(async () => { host = await loadKernels({ threads: 1 }); });
afterAll(() => host.stop());

type Network = SpikeYOLO<any> | SpikingYOLOv8<any>;
type Fields = Partial<SpikeYOLOConfig<HeadName>>;
const SIDE = 64;
const images = (B: number, seed = 1) => noise(B, SIDE, seed);
const boxes = { image: Int32Array.of(0, 1), class: Int32Array.of(0, 2), xywh: Float32Array.of(0.5, 0.5, 0.4, 0.4, 0.5, 0.5, 0.5, 0.3) };

/** Running statistics that come near those of a batch in a few steps. */
const NORM = { eps: 1e-3, momentum: 0.7 };
const tiny = (fields: Fields = {}) => new SpikeYOLO<HeadName>({ ...spikeYOLO.tiny, classes: 3, norm: NORM, ...fields });
/** A network whose norms have seen a few batches, so that it fires in eval mode. */
function awake<M extends Detector>(model: M): M {
  for (let step = 0; step < 3; step++) scope(() => noGrad(() => { model.forward(images(2, step)); }));
  return model.eval() as M;
}

describe("parameters at 80 classes", () => {
  class Counted extends SpikeYOLO<HeadName> { override initialize(): void {} }
  class CountedV8 extends SpikingYOLOv8 { override initialize(): void {} }
  const count = async (fields: Fields): Promise<number> => {
    host = await loadKernels({ threads: 1 }); // each in a memory of its own
    return new Counted({ ...spikeYOLO.s, classes: 80, ...fields }).parameterCount;
  };

  test.each(Object.entries(ablations))("of size s, %s: those of its record", async (_, { fields, parameters }) => { expect(await count(fields)).toBe(parameters); });

  test("those that the paper prints, in millions to a tenth below", () => {
    const printed = { spikeyolo: 23.1, "no-reparam": 23.1, "rep-early": 19.9, "anchor-head": 21.2, silu: 23.1, relu: 23.1 };
    for (const [name, { parameters }] of Object.entries(ablations)) expect(Math.floor(parameters / 1e5) / 10, name).toBe(printed[name as keyof typeof ablations]);
  });

  test.each([[1, 1], [1, 4], [4, 1], [4, 4], [8, 1]])("are the same for T %i and D %i", async (T, D) => { expect(await count({ T, D })).toBe(ablations.spikeyolo.parameters); });

  test("Spiking YOLOv8: those of YOLOv8, 25.9 million in size m", async () => {
    for (const [size, expected] of [["n", 3_157_200], ["s", 11_166_560], ["m", 25_902_640]] as const) {
      host = await loadKernels({ threads: 1 });
      expect(new CountedV8({ ...spikingYOLOv8[size], classes: 80 }).parameterCount, size).toBe(expected);
    }
  });
});

/** 1 for the first of two pictures, 0 for the second: [2, ..]. */
const first = (shape: readonly number[]) => { const n = shape.reduce((a, b) => a * b, 1); return tensor(Float32Array.from({ length: n }, (_, i) => Number(i < n / 2)), shape); };

const variants: [string, () => Network][] = [
  ...Object.entries(ablations).map(([name, { fields }]): [string, () => Network] => [name, () => tiny(fields)]),
  ["late blocks as early ones", () => tiny({ late: "conv" })],
  ["all of them at once", () => tiny({ ...ablations["no-reparam"].fields, ...ablations["rep-early"].fields, ...ablations["anchor-head"].fields, T: 2 })],
  ["Spiking YOLOv8", () => new SpikingYOLOv8({ ...spikingYOLOv8.tiny, classes: 3, norm: NORM })],
  ["Spiking YOLOv8 with anchors and SiLU", () => new SpikingYOLOv8<HeadName>({ ...spikingYOLOv8.tiny, classes: 3, norm: NORM, head: "anchor", activation: "silu" })],
];

describe.each(variants)("%s", (_, make) => {
  beforeAll(async () => { host = await loadKernels({ threads: 1, arithmetic: "strict" }); }); // the same steps on every machine
  afterAll(async () => { host = await loadKernels({ threads: 1 }); });

  test("learns to tell two pictures apart in every output, each weight taking part", () => {
    const model = make(), sgd = new SGD(model.namedParameters(), { lr: 0.05, momentum: 0.9, nesterov: true }), both = images(2), losses: number[] = [];
    for (let step = 0; step < 40; step++) {
      scope(() => {
        const loss = model.outputs(model.forward(both)).map((y) => scale(sum(bceWithLogits(y, first(y.shape))), { by: 1 / y.size })).reduce((a, b) => add(a, b));
        backward(loss);
        losses.push(loss.item());
      });
      if (step === 0) expect(model.namedParameters().filter(([, { grad, requiresGrad }]) => requiresGrad && !grad?.data.some((value) => value !== 0)).map(([name]) => name)).toEqual([]);
      sgd.step({ clip: 10 });
    }
    const ways = scope(() => model.outputs(model.forward(both)).length);
    expect(losses.at(-1)).toBeLessThan(0.6 * ways * Math.LN2); // what says the same of both has at least ways ln 2
  });

  test("has a loss, whose gradients are finite, and finds boxes that are", () => {
    const model = awake(make()).train(), { total } = scope(() => {
      const loss = model.loss(model.forward(images(2)), boxes);
      backward(loss.total);
      return { total: loss.total.item() };
    });
    expect(total).toBeGreaterThan(0);
    for (const [name, { grad }] of model.namedParameters()) expect(grad?.data.every(Number.isFinite) ?? true, name).toBe(true);
    const decoded = scope(() => noGrad(() => { const { data, shape } = model.eval().detect(images(2)); return { data: Array.from(data), shape }; })), row = 4 + 3;
    expect(decoded.shape.slice(0, 1).concat(decoded.shape.slice(2))).toEqual([2, row]);
    decoded.data.forEach((value, i) => { expect(Number.isFinite(value)).toBe(true); if (i % row >= 4) expect(value).toBeLessThanOrEqual(1); });
  });
});

describe("timesteps", () => {
  /** A digest of the bits, which is compared in no time. */
  const digest = (all: readonly (ArrayLike<number> | undefined)[]): string => {
    const hash = createHash("sha256");
    for (const values of all) hash.update(values ? Float32Array.from(values) : "none");
    return hash.digest("hex");
  };
  /** Outputs, gradients and running statistics of a step. */
  const step = (T: number, input: { shape: readonly number[]; data: Float32Array }) => {
    const model = new SpikeYOLO({ ...spikeYOLO.tiny, classes: 3, T }), outputs = scope(() => {
      const prediction = model.forward(input), out = digest(model.outputs(prediction).map(({ data }) => data));
      backward(model.loss(prediction, boxes).total);
      return out;
    });
    return { outputs, gradients: digest(model.parameters().map(({ grad }) => grad?.data)), statistics: digest(model.namedBuffers().map(([, { data }]) => data)) };
  };
  const { shape, data } = images(2), frames = (...of: Float32Array[]) => ({ shape: [of.length, ...shape], data: Float32Array.from(of.flatMap((frame) => [...frame])) });

  test.each([1, 2, 3])("a picture that is shown %i times is the sequence of itself, to the bit, and a sequence brings its own T", (T) => {
    const shown = step(T, { shape, data });
    expect(step(1, frames(...Array.from({ length: T }, () => data)))).toEqual(shown);
    if (T > 1) expect(step(1, { shape, data }).outputs).not.toEqual(shown.outputs);
  });

  test("slices that differ are seen in their order", () => {
    const other = images(2, 8).data, outputs = (...of: Float32Array[]) => step(1, frames(...of)).outputs;
    expect(outputs(data, other)).not.toEqual(outputs(other, data));
    expect(outputs(data, other)).not.toEqual(outputs(data, data));
  });
});

const seen = (model: Detector, run: () => unknown): number => { const rate = new FiringRate(); scope(() => noGrad(() => rate.watch(run))); return rate.mean; };

describe("without re-parameterisation", () => {
  const model = () => awake(tiny(ablations["no-reparam"].fields));

  test("every convolution but the first reads spikes, and nothing folds", () => {
    const network = model(), rows = kernelList(network, images(1), { form: "binary" }).filter(({ name }) => !name.endsWith("(border)"));
    expect(rows.filter(({ reads }) => reads === "reals").map(({ name }) => name)).toEqual(["stem.conv"]);
    expect(rows.filter(({ multiplies }) => multiplies).map(({ name }) => name)).toEqual(["stem.conv"]);
    expect(kernelList(awake(tiny()), images(1)).filter(({ reads }) => reads === "reals").length).toBeGreaterThan(10);
    fold(network);
    expect(foldedChains(network)).toEqual([]);
  });

  test("has the weights of SpikeYOLO under their names, and other spikes", () => {
    const network = model(), plain = awake(tiny()), names = (of: Detector) => of.namedParameters().map(([name]) => name);
    expect(names(network)).toEqual(names(plain));
    expect([...toReference(network).keys()]).toEqual([...toReference(plain).keys()]);
    expect(seen(network, () => network.forward(images(1)))).not.toBe(seen(plain, () => plain.forward(images(1))));
  });

  test.each([1, 2])("integers as multipliers and binary steps give the same bits, T %i", (T) => {
    const network = awake(tiny({ ...ablations["no-reparam"].fields, T })), detect = (path: SpikePath) => scope(() => noGrad(() => withSpikePath(path, () => Array.from(network.detect(images(1, 9)).data))));
    expect(detect("binary")).toEqual(detect("integer"));
    expect(new Set(detect("binary")).size).toBeGreaterThan(100);
  });

  test("a chain fires on the padded frames of the 1x1, and again behind the depthwise 3x3, written out", () => {
    const T = 2, [H, W, C, O] = [3, 2, 2, 3], neuron = ilif(4), random = new Random(4), chain = new SpikingRepConv(C, O, { eps: 0, momentum: 0.1 }, neuron);
    chain.initialize(random);
    for (const values of [chain.reduceNorm.norm.weight.data, chain.reduceNorm.norm.bias.data]) values.forEach((_, c) => { values[c] = random.uniform(1, 3); });
    chain.reduceNorm.norm.runningMean.data[1] = 0.4;
    chain.eval();
    const input = Float32Array.from({ length: T * H * W * C }, () => random.integer(0, 5));
    const got = scope(() => noGrad(() => Array.from(chain.overTime(spikesOf(tensor(input, [T, 1, H, W, C]), { D: 4 })).data)));

    const at = (t: number, y: number, x: number, c: number): number => (y < 0 || y >= H || x < 0 || x >= W ? 0 : input[((t * H + y) * W + x) * C + c]);
    const { scale, shift } = chain.reduceNorm.norm.affineValues(), [reduce, depthwise, expand] = [chain.reduce, chain.depthwise, chain.expand].map(({ weight }) => weight.data);
    const fires = () => { let left = 0; return (x: number): number => { const v = 0.25 * left + x, s = Math.min(Math.max(v, 0), 4), r = Math.round(s); left = v - r; return r; }; };
    const padded = (m: number) => Array.from({ length: H + 2 }, (_, y) => Array.from({ length: W + 2 }, (_, x) => {
      const fire = fires();
      return Array.from({ length: T }, (_, t) => fire(scale[m] * Array.from({ length: C }, (_, i) => reduce[m * C + i] * at(t, y - 1, x - 1, i)).reduce((a, b) => a + b) + shift[m]));
    }));
    const mixed = Array.from({ length: C }, (_, m) => padded(m));
    const near = Array.from({ length: C }, (_, m) => Array.from({ length: H }, (_, y) => Array.from({ length: W }, (_, x) => {
      const fire = fires();
      return Array.from({ length: T }, (_, t) => fire(Array.from({ length: 9 }, (_, k) => depthwise[m * 9 + k] * mixed[m][y + Math.floor(k / 3)][x + (k % 3)][t]).reduce((a, b) => a + b)));
    })));
    const wanted: number[] = [];
    for (let t = 0; t < T; t++) for (let y = 0; y < H; y++) for (let x = 0; x < W; x++) for (let o = 0; o < O; o++) wanted.push(Array.from({ length: C }, (_, m) => expand[o * C + m] * near[m][y][x][t]).reduce((a, b) => a + b));
    expect(near.flat(3).some((s) => s > 0)).toBe(true);
    got.forEach((value, i) => expect(value).toBeCloseTo(wanted[i], 5));
  });
});

describe.each(["silu", "relu"] as const)("with %s", (activation) => {
  test("nothing fires, all convolutions read reals, and the forms of prediction agree", () => {
    const network = awake(tiny({ activation }));
    expect(seen(network, () => network.forward(images(1)))).toBe(0);
    expect(new Set(kernelList(network, images(1)).map(({ reads }) => reads))).toEqual(new Set(["reals"]));
    const nms = { ...predictionNms, confidence: 1e-4 }, [real, integer, binary] = (["real", "integer", "binary"] as const).map((form) => predict(network, images(1), { form, nms })[0]);
    expect(real.length).toBeGreaterThan(10);
    expect(integer).toEqual(binary);
  });

  test("a profile has the MACs of the spiking network, all at the price of a multiplication", () => {
    const [ann, snn] = [{ activation }, {}].map((fields) => profile(awake(new SpikeYOLO({ ...spikeYOLO.tiny, classes: 3, norm: NORM, ...fields })), images(1), { turns: 1 }).total);
    expect([ann.macs, ann.sheetMacs]).toEqual([snn.macs, snn.sheetMacs]);
    expect(ann.synapticOperations).toBe(0);
    expect(ann.picojoules.clean).toBeCloseTo(4.6 * ann.macs, 3);
    expect(snn.picojoules.clean).toBeLessThan(0.5 * ann.picojoules.clean);
  });

  test("folds exactly, borders included", () => {
    const network = awake(tiny({ activation })), run = () => scope(() => noGrad(() => Array.from(network.detect(images(1, 4)).data))), factors = run();
    const counted = awake(tiny());
    expect(foldFor(network, images(1), { cost: picojoules })).toEqual([]); // reals are everywhere, and factors multiply less
    expect(fold(network)).toEqual(fold(counted));
    run().forEach((value, i) => expect(Math.abs(value - factors[i])).toBeLessThan(1e-3 * Math.max(1, Math.abs(factors[i]))));
  });
});

describe("gradients of the whole graph against central differences, with SiLU in float64:", () => {
  const graphs: [string, () => Network][] = [
    ["SpikeYOLO", () => tiny({ activation: "silu" })],
    ["no re-parameterisation, Block-2 early, anchors", () => tiny({ activation: "silu", reparam: "spiking", early: "rep", head: "anchor" })],
    ["Spiking YOLOv8", () => new SpikingYOLOv8({ ...spikingYOLOv8.tiny, classes: 3, norm: NORM, activation: "silu" })],
  ];
  const picture = { shape: [1, 32, 32, 3], data: images(1).data.subarray(0, 32 * 32 * 3) };

  test.each(graphs)("%s; a hundredth more would show", async (_, make) => {
    const double = await loadKernels({ build: "reference64" });
    withHost(double, () => {
      const model = make();
      scope(() => noGrad(() => { model.forward({ shape: [1, 64, 64, 3], data: images(1, 7).data }); }));
      model.eval(); // norms whose statistics stand still
      const random = new Random(6), weights: Float64Array[] = [];
      const value = (): number => scope(() => noGrad(() => model.outputs(model.forward(picture)).reduce((sum, { data }, k) => sum + Array.from(data).reduce((s, y, i) => s + y * weights[k][i], 0), 0)));
      scope(() => {
        const ys = model.outputs(model.forward(picture));
        for (const y of ys) weights.push(Float64Array.from({ length: y.size }, () => random.uniform(-1, 1)));
        backward(ys.map((y, k) => sum(mul(y, tensor(weights[k], y.shape)))).reduce((a, b) => add(a, b)));
      });
      const convolutions = model.namedParameters().filter(([name]) => /(conv|reduce|expand|depthwise|pointwise|predict(\.\d)?)\.weight$/.test(name)), eps = 1e-5;
      let checked = 0;
      for (let k = 0; k < convolutions.length; k += Math.ceil(convolutions.length / 40)) {
        const [name, parameter] = convolutions[k], i = random.integer(0, parameter.size), at = parameter.data[i], got = parameter.grad!.data[i];
        const [above, below] = [at + eps, at - eps].map((moved) => { parameter.data[i] = moved; return value(); });
        parameter.data[i] = at;
        const numeric = (above - below) / (2 * eps), apart = (gradient: number): number => Math.abs(gradient - numeric) / (1e-6 + Math.abs(numeric));
        expect(apart(got), `${name} ${i}: ${got}, central difference ${numeric}`).toBeLessThan(1e-3);
        if (Math.abs(numeric) > 1e-5) { expect(apart(1.01 * got)).toBeGreaterThan(1e-3); checked++; }
      }
      expect(checked).toBeGreaterThan(10);
    });
    await double.stop();
  }, 120_000);
});
