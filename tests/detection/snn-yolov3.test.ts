import { beforeAll, describe, expect, it } from "vitest";
import { anchorGains, anchorLoss, assignAnchors } from "../../detection/anchor-loss.ts";
import type { AnchorPrediction } from "../../detection/anchor-head.ts";
import { SNNYOLOv3, snnYOLOv3, type SNNYOLOv3Config } from "../../detection/snn-yolov3.ts";
import { train, type TrainingData, type TrainRecipe } from "../../detection/trainer.ts";
import { darknetCells } from "../../detection/snn-yolov3-weights.ts";
import { loadReference, toReference } from "../../detection/weights.ts";
import { backward, gradcheck, loadKernels, noGrad, Random, rehearse, scope, Spikes, tensor, withHost, type Host } from "../../engine/index.ts";
import { observeConvolutions, SGD } from "../../nn/index.ts";
import type { BoxTargets } from "../../detection/loss.ts";

let twin: Host;
beforeAll(async () => {
  twin = await loadKernels({ build: "reference64" });
  await loadKernels();
});

const small: Partial<SNNYOLOv3Config> = { ...snnYOLOv3.tiny, width: 0.0625, classes: 2, T: 3 };
const picture = (B = 2, side = 64) => { const random = new Random(3); return { shape: [B, side, side, 3], data: Float32Array.from({ length: B * side * side * 3 }, () => random.uniform(0, 1)) }; };
const boxes: BoxTargets = { image: Int32Array.of(0, 0, 1), class: Int32Array.of(0, 1, 1), xywh: Float32Array.of(0.3, 0.4, 0.3, 0.5, 0.7, 0.7, 0.4, 0.3, 0.5, 0.5, 0.8, 0.7) };
const gains = { box: 3.54, objectness: 12, classes: 1.5 };

