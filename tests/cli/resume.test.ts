/** Runs that go on: from their own folder, from a checkpoint that left it, and not where that would harm something. In this process, on few pictures. */
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Progress } from "../../cli/progress.ts";
import { recipeOf, settingsOf } from "../../cli/recipes.ts";
import { newModel, readRun } from "../../cli/saved-run.ts";
import { trainCommand } from "../../cli/train.ts";
import type { Values } from "../../cli/options.ts";
import { shapes } from "../../datasets/index.ts";
import { NonFiniteLoss, train, type TrainEvent, type TrainOptions, type TrainRecipe } from "../../detection/index.ts";
import { loadKernels } from "../../engine/index.ts";
import { FormatError, loadCheckpoint, saveCheckpoint } from "../../nn/index.ts";
import { writeVoc } from "./voc-folder.ts";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

let room: string;
const at = (...path: string[]): string => join(room, ...path);
const run = (given: Values<"train">): Promise<void> => trainCommand(given, new Progress({ write: () => {} }), new AbortController().signal);
const refusal = (given: Values<"train">): Promise<string> => run(given).then(() => "accepted", (error: Error) => error.message);
/** Goes on where the next free folder is FOLDER/runs/train. */
async function runIn(folder: string, given: Values<"train">): Promise<string> {
  const before = process.cwd();
  await mkdir(at(folder));
  process.chdir(at(folder));
  try { await run(given); } finally { process.chdir(before); }
  return at(folder, "runs", "train");
}
const last = (folder: string): string => at(folder, "weights", "last.safetensors");

beforeAll(async () => {
  room = await mkdtemp(join(tmpdir(), "spiketrain-resume-"));
  await loadKernels();
  await run({ train: 8, val: 4, test: 4, imgsz: 64, batch: 4, epochs: 2, out: at("run") });
});
afterAll(() => rm(room, { recursive: true, force: true }));

/** The checkpoint of the run, its state changed. */
async function changed(change: (state: any) => void): Promise<Uint8Array> {
  const { state, ...tensors } = loadCheckpoint(await readFile(last("run"))), copy = structuredClone(state);
  change(copy);
  return saveCheckpoint({ ...tensors, state: copy });
}

describe("a checkpoint that left its folder", () => {
  test("starts a new one, whose best is the best since then, however good the run was before", async () => {
    const path = at("moved.safetensors");
    await writeFile(path, await changed(({ progress }) => { Object.assign(progress, { bestFitness: 1, bestEpoch: 0 }); }));
    const folder = await runIn("moved", { resume: path, epochs: 3 });
    expect((await readRun(folder, "best")).progress).toMatchObject({ epoch: 3, bestEpoch: 2 });
  });

  test("is the best of the new one where it was the best of the old", async () => {
    const path = at("best.safetensors");
    await writeFile(path, await changed(({ progress }) => { Object.assign(progress, { bestFitness: 1, bestEpoch: 1 }); }));
    const folder = await runIn("best", { resume: path, epochs: 3 });
    expect((await readRun(folder, "best")).progress).toMatchObject({ epoch: 2, bestEpoch: 1 });
    expect((await readRun(folder, "last")).progress).toMatchObject({ epoch: 3, bestEpoch: 1 });
  });
});

describe("a folder of somebody else", () => {
  test("stays as it is where a checkpoint lies in a folder weights of it", async () => {
    const mine = at("thesis"), files = { "args.json": '{"mine": true}', "results.csv": "a,b\n1,2\n", "draft.tmp-1": "text", "weights/deep/x.tmp-2": "text" };
    await mkdir(join(mine, "weights", "deep"), { recursive: true });
    for (const [name, text] of Object.entries(files)) await writeFile(join(mine, name), text);
    await cp(last("run"), join(mine, "weights", "last.safetensors"));
    const folder = await runIn("beside", { resume: join(mine, "weights", "last.safetensors"), epochs: 3 });
    for (const [name, text] of Object.entries(files)) expect(await readFile(join(mine, name), "utf8")).toBe(text);
    expect((await readdir(mine)).sort()).toEqual(["args.json", "draft.tmp-1", "results.csv", "weights"]);
    expect((await readRun(folder, "last")).epochs).toBe(3);
  });
});

