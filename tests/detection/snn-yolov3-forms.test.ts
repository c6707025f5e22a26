/** SNN-YOLOv3 in each form in which it runs, what a profile says of it, and the families that it is one of. */
import { beforeAll, describe, expect, test } from "vitest";
import { countDifferences, families, familyOf, foldFor, kernelList, networks, newDetector, predict, profile, SNNYOLOv3, snnYOLOv3, SpikeYOLO, titleOf, type NetworkName } from "../../detection/index.ts";
import { loadKernels, noGrad, Random, rehearse, scope, Spikes } from "../../engine/index.ts";
import { observeConvolutions } from "../../nn/index.ts";

const random = new Random(2), B = 2, S = 96;
const images = { shape: [B, S, S, 3], data: Float32Array.from({ length: B * S * S * 3 }, () => random.uniform()) };
const everything = { nms: { confidence: 0.02, iou: 0.7, maxDetections: 300, multiLabel: true } };
let model: SNNYOLOv3;
beforeAll(async () => {
  await loadKernels({ threads: 1 });
  model = new SNNYOLOv3({ ...snnYOLOv3.small, depth: [1, 2, 4, 2, 1], classes: 3, T: 3, norm: { eps: 1e-5, momentum: 1 }, spp: true });
  for (const head of [model.head32, model.head16, model.head8]) head.predict.bias!.data.fill(0); // all that there is, found
  scope(() => { model.forward(images); }); // running statistics, so that eval mode fires
});

describe("the forms of SNN-YOLOv3", () => {
  test("integers as multipliers and steps of 0 and 1 find the same, to the last bit, where shortcuts make values up to 5", () => {
    const largest: number[] = [];
    model.eval();
    scope(() => noGrad(() => observeConvolutions((_, x) => { if (x instanceof Spikes) largest.push(x.values().reduce((a, b) => Math.max(a, b), 0)); }, () => model.forward(images))));
    expect(Math.max(...largest)).toBeGreaterThan(2);
    const [integer, binary] = (["integer", "binary"] as const).map((form) => predict(model, images, { form, ...everything }).flat());
    expect(integer.length).toBeGreaterThan(20);
    expect(countDifferences(integer, binary)).toBe(0);
  });

  test("a difference in the last bit would be counted", () => {
    const [found] = predict(model, images, { form: "binary", ...everything }), [first, ...rest] = found;
    expect(countDifferences(found, [{ ...first, score: first.score + Number.EPSILON }, ...rest])).toBe(2);
  });

  test("in binary steps, the first convolution alone multiplies", () => {
    const rows = kernelList(model, images, { form: "binary" });
    expect(rows.map(({ name, multiplies }) => [name, multiplies])).toEqual(rows.map(({ name }) => [name, name === "stem.conv"]));
    expect(rows.length).toBe(1 + 5 + 2 * 10 + 8 + 7 + 7 + 2);
    expect(kernelList(model, images, { form: "integer" }).filter(({ multiplies }) => multiplies).length).toBe(rows.length);
  });

  test("there is no chain to fold", () => expect(foldFor(model, images, { folding: "all" })).toEqual([]));
});

test("a profile names its layers, its neuron and its kernels, and counts the first convolution once for a picture that is shown T times", () => {
  const { layers, total } = profile(model, images, { turns: 1 }), [stem, ...rest] = layers;
  expect(layers.map(({ name }) => name).slice(0, 5)).toEqual(["stem.conv", "stage2.down.conv", "stage2.blocks.0.reduce.conv", "stage2.blocks.0.expand.conv", "stage4.down.conv"]);
  expect(stem.spikes).toBeUndefined();
  expect(stem.macs).toBe(27 * 8 * S * S);
  expect(rest[0].macs).toBe((3 * 9 * 8 * 16 * S * S) / 4);
  for (const { name, spikes, macs, synapticOperations, picojoules, bytesKept } of rest) {
    expect(spikes?.neuron, name).toBe("IF");
    expect(synapticOperations).toBe(macs * spikes!.rate);
    expect(picojoules.clean).toBeCloseTo(0.9 * synapticOperations, 3);
    expect(bytesKept, name).toBeGreaterThan(0);
  }
  expect(Math.max(...rest.map(({ spikes }) => spikes!.D))).toBe(5);
  expect(total.synapticOperations).toBeGreaterThan(0);
});

describe("families", () => {
  test("every name makes the network of its record, which says how it is called", () => {
    const titles = Object.fromEntries((Object.keys(networks) as NetworkName[]).map((name) => [name, titleOf(name)]));
    expect(titles).toEqual({
      n: "SpikeYOLO n", s: "SpikeYOLO s", m: "SpikeYOLO m", l: "SpikeYOLO l", small: "SpikeYOLO small", tiny: "SpikeYOLO tiny",
      "snn-yolov3": "SNN-YOLOv3", "snn-yolov3-released": "SNN-YOLOv3 released", "snn-yolov3-small": "SNN-YOLOv3 small", "snn-yolov3-tiny": "SNN-YOLOv3 tiny",
    });
    rehearse(() => {
      expect(newDetector({ ...networks.tiny, classes: 3 })).toBeInstanceOf(SpikeYOLO);
      expect(newDetector({ ...networks["snn-yolov3-tiny"], classes: 3 })).toBeInstanceOf(SNNYOLOv3);
      expect(newDetector({ ...networks["snn-yolov3"], classes: 20 }).parameterCount).toBe(61_626_049);
    });
  });

  test("what tells classes apart is what another number of classes changes, and nothing else", () => rehearse(() => {
    for (const name of ["tiny", "snn-yolov3-tiny"] as const) {
      const [few, many] = [3, 5].map((classes) => newDetector({ ...networks[name], classes }).namedParameters());
      few.forEach(([path, { shape }], i) => { if (shape.join() !== many[i][1].shape.join()) expect(familyOf(networks[name]).tellsClasses(path), path).toBe(true); });
      const told = few.filter(([path]) => familyOf(networks[name]).tellsClasses(path));
      expect(told.length).toBeGreaterThan(0);
      expect(told.some(([, { shape }], i) => shape.join() !== many.filter(([path]) => familyOf(networks[name]).tellsClasses(path))[i][1].shape.join())).toBe(true);
    }
  }));

  test("each says its timesteps, and the largest integer where there is one", () => {
    expect([families.spikeyolo.timing(2, 4), families["snn-yolov3"].timing(4, 1)]).toEqual(["T 2 x D 4", "T 4"]);
  });
});
