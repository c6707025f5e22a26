/** Weights of the public reference: into a network, out of it, and back. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { beforeAll, describe, expect, test } from "vitest";
import { configIn, loadReference, metadataOf, numbersIn, readForeign, referenceState, sizeIn, SpikeYOLO, spikeYOLO, tellsClasses, toReference } from "../../detection/index.ts";
import { loadKernels } from "../../engine/index.ts";
import { FormatError, ilifGen1, readSafetensors, writeSafetensors, type AllConvBlock } from "../../nn/index.ts";
import { archive, code, dict, f32, module_, object, ordered, parameter, pickle, storage, tensor, text, int } from "../nn/pickles.ts";
import { detections, FOUND } from "../browser/found.ts";

let file: Uint8Array;
beforeAll(async () => {
  await loadKernels();
  file = new Uint8Array(gunzipSync(readFileSync(new URL("../fixtures/torch/checkpoint_tiny_stripped.pt.gzip", import.meta.url))));
});

describe("a pickled model", () => {
  test("says its size by its shapes, and T, D, neuron, classes and picture size by its objects", () => {
    const weights = readForeign(file), { from, classes, T, D, neuron, imgsz } = weights;
    expect({ from, classes, T, D, neuron, imgsz }).toEqual({ from: "model", classes: ["class0", "class1", "class2"], T: 1, D: 4, neuron: "coco", imgsz: 64 });
    expect(sizeIn(weights.tensors)).toEqual({ depth: 0.01, width: 1 / 64, maxChannels: 1024, lastRatio: 1, classes: 3 });
  });

  test("fills a network, every tensor of it, and comes out again under the same names, in the same shapes and with the same values", () => {
    const { tensors } = readForeign(file), model = new SpikeYOLO(configIn(readForeign(file)));
    expect(loadReference(model, numbersIn(tensors))).toEqual([]);
    const written = readForeign(writeSafetensors(referenceState(model), metadataOf({ classes: ["a", "b", "c"], T: 1, D: 4, neuron: "coco" })));
    expect([written.classes, written.T, written.D, written.neuron, written.from]).toEqual([["a", "b", "c"], 1, 4, "coco", "state_dict"]);
    expect([...written.tensors.keys()].sort()).toEqual([...tensors.keys()].sort());
    for (const [name, { shape, dtype, read }] of written.tensors) {
      expect(shape, name).toEqual(tensors.get(name)!.shape);
      if (dtype === "F32") expect([...written.tensors.get(name)!.read()], name).toEqual([...tensors.get(name)!.read()]);
      else expect([name.endsWith(".num_batches_tracked"), dtype, read()], name).toEqual([true, "I64", BigInt64Array.of(0n)]);
    }
  });

  test("of one wrong value would not come out the same", () => {
    const { tensors } = readForeign(file), model = new SpikeYOLO(configIn(readForeign(file)));
    loadReference(model, numbersIn(tensors));
    (model.stage2[0] as AllConvBlock).conv1.conv.weight.data[1] += 1;
    const out = toReference(model), differing = [...out].filter(([name, { data }]) => Array.from(tensors.get(name)!.read(), Number).some((value, i) => value !== data[i]));
    expect(differing.map(([name]) => name)).toEqual(["model.2.conv1.conv.weight"]);
  });

  test("finds what is on record, to the bit, in strict arithmetic", async () => {
    expect(await detections(file)).toEqual(FOUND);
  });

  test("finds something else in another picture", async () => {
    const other = await detections(file, undefined, 6), same = other.filter((row) => FOUND.some((one) => one.join() === row.join()));
    expect(same.length).toBeLessThan(FOUND.length / 2);
  });

  test("finds the same in float64, but for rounding", async () => {
    const twin = (await detections(file, { build: "reference64" })).filter(([form]) => form === "real"), single = FOUND.filter(([form]) => form === "real");
    expect(twin.length).toBe(4);
    twin.forEach((row, i) => row.slice(1).forEach((value, k) => expect(Math.abs((value as number) - (single[i][k + 1] as number)), `${i}, ${k}`).toBeLessThan(1e-3)));
  });
});

describe("the sizes", () => {
  test.each(Object.keys(spikeYOLO).filter((name) => ["tiny", "small"].includes(name)) as ("tiny" | "small")[])("%s is known by its shapes", (name) => {
    const model = new SpikeYOLO({ ...spikeYOLO[name], classes: 5 });
    expect(sizeIn(toReference(model))).toEqual({ ...spikeYOLO[name], classes: 5 });
  });

  test("of other networks are refused by name", () => {
    const shapes = new Map<string, { shape: readonly number[] }>(toReference(new SpikeYOLO({ ...spikeYOLO.tiny, classes: 5 })));
    const without = (name: string) => new Map([...shapes].filter(([other]) => other !== name)), changed = (name: string, shape: readonly number[]) => new Map([...shapes, [name, { shape }]]);
    expect(() => sizeIn(without("model.26.cv3.0.2.conv.weight"))).toThrow(/model\.26\.cv3\.0\.2\.conv\.weight is missing; expected a SpikeYOLO with its head/);
    expect(() => sizeIn(changed("model.7.encode_conv.weight", [100, 64, 3, 3]))).toThrow(/stages of 16 and 100 channels/);
    expect(() => sizeIn(changed("model.7.encode_conv.weight", []))).toThrow(FormatError);
    expect(() => sizeIn(changed("model.25.conv1.body.2.1.weight", [130, 128, 1, 1]))).toThrow(/no whole ratio/);
    expect(() => sizeIn(changed("model.2.1.Conv.pwconv1.weight", [1, 1, 1, 1]))).toThrow(/stages of 2, 1, 2, 1 blocks/);
  });
});

describe("what a file leaves open", () => {
  test("is T 1, D 4 and the neuron of COCO, unless the caller says otherwise", () => {
    const weights = { tensors: readForeign(file).tensors, from: "state_dict" as const };
    expect(configIn(weights)).toMatchObject({ T: 1, D: 4, kind: "coco" });
    expect(configIn(weights, { T: 2, D: 8, neuron: "gen1" })).toMatchObject({ T: 2, D: 8, kind: "gen1", neuron: ilifGen1(8) });
  });

  const first = tensor(storage("0", 4), [4], [1]), NAME = text("model.1.encode_conv.weight"), read = (...body: Uint8Array[]) => readForeign(archive(pickle(...body), { 0: f32(1, 2, 3, 4) }));
  test("lies under other names: of data-parallel training, of the YOLO class, of a key", () => {
    for (const prefix of ["", "module.", "model.", "module.model."]) expect([...read(ordered([text(`${prefix}model.1.encode_conv.weight`), first])).tensors.keys()]).toEqual(["model.1.encode_conv.weight"]);
    for (const key of ["state_dict", "model", "ema"]) expect(read(dict([text("epoch"), int(3)], [text(key), ordered([NAME, first])])).tensors.size).toBe(1);
  });

  test("is told by neurons of Gen1, which are called otherwise", () => {
    const net = module_("container.Sequential", { parameters: [[text("w"), parameter(first)]], modules: [[text("lif"), object("spikingjelly.activation_based.neuron", "MultiStepLIFNode", dict([text("_modules"), ordered()]))], [text("t"), object("ultralytics.nn.modules.yolo_spikformer", "MS_GetT", dict([text("_modules"), ordered()], [text("T"), int(5)]))]] });
    expect(read(dict([text("model"), net], [text("ema"), code("N")]))).toMatchObject({ neuron: "gen1", T: 5, from: "model" });
  });
});

test("another number of classes is refused, or leaves the class branches as they are where that is asked for", () => {
  const weights = readForeign(file), tensors = numbersIn(weights.tensors), { kind, ...config } = configIn(weights), model = new SpikeYOLO({ ...config, classes: 2 });
  const before = Array.from(model.head.class[0].predict.weight.data);
  expect(() => loadReference(model, tensors)).toThrow(/model\.26\.cv3\.0\.2\.conv\.weight.*: expected \[2, 4, 1, 1\], got \[3, 4, 1, 1\]/);
  const kept: string[] = [];
  loadReference(model, tensors, (name) => tellsClasses(name) && kept.push(name) > 0);
  expect(kept.every((name) => name.startsWith("model.26.cv3.")) && kept.length >= 6).toBe(true);
  expect(Array.from(model.head.class[0].predict.weight.data)).toEqual(before);
  expect(Array.from(toReference(model).get("model.1.encode_conv.weight")!.data)).toEqual(Array.from(tensors.get("model.1.encode_conv.weight")!.data));
});

test("safetensors without anything but tensors are read too", () => {
  const model = new SpikeYOLO({ ...spikeYOLO.tiny, classes: 2 }), bytes = writeSafetensors(referenceState(model));
  expect(readSafetensors(bytes).metadata.size).toBe(0);
  expect(readForeign(bytes)).toMatchObject({ from: "state_dict", T: undefined, D: undefined, classes: undefined });
});