describe("SNN-YOLOv3", () => {
  it.each([["paper", 61_626_049, 75, 105], ["released", 62_675_649, 76, 112]] as const)("as the %s has it has %i parameters at 20 classes, in %i convolutions", (name, parameters, convolutions, last) => {
    rehearse(() => {
      const model = new SNNYOLOv3(snnYOLOv3[name]), cells = darknetCells(model);
      expect(model.parameterCount).toBe(parameters);
      expect(cells.length).toBe(convolutions);
      expect(cells.at(-1)!.index).toBe(last);
      expect(new Set(cells.map(({ conv }) => conv)).size).toBe(convolutions);
    });
  });

  it("reads spikes with values beyond one where a shortcut has added some, and nowhere reals but in the picture", () => {
    const model = new SNNYOLOv3({ ...small, depth: [1, 2, 8, 1, 1] }), largest: number[] = [];
    let reals = 0;
    model.eval();
    scope(() => noGrad(() => observeConvolutions((_, x) => { if (x instanceof Spikes) largest.push(x.D); else reals++; }, () => model.forward(picture()))));
    expect(reals).toBe(1);
    expect(Math.max(...largest)).toBe(9);
  });

  it("makes the same of a picture whether the first convolution runs once or T times, in training too", () => {
    const made = [true, false].map((encodeOnce) => {
      const model = new SNNYOLOv3({ ...small, encodeOnce });
      const heads = scope(() => model.forward(picture()).heads.map((head) => [...head.data]));
      return { heads, mean: [...model.stem.norm.runningMean.data], variance: [...model.stem.norm.runningVariance.data] };
    });
    made[0].heads.forEach((head, k) => head.forEach((value, i) => expect(value).toBeCloseTo(made[1].heads[k][i], 4)));
    made[0].mean.forEach((value, i) => expect(value).toBeCloseTo(made[1].mean[i], 7));
    made[0].variance.forEach((value, i) => expect(value).toBeCloseTo(made[1].variance[i], 7));
  });

  it("runs with leaky ReLUs on the same graph, with the same weights", () => {
    const spiking = new SNNYOLOv3(small), leaky = new SNNYOLOv3({ ...small, activation: "leaky", T: 1, seed: 9 });
    expect(loadReference(leaky, toReference(spiking))).toEqual([]);
    expect([...leaky.head8.predict.weight.data]).toEqual([...spiking.head8.predict.weight.data]);
    const found = scope(() => [...leaky.eval().detect(picture()).data]);
    expect(found.length).toBe(2 * 3 * (4 + 16 + 64) * 6);
    expect(found.every(Number.isFinite)).toBe(true);
  });

  it("decodes by rate, mean and sum; the sum is T times the mean", () => {
    const heads = (["mean", "sum", "rate"] as const).map((decode) => { const model = new SNNYOLOv3({ ...small, decode }); model.eval(); return scope(() => noGrad(() => [...model.forward(picture()).heads[2].data])); });
    heads[0].forEach((value, i) => expect(heads[1][i]).toBeCloseTo(3 * value, 4));
    expect(heads[2].every((rate) => [0, 1, 2, 3].some((n) => Math.abs(rate - n / 3) < 1e-6))).toBe(true);
  });

  it("takes a sequence with its own T", () => {
    const model = new SNNYOLOv3(small).eval(), { data, shape: [B, H, W, C] } = picture(2), frames = { shape: [2, 1, H, W, C], data };
    expect(B).toBe(2);
    expect(scope(() => model.detect(frames).shape)).toEqual([1, 252, 6]);
  });

  const anchors = [[[51, 45], [40, 40], [60, 60]], [[19, 32], [26, 19], [30, 30]], [[8, 8], [12, 12], [16, 10]]] as const;

  /** The boxes of the batch as red and green rectangles on black. */
  function rectangles(): { shape: number[]; data: Float32Array } {
    const data = new Float32Array(2 * 64 * 64 * 3);
    boxes.image.forEach((image, i) => {
      const [x, y, w, h] = boxes.xywh.subarray(4 * i, 4 * i + 4);
      for (let row = 0; row < 64; row++) for (let column = 0; column < 64; column++) {
        if (Math.abs(column / 64 - x) < w / 2 && Math.abs(row / 64 - y) < h / 2) data[((image * 64 + row) * 64 + column) * 3 + boxes.class[i]] = 1;
      }
    });
    return { shape: [2, 64, 64, 3], data };
  }

  it("learns one batch", () => {
    const model = new SNNYOLOv3({ ...small, width: 0.125, anchors }), optimizer = new SGD(model.namedParameters(), { lr: 0.02, momentum: 0.9 }), losses: { box: number; classes: number; total: number }[] = [];
    for (let step = 0; step <= 60; step++) {
      losses.push(scope(() => {
        const { total, box, classes } = anchorLoss(model.forward(rectangles()), boxes, gains);
        backward(total);
        return { box, classes, total: total.item() };
      }));
      optimizer.step({ clip: 10 });
    }
    const [first, last] = [losses[0], losses.at(-1)!];
    expect(last.box).toBeLessThan(0.7 * first.box);
    expect(last.classes).toBeLessThan(0.4 * first.classes);
    expect(last.total).toBeLessThan(0.7 * first.total);
  });

  it("goes through the trainer: epochs, averaged weights, validation, and a checkpoint to go on from; twice the same", async () => {
    const batch = { images: rectangles(), boxes }, data: TrainingData = {
      batchesPerEpoch: 2,
      async *train(_, from) { for (let i = from; i < 2; i++) yield batch; },
      async *validation() { yield batch; },
    };
    const recipe = { lr0: 0.01, lrf: 0.1, momentum: 0.9, weightDecay: 5e-4, warmupEpochs: 0, warmupMomentum: 0.8, warmupBiasLr: 0.01, nbs: 2, batch: 2, epochs: 2, clip: 10, ema: {} };
    const run = async (epochs: number, resume?: Uint8Array) => {
      const model = new SNNYOLOv3({ ...small, anchors }), kinds: string[] = [];
      let last: Uint8Array | undefined;
      const store = { async write(name: "last" | "best", bytes: Uint8Array) { if (name === "last") last = bytes.slice(); } };
      for await (const event of train(model, data, { ...recipe, epochs }, { store, resume })) {
        kinds.push(event.kind);
        if (event.kind === "step") expect(event.firingRate).toBeGreaterThan(0);
      }
      return { kinds, last: last!, weights: [...model.head8.predict.weight.data] };
    };
    const whole = await run(2), again = await run(2);
    expect(whole.kinds).toEqual(["step", "step", "epoch", "step", "step", "epoch", "end"]);
    expect(again.weights).toEqual(whole.weights);
    const going = await run(3, whole.last);
    expect(going.kinds).toEqual(["step", "step", "epoch", "end"]);
    expect(going.weights).not.toEqual(whole.weights);
  });

  it("takes what its recipe says of gathered batches, of decay and of gains", async () => {
    const batch = { images: rectangles(), boxes };
    const weights = async (changes: Partial<TrainRecipe>): Promise<Map<string, number[]>> => {
      const model = new SNNYOLOv3({ ...small, anchors });
      const data: TrainingData = { batchesPerEpoch: 2, async *train() { yield batch; yield batch; }, async *validation() { yield batch; } };
      const recipe: TrainRecipe = { lr0: 0.01, lrf: 1, momentum: 0.9, weightDecay: 0, warmupEpochs: 0, warmupMomentum: 0.9, warmupBiasLr: 0, nbs: 4, batch: 2, epochs: 1, clip: 1e9, ema: {}, ...changes };
      for await (const event of train(model, data, recipe)) if (event.kind === "epoch") break;
      return new Map(model.namedParameters().map(([name, { data }]) => [name, [...data]]));
    };
    const sum = await weights({}), mean = await weights({ gather: "mean" }), twice = await weights({ gather: "mean", lr0: 0.02 });
    expect(mean).not.toEqual(sum);
    expect(twice).toEqual(sum); // halves and doubles are exact
    const some = await weights({ weightDecay: 0.1 }), all = await weights({ weightDecay: 0.1, decaying: ["weight", "norm", "bias"] });
    expect(some.get("stem.norm.weight")).toEqual(sum.get("stem.norm.weight"));
    expect(all.get("stem.norm.weight")).not.toEqual(sum.get("stem.norm.weight"));
    expect(all.get("stem.conv.weight")).toEqual(some.get("stem.conv.weight"));
    const published = anchorGains(2, 64);
    expect(await weights({ gains: { box: published.box, classes: published.classes, dfl: published.objectness } })).toEqual(sum);
    expect(await weights({ gains: { box: published.box, classes: 2 * published.classes, dfl: published.objectness } })).not.toEqual(sum);
  });

  it("refuses what it cannot be in one sentence", () => {
    expect(() => new SNNYOLOv3({ width: 0.01 })).toThrow("SNNYOLOv3: width 0.01 gives 0.32 channels in the stem, expected an even number of at least 2");
    expect(() => new SNNYOLOv3({ ...small, depth: [1, 1] })).toThrow("SNNYOLOv3: depth expects the blocks of five stages, got [1, 1]");
    expect(() => new SNNYOLOv3({ ...small, T: 0 })).toThrow("SNNYOLOv3: T must be a whole number from 1, got 0");
    expect(() => scope(() => new SNNYOLOv3(small).forward(picture(1, 48)))).toThrow(/sides that are multiples of 32, got \[1, 48, 48, 3\]/);
    expect(() => scope(() => new SNNYOLOv3({ ...small, depth: [1, 15, 1, 1, 1] }).forward(picture()))).toThrow(/addSpikes: a spike holds values up to 15, got values up to 15 and 1 to add/);
  });
});

