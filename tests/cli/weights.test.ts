/** weights= of a .pt: what it is used as, what training starts from it, and what is refused. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { exportCommand } from "../../cli/export.ts";
import { parseOptions } from "../../cli/options.ts";
import { predictCommand } from "../../cli/predict.ts";
import { Progress } from "../../cli/progress.ts";
import { settingsOf } from "../../cli/recipes.ts";
import { newModel } from "../../cli/saved-run.ts";
import { trainCommand } from "../../cli/train.ts";
import { valCommand } from "../../cli/val.ts";
import { readWeights } from "../../cli/weights.ts";
import { isForUser } from "../../cli/user-error.ts";
import { encodePng, shapes } from "../../datasets/index.ts";
import { metadataOf, referenceState, toReference } from "../../detection/index.ts";
import { loadKernels } from "../../engine/index.ts";
import { writeSafetensors } from "../../nn/index.ts";
import { archive, call, code, name, pickle, text } from "../nn/pickles.ts";
import { writeVoc } from "./voc-folder.ts";

vi.setConfig({ testTimeout: 120_000 });

const room = mkdtempSync(join(tmpdir(), "spiketrain-weights-")), at = (...path: string[]): string => join(room, ...path);
afterAll(() => { rmSync(room, { recursive: true, force: true }); });
const pt = at("their.pt"), two = at("two.safetensors");
beforeAll(async () => {
  await loadKernels();
  writeFileSync(pt, gunzipSync(readFileSync(new URL("../fixtures/torch/checkpoint_tiny_stripped.pt.gzip", import.meta.url))));
  writeFileSync(two, writeSafetensors(referenceState(newModel(settingsOf({ seed: 3 }), 2)), metadataOf({ classes: ["a", "b"], D: 4 })));
});

const listening = (): { said: string[]; progress: Progress } => { const said: string[] = []; return { said, progress: new Progress({ write: (text) => said.push(text) }) }; };
const never = new AbortController().signal;
async function refusal(run: () => Promise<unknown>): Promise<string> {
  try { await run(); } catch (error) { expect(isForUser(error), String((error as Error).stack)).toBe(true); return (error as Error).message; }
  throw new Error("was not refused");
}

test("a .pt finds objects in pictures", async () => {
  const { said, progress } = listening(), source = at("a.png");
  writeFileSync(source, encodePng((await shapes({ imgsz: 64 }).sample(0))!.picture));
  await predictCommand({ weights: pt, source, out: at("drawn"), conf: 0.3 }, progress, never);
  expect(said[0]).toBe(`${pt}: a pickled model, SpikeYOLO of width 0.015625, T 1 x D 4, neuron of coco, 3 classes\n`);
  expect(said.join("")).toMatch(/a\.png 64 x 64: .*class\d/);
});

test("a .pt is measured on the data that it is given, and says so where there is none", async () => {
  const { said, progress } = listening();
  expect(await refusal(() => valCommand({ weights: pt }, progress, never))).toBe(`val: ${pt} does not say what it was trained on; give data=FOLDER`);
  const own = ["class0", "class1"].map((name, i) => ({ name, corners: [3 + i, 3, 40, 40] as const }));
  await writeVoc(at("voc"), [{ id: "p", objects: own.map(({ name, corners }) => ({ name, corners: [...corners] as [number, number, number, number] })) }], { val: ["p"] });
  await valCommand({ weights: pt, data: at("voc"), imgsz: 64 }, progress, never);
  expect(said.join("")).toMatch(/1 pictures, 2 objects/);
});

test("export writes the reference's state_dict, which comes back as the same weights", async () => {
  const { progress } = listening();
  await exportCommand({ weights: pt, out: at("out.safetensors") }, progress);
  const [theirs, back] = [await readWeights(pt), await readWeights(at("out.safetensors"))];
  expect([back.classes, back.options.T, back.options.D, back.neuron]).toEqual([theirs.classes, 1, 4, "coco"]);
  const [one, other] = [toReference(theirs.model()), toReference(back.model())];
  expect([...other.keys()]).toEqual([...one.keys()]);
  for (const [name, { data }] of one) expect(Array.from(other.get(name)!.data), name).toEqual(Array.from(data));
});

test("T, D and the neuron that a file leaves open are the caller's, or 1, 4 and coco, and that is said", async () => {
  const open = await readWeights(two), given = await readWeights(two, { T: 2, D: 3, neuron: "gen1" });
  expect(open.news[0]).toMatch(/SpikeYOLO tiny, T 1 x D 4, neuron of coco, 2 classes; the file does not say T=1, neuron=coco$/);
  expect([given.options.T, given.options.D, given.neuron, given.news[0].includes("does not say")]).toEqual([2, 3, "gen1", false]);
  expect(given.model().config).toMatchObject({ T: 2, D: 3, neuron: { decay: 0.5, gain: 0.5 } });
  expect(await refusal(() => readWeights(pt, { neuron: "gen1" }))).toMatch(/its neurons are those of coco; leave out neuron=gen1/);
});

test("training starts from weights; other classes are refused, or get a new head where that is asked for", async () => {
  const quick = ["train=8", "val=8", "test=8", "epochs=1", "batch=8", "imgsz=64", `weights=${two}`], { said, progress } = listening();
  const wrong = await refusal(() => trainCommand(parseOptions("train", [...quick, `out=${at("no")}`]), progress, never));
  expect(wrong).toBe(`train: ${two} knows 2 classes, the data has 3; give finetune=true to begin with a new head for them`);
  await trainCommand(parseOptions("train", [...quick, "finetune=true", "lr0=0.000001", `out=${at("tuned")}`]), progress, never);
  expect(said.join("")).toMatch(/starting from .*two\.safetensors; 6 tensors of the class branches are new\n/);
  const [before, after] = [toReference((await readWeights(two)).model()), toReference((await readWeights(at("tuned"))).model())];
  const distance = (name: string): number => Math.max(...Array.from(before.get(name)!.data, (x, i) => Math.abs(x - after.get(name)!.data[i])));
  expect(distance("model.1.encode_conv.weight")).toBeLessThan(1e-3); // one step of 1e-6
  expect(after.get("model.26.cv3.0.2.conv.weight")!.shape).toEqual([3, 32, 1, 1]);
  expect(Math.max(...Array.from(toReference(newModel(settingsOf({ seed: 0 }), 2)).get("model.1.encode_conv.weight")!.data, (x, i) => Math.abs(x - after.get("model.1.encode_conv.weight")!.data[i])))).toBeGreaterThan(0.01); // not what seed 0 draws
});

test("weights that cannot be trained from here are refused by name", async () => {
  const { progress } = listening(), train = (...given: string[]) => refusal(() => trainCommand(parseOptions("train", given), progress, never));
  expect(await train(`weights=${pt}`)).toMatch(/is of none of the sizes that are trained here \(n, s, m, l, small, tiny\)/);
  expect(await train(`weights=${two}`, "model=small")).toMatch(/is a SpikeYOLO of size tiny, not small; leave out model=/);
  expect(await train("finetune=true")).toMatch(/which is missing; give weights=FILE/);
});

test.each<[string, () => Uint8Array, RegExp]>([
  ["that asks for os.system", () => archive(pickle(call(name("os", "system"), text("touch x")))), /evil\.pt: pickle: asks for "os\.system", which no checkpoint needs and which is not run here \(byte \d+\)$/],
  ["that is a bare pickle", () => pickle(call(name("os", "system"), text("touch x"))), /evil\.pt: pt: is no zip archive/],
  ["that is cut", () => new Uint8Array(readFileSync(pt)).slice(0, 9999), /evil\.pt: zip: does not end like a zip archive/],
  ["that holds no weights", () => archive(pickle("}")), /evil\.pt: pt: holds no weights/],
  ["that is another network", () => archive(pickle(code("}"), text("a"), code("Ns"))), /holds no weights/],
])("a .pt %s is refused in one sentence with its name", async (_, make, why) => {
  writeFileSync(at("evil.pt"), make());
  const message = await refusal(() => readWeights(at("evil.pt")));
  expect(message).toMatch(why);
  expect(message).not.toContain("\n");
});
