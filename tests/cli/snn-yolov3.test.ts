/** SNN-YOLOv3 at the command line: trained, gone on with, measured, profiled, used and exported like any other network. In this process, on few pictures. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { exportCommand } from "../../cli/export.ts";
import { parseOptions, type Values } from "../../cli/options.ts";
import { predictCommand } from "../../cli/predict.ts";
import { profileCommand } from "../../cli/profile.ts";
import { Progress } from "../../cli/progress.ts";
import { presets, recipeOf, settingsOf } from "../../cli/recipes.ts";
import { modelOf, readRun } from "../../cli/saved-run.ts";
import { trainCommand } from "../../cli/train.ts";
import { isForUser } from "../../cli/user-error.ts";
import { valCommand } from "../../cli/val.ts";
import { encodePng, shapes } from "../../datasets/index.ts";
import { loadReference, SNNYOLOv3 } from "../../detection/index.ts";
import { loadKernels } from "../../engine/index.ts";
import { loadCheckpoint, readSafetensors, saveCheckpoint, tensorsOf } from "../../nn/index.ts";
import { writeVoc } from "./voc-folder.ts";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 240_000 });

const room = mkdtempSync(join(tmpdir(), "spiketrain-snn-")), at = (...path: string[]): string => join(room, ...path);
const listening = (): { said: string[]; progress: Progress } => { const said: string[] = []; return { said, progress: new Progress({ write: (text) => said.push(text) }) }; };
const never = new AbortController().signal;
async function train(...args: string[]): Promise<string> {
  const { said, progress } = listening();
  await trainCommand(parseOptions("train", args), progress, never);
  return said.join("");
}
async function refusal(...args: string[]): Promise<string> {
  try { await train(...args); } catch (error) { expect(isForUser(error), String((error as Error).stack)).toBe(true); return (error as Error).message; }
  throw new Error("was not refused");
}
const few = ["train=16", "val=4", "test=4", "imgsz=64", "batch=4", "model=snn-yolov3-tiny", "T=2"];
let said: string;
beforeAll(async () => {
  await loadKernels();
  said = await train(...few, "epochs=2", `out=${at("run")}`);
});
afterAll(() => { rmSync(room, { recursive: true, force: true }); });
const json = (...path: string[]): any => JSON.parse(readFileSync(at(...path), "utf8"));

test("trains on the embedded pictures with anchors of its own, and reports spikes, energy and both forms", async () => {
  expect(said).toMatch(/^model snn-yolov3-tiny: [\d,]+ parameters, T 2, 3 classes \(ball, cube, ring\)$/m);
  expect(said).toMatch(/^anchors of \d+ boxes: \d+x\d+ \d+x\d+ \d+x\d+, .* pixels; mean IoU 0\.[78]\d\d$/m);
  expect(said).toMatch(/^memory: parameters \d+ MB/m);
  expect(said).toMatch(/^epoch 2\/2 box [\d.]+ cls [\d.]+ obj [\d.]+ \| mAP50/m);
  expect(said).toContain("binary steps: no detections differ");
  expect(said).toMatch(/^stage32 +0\.\d+/m);
  expect(said).toMatch(/^MACs on reals are the first layer, which reads the picture;$/m);
  expect(json("run", "report.json")).toMatchObject({ chains: 0, forms: { pictures: 4, binaryDiffers: 0 }, scores: { images: 4 } });
  expect(json("run", "report.json").realMacs).toBe(27 * 8 * 64 * 64);
  expect(json("run", "args.json")).toMatchObject({ model: "snn-yolov3-tiny", family: "snn-yolov3", T: 2, D: 1, anchors: [[[expect.any(Number), expect.any(Number)], [], []].map(() => expect.any(Array)), expect.any(Array), expect.any(Array)] });
  expect(readFileSync(at("run", "results.csv"), "utf8").split("\n")[0]).toContain("train/box_loss,train/cls_loss,train/obj_loss,");
});

test("its checkpoint says its family and its anchors, and comes back as the same network", async () => {
  const run = await readRun(at("run"), "best"), model = modelOf(run) as SNNYOLOv3;
  expect(run.family).toBe("snn-yolov3");
  expect(model).toBeInstanceOf(SNNYOLOv3);
  expect(model.config).toMatchObject({ T: 2, classes: 3, reset: "subtract", decode: "mean", anchors: run.anchors });
  expect(run.anchors!.flat().length).toBe(9);
  expect(Math.max(...run.anchors!.flat(2))).toBeLessThanOrEqual(64);
});

test("goes on to the bit, and keeps its anchors", async () => {
  const settings = [...few, "epochs=2", "arithmetic=strict"], whole = await train(...settings, `out=${at("whole")}`);
  const stop = new AbortController(), progress = new Progress({ write: (text: string) => { if (text.includes("epoch 1/2 batch")) stop.abort(); } });
  await expect(trainCommand(parseOptions("train", [...settings, `out=${at("parts")}`]), progress, stop.signal)).rejects.toThrow("go on with");
  const gone = await train(`resume=${at("parts")}`);
  expect(whole).toContain("anchors of ");
  expect(gone).not.toContain("anchors of ");
  const [a, b] = ["whole", "parts"].map((name) => readFileSync(at(name, "weights", "last.safetensors")));
  expect(a.equals(b)).toBe(true);
});

test("less memory where checkpointing is asked for, the same weights", async () => {
  const [kept, again] = await Promise.resolve([["checkpointing=false", "out=" + at("kept")], ["checkpointing=true", "out=" + at("again")]]).then(async ([a, b]) => [await train(...few, "epochs=1", ...a), await train(...few, "epochs=1", ...b)]);
  const activations = (text: string): number => Number(/activations (\d+) MB/.exec(text)![1]);
  expect(activations(again)).toBeLessThan(activations(kept));
  const weights = (name: string) => [...loadCheckpoint(readFileSync(at(name, "weights", "last.safetensors"))).model].map(([name, { data }]) => [name, [...data]]);
  expect(weights("again")).toEqual(weights("kept"));
});

test("val, profile and predict take it", async () => {
  const { said, progress } = listening(), source = at("a.png");
  for (const metric of ["coco", "voc"] as const) await valCommand({ weights: at("run"), metric, out: at(`val-${metric}`) }, progress, never);
  expect(said.join("")).toContain("AP50");
  expect(json("val-voc", "report.json").figures.protocol).toMatch(/VOC/);
  await profileCommand({ weights: at("run"), json: at("profile.json"), picture: at("profile.svg") }, progress, never);
  expect(said.join("")).toMatch(/^stage2\.down\.conv .* IF /m);
  expect(json("profile.json").layers.length).toBe(33);
  expect(readFileSync(at("profile.svg"), "utf8")).toContain("SNN-YOLOv3 tiny, T 2: spikes and time");
  writeFileSync(source, encodePng((await shapes({ imgsz: 64 }).sample(0))!.picture));
  for (const form of ["real", "integer", "binary"] as const) await predictCommand({ weights: at("run"), source, form, out: at(`drawn-${form}`), conf: 0.01 }, progress, never);
  expect(said.join("")).toMatch(/a\.png 64 x 64: /);
});

test("export writes the names of the published code, which fill the same network", async () => {
  const { said, progress } = listening(), out = at("theirs.safetensors"), run = await readRun(at("run"), "best");
  await exportCommand({ weights: at("run"), out }, progress);
  expect(said.join("")).toMatch(/tensors in float32 under the names of the state_dict of its published code, 3 classes, T 2\n$/);
  const { tensors, metadata } = readSafetensors(readFileSync(out)), empty = modelOf({ ...run, options: { ...run.options, seed: 9 }, checkpoint: { ...run.checkpoint, ema: loadCheckpoint(run.bytes).model } });
  expect(metadata.get("D")).toBeUndefined();
  loadReference(empty, new Map([...tensors].filter(([name]) => !name.endsWith("num_batches_tracked")).map(([name, tensor]) => [name, { shape: tensor.shape, data: tensor.read() as Float32Array }])));
  const ours = tensorsOf(modelOf(run));
  for (const [name, { data }] of tensorsOf(empty)) expect([...data], name).toEqual([...ours.get(name)!.data]);
});

test("training starts from its weights: other classes get new heads, and its anchors stay unless others are asked for", async () => {
  const box = (name: string) => ({ name, corners: [8, 8, 40, 30] as [number, number, number, number] }), files = Array.from({ length: 4 }, (_, i) => ({ id: `p${i}`, objects: [box("cat"), box("dog")] }));
  await writeVoc(at("voc"), files, { train: ["p0", "p1", "p2", "p3"], val: ["p0"] });
  const start = [`weights=${at("run")}`, `data=${at("voc")}`, "epochs=1", "imgsz=64", "batch=2", "workers=0", "mosaic=0"];
  expect(await refusal(...start)).toMatch(/knows 3 classes, the data has 2; give finetune=true/);
  expect(await train(...start, "finetune=true", `out=${at("tuned")}`)).toMatch(/starting from .*; 6 tensors of the class branches are new$/m);
  const [before, after] = [await readRun(at("run"), "best"), await readRun(at("tuned"), "best")];
  expect(after.anchors).toEqual(before.anchors);
  expect(after.options).toMatchObject({ model: "snn-yolov3-tiny", T: 2, D: 1 });
  expect(await refusal(...start, "finetune=true", "anchors=auto")).toMatch(/^train: anchors: 9 anchors need at least as many different sizes of boxes, got 1; use those of COCO: give anchors=coco$/);
});

test("what means nothing to it is refused, and what means something to it alone is refused elsewhere", async () => {
  expect(await refusal(...few, "D=4")).toBe("train: D is the largest integer that a neuron emits, and those of SNN-YOLOv3 emit 0 or 1; leave it out");
  expect(await refusal("model=tiny", "anchors=auto")).toBe("train: SpikeYOLO tells boxes without anchors; leave anchors out");
  expect(await refusal(`weights=${at("run")}`, "model=tiny")).toMatch(/is a SNN-YOLOv3 of size snn-yolov3-tiny, not tiny; leave out model=$/);
  const { progress } = listening();
  await expect(valCommand({ weights: at("run"), D: 4 }, progress, never)).rejects.toThrow("D=4 was given, and neurons of SNN-YOLOv3 emit 0 or 1; leave it out");
});

test("a checkpoint whose family or anchors are not those of its model is refused", async () => {
  const refused = async (change: (state: any) => void): Promise<string> => {
    const { state, ...tensors } = loadCheckpoint(readFileSync(at("run", "weights", "best.safetensors"))), copy: any = structuredClone(state);
    change(copy);
    writeFileSync(at("changed.safetensors"), saveCheckpoint({ ...tensors, state: copy }));
    return readRun(at("changed.safetensors"), "best").then(() => "accepted", (error: Error) => error.message);
  };
  expect(await refused((state) => { state.family = "spikeyolo"; })).toMatch(/family is "spikeyolo", but its model snn-yolov3-tiny is of snn-yolov3$/);
  for (const anchors of [[], [[[1, 2]], [[1, 2]]], [[[1, 2]], [[1, -2]], [[1, 2]]], [[[1, 2, 3]], [[1, 2]], [[1, 2]]], "auto", [[], [], []]]) {
    expect(await refused((state) => { state.anchors = anchors; })).toMatch(/anchors are .*, expected 3 lists of widths and heights in pixels$/);
  }
});

test("its recipes: the published one with data=, a fast one for the embedded pictures", () => {
  const fast = settingsOf({ model: "snn-yolov3-tiny" }), published = settingsOf({ model: "snn-yolov3-small", data: "voc" });
  expect(fast).toMatchObject({ T: 4, D: 1, imgsz: 128, anchors: "auto" });
  expect(published).toMatchObject({ T: 4, D: 1, imgsz: 416, batch: 4, epochs: 200, anchors: "coco", lr0: 0.001 });
  expect(recipeOf(published)).toMatchObject({ momentum: 0.937, weightDecay: 5e-4, cosine: true, nbs: 64, gather: "mean", gatherFrom: 1, decaying: ["weight", "bias", "norm"] });
  expect(settingsOf({ recipe: "snn-yolov3", data: "voc" } as Values<"train">)).toMatchObject({ model: "snn-yolov3", T: 4 });
  expect(settingsOf({ model: "snn-yolov3-tiny", data: "voc", recipe: "finetune" })).toMatchObject({ D: 1, anchors: "coco", epochs: presets.finetune.settings.epochs });
  for (const model of ["tiny", "small"] as const) expect(settingsOf({ model })).not.toHaveProperty("anchors");
});