describe("the loss of anchors", () => {
  const strides = [32, 16, 8], anchors = [[[20, 30], [40, 40], [60, 20]], [[12, 10], [20, 20], [30, 16]], [[4, 8], [8, 8], [16, 6]]] as const;
  const shapes = strides.map((stride) => [2, 64 / stride, 64 / stride, 21]);
  const prediction = (heads: AnchorPrediction["heads"]): AnchorPrediction => ({ heads, strides, anchors, classes: 2 });

  it.each([[false, 1], [true, 1], [false, 0.5]])("has the gradients that differences find (squared %s, gr %f)", (squared, gr) => withHost(twin, () => {
    // targets of objectness hold GIoU, through which no gradient goes: weighed with 0 it is left out of what differences see
    const random = new Random(8), inputs = shapes.map((shape) => ({ shape, values: Float64Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.uniform(-1, 1)) }));
    gradcheck((...heads) => anchorLoss(prediction(heads), boxes, { ...gains, objectness: 0, squared, gr }).total, inputs);
    gradcheck((...heads) => anchorLoss(prediction(heads), boxes, { box: 0, classes: 0, objectness: 2, squared, gr: 0 }).total, inputs);
  }));

  it("sends none through the target of objectness, which differences would see", () => withHost(twin, () => {
    const random = new Random(8), inputs = shapes.map((shape) => ({ shape, values: Float64Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.uniform(-1, 1)) }));
    expect(() => gradcheck((...heads) => anchorLoss(prediction(heads), boxes, { box: 0, classes: 0, objectness: 200 }).total, inputs)).toThrow(/backward gives/);
  }));

  it("lays a centre on the far edge into the last cell, and puts an object at every anchor that fits", () => {
    const found = scope(() => assignAnchors(prediction(shapes.map((shape) => tensor(new Float32Array(shape.reduce((a, b) => a * b)), shape))), { image: Int32Array.of(1), class: Int32Array.of(1), xywh: Float32Array.of(1, 0.5, 0.25, 0.25) }));
    expect([...found[1].anchor]).toEqual([0, 1, 2]);
    expect([...found[1].column]).toEqual([3, 3, 3]);
    expect([...found[1].box.subarray(0, 4)]).toEqual([1, 0, 1, 1]);
    expect([...found[1].image, ...found[1].row]).toEqual([1, 1, 1, 2, 2, 2]);
  });

  it("is finite without objects, and grows with the picture as published", () => {
    const none: BoxTargets = { image: new Int32Array(0), class: new Int32Array(0), xywh: new Float32Array(0) };
    const { total, positives, box } = scope(() => { const found = anchorLoss(prediction(shapes.map((shape) => tensor(new Float32Array(shape.reduce((a, b) => a * b)), shape))), none, gains); return { ...found, total: found.total.item(), targets: [] }; });
    expect([positives, box]).toEqual([0, 0]);
    expect(total).toBeCloseTo(12 * 3 * Math.LN2, 4);
    expect(anchorGains(20, 416)).toEqual({ box: 3.54, objectness: 83.59, classes: 9.35 });
  });

  it("refuses objects of a class or an image that is not there", () => {
    const heads = (): AnchorPrediction => prediction(shapes.map((shape) => tensor(new Float32Array(shape.reduce((a, b) => a * b)), shape)));
    expect(() => scope(() => anchorLoss(heads(), { ...boxes, class: Int32Array.of(0, 2, 1) }, gains))).toThrow("anchorLoss: object 1 has class 2, the model has 2 classes");
    expect(() => scope(() => anchorLoss(heads(), { ...boxes, image: Int32Array.of(0, 0, 2) }, gains))).toThrow("anchorLoss: object 2 is of image 2, the batch has 2");
    expect(() => scope(() => anchorLoss(heads(), { ...boxes, class: Int32Array.of(0) }, gains))).toThrow(/one class and one box per object/);
  });
});
