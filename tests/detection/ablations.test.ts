/** The ablations of SpikeYOLO: how many parameters each has, that each trains and finds, and that each is what its field says. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { backward, gradcheck, loadKernels, noGrad, Random, scope, Tensor, withHost, type Host } from "../../engine/index.ts";
import { ablations, cocoAnchors, FiringRate, kernelList, SpikeYOLO, spikeYOLO, SpikingYOLOv8, spikingYOLOv8, type Detector, type HeadName, type SpikeYOLOConfig, validate } from "../../detection/index.ts";
import { fold, foldedChains, SGD } from "../../nn/index.ts";

let host: Host;
beforeAll(async () => { host = await loadKernels({ threads: 1 }); });
afterAll(() => host.stop());

type Fields = Partial<SpikeYOLOConfig<HeadName>>;
const SIDE = 64;
const images = (B: number, seed = 1) => {
  const random = new Random(seed);
  return { shape: [B, SIDE, SIDE, 3], data: Float32Array.from({ length: B * SIDE * SIDE * 3 }, () => random.uniform()) };
};
const boxes = { image: Int32Array.of(0, 1), class: Int32Array.of(0, 2), xywh: Float32Array.of(0.5, 0.5, 0.4, 0.4, 0.5, 0.5, 0.5, 0.3) };

/** Those of COCO at 640 pixels, for pictures of 160. */
const ANCHORS = [...cocoAnchors].reverse().map((level) => level.map(([width, height]) => [width / 4, height / 4] as const));
/** Running statistics that come near those of a batch in a few steps. */
const NORM = { eps: 1e-3, momentum: 0.7 };
const tiny = (fields: Fields = {}) => new SpikeYOLO<HeadName>({ ...spikeYOLO.tiny, classes: 3, norm: NORM, anchors: ANCHORS, ...fields });
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

const variants: [string, () => Detector][] = [
  ...Object.entries(ablations).map(([name, { fields }]): [string, () => Detector] => [name, () => tiny(fields)]),
  ["late blocks as early ones", () => tiny({ late: "conv" })],
  ["all of them at once", () => tiny({ ...ablations["no-reparam"].fields, ...ablations["rep-early"].fields, ...ablations["anchor-head"].fields, T: 2 })],
  ["Spiking YOLOv8", () => new SpikingYOLOv8({ ...spikingYOLOv8.tiny, classes: 3, norm: NORM })],
  ["Spiking YOLOv8 with anchors and SiLU", () => new SpikingYOLOv8<HeadName>({ ...spikingYOLOv8.tiny, classes: 3, norm: NORM, anchors: ANCHORS, head: "anchor", activation: "silu" })],
];

const STEPS = 80;

/** Two pictures of noise, each with an object of one colour where `boxes` has it. */
const drawn = () => {
  const { shape, data } = images(2), { image, class: classOf, xywh } = boxes;
  image.forEach((b, i) => {
    const [x, y, w, h] = xywh.subarray(4 * i, 4 * i + 4).map((v) => v * SIDE);
    for (let r = Math.round(y - h / 2); r < y + h / 2; r++) for (let c = Math.round(x - w / 2); c < x + w / 2; c++) for (let k = 0; k < 3; k++) data[((b * SIDE + r) * SIDE + c) * 3 + k] = Number(k === classOf[i]);
  });
  return { shape, data };
};

describe.each(variants)("%s", (_, make) => {
  test("learns to find what it did not, every weight taking part", async () => {
    const model = make(), sgd = new SGD(model.namedParameters(), { lr: 0.03, momentum: 0.9, nesterov: true }), both = drawn();
    const found = () => validate(model, (async function* () { yield { images: both, boxes }; })());
    expect((await found()).map50).toBeLessThan(0.05);
    model.train();
    for (let step = 0; step < STEPS; step++) {
      const lr = 0.03 * (1 - step / STEPS);
      sgd.rates = { weight: lr, bias: lr, norm: lr };
      scope(() => backward(model.loss(model.forward(both), boxes).total));
      if (step === 0) expect(model.namedParameters().filter(([name, { grad, requiresGrad }]) => requiresGrad && !grad && !name.startsWith("head.")).map(([name]) => name)).toEqual([]);
      sgd.step({ clip: 10 });
    }
    expect((await found()).map50).toBeGreaterThan(0.45);
  }, 60_000);
});