describe("a run is not gone on with, and its folder stays as it is,", () => {
  const contents = async (folder: string) => Promise.all((await readdir(folder, { recursive: true })).sort().map(async (name) => [name, await readFile(join(folder, name), "base64").catch(() => "")]));

  test("if the checkpoint holds other tensors than its options say", async () => {
    await cp(at("run"), at("broken"), { recursive: true });
    const { state, model, ema, momentum } = loadCheckpoint(await readFile(last("run"))), [[name]] = momentum;
    for (const parts of [{ model, ema, momentum: new Map([[name, { shape: [1], data: new Float32Array(1) }]]) }, { model, ema: new Map(), momentum }, { model: new Map(), ema, momentum }]) {
      await writeFile(last("broken"), saveCheckpoint({ ...parts, state }));
      await writeFile(at("broken", "args.json.tmp-1"), "half");
      const before = await contents(at("broken"));
      expect(await refusal({ resume: at("broken"), epochs: 3 })).toMatch(/last\.safetensors: (resume|restore): ".*" is .*; \d+ of \d+ tensors differ/);
      expect(await contents(at("broken"))).toEqual(before);
    }
  });

  test("if the data gives another number of batches, which would shift the schedule", async () => {
    const ids = ["a", "b", "c", "d", "e", "f"], voc = (name: string, train: readonly string[]) => writeVoc(at(name), ids.map((id) => ({ id })), { train, val: ["a", "b"] });
    await voc("six", ids);
    await voc("four", ids.slice(0, 4));
    await run({ data: at("six"), model: "tiny", imgsz: 64, batch: 2, epochs: 1, out: at("on-six") });
    const before = await contents(at("on-six"));
    expect(await refusal({ resume: at("on-six"), data: at("four"), epochs: 2 })).toBe(
      `${last("on-six")}: resume: the run had 3 batches per epoch, the data now gives 2, which would shift its schedule; give it as many pictures as it had`);
    expect(await contents(at("on-six"))).toEqual(before);
  });
});

describe("train", () => {
  const options = settingsOf({ imgsz: 64, batch: 4 }), recipe: TrainRecipe = { ...recipeOf(options), epochs: 1 };
  const set = () => shapes({ size: 4, imgsz: 64 });
  const data = { batchesPerEpoch: 2, async *train() { yield* set().batches(4); yield* set().batches(4); }, validation: () => set().batches(4) };
  const events = async (recipe: TrainRecipe, how: TrainOptions = {}): Promise<TrainEvent[]> => {
    const all: TrainEvent[] = [];
    for await (const event of train(newModel(options, 3), data, recipe, how)) all.push(event);
    return all;
  };

  test("calls the last checkpoint good only where there is one", async () => {
    const broken = { ...recipe, gains: { box: NaN, classes: 1, dfl: 1 } };
    const failure = (how?: TrainOptions) => events({ ...broken, epochs: 2 }, how).then(() => undefined, (error: unknown) => error as Error);
    const fresh = await failure({ store: { write: async () => {} } });
    expect(fresh).toBeInstanceOf(NonFiniteLoss);
    expect(fresh!.message).toMatch(/^train: the loss is not finite \(box NaN, class [\d.]+, dfl [\d.]+\); lower lr0 or the clip$/);

    let saved: Uint8Array | undefined;
    await events(recipe, { store: { write: async (_, bytes) => { saved = bytes.slice(); } } });
    expect((await failure({ resume: saved }))!.message).toMatch(/; lower lr0 or the clip; the last checkpoint is good$/);
  });

  test("refuses a state that it cannot have left, by the field", async () => {
    let saved = new Uint8Array();
    await events(recipe, { store: { write: async (_, bytes) => { saved = bytes.slice(); } } });
    const { state, ...tensors } = loadCheckpoint(saved);
    const failure = (progress: object | undefined) =>
      events({ ...recipe, epochs: 2 }, { resume: saveCheckpoint({ ...tensors, state: { progress: progress && { ...(state as any).progress, ...progress } } }) }).then(() => undefined, (error: unknown) => error as Error);
    for (const [progress, sentence] of [
      [undefined, "checkpoint: progress.epoch is missing, expected a whole number from 0 up"],
      [{ bestFitness: "0" }, 'checkpoint: progress.bestFitness is "0"'],
      [{ batchesPerEpoch: 3 }, "resume: the run had 3 batches per epoch, the data now gives 2"],
    ] as const) {
      const error = await failure(progress);
      expect(error).toBeInstanceOf(FormatError);
      expect(error!.message).toContain(sentence);
    }
    expect(await failure({})).toBeUndefined();
  });
});
