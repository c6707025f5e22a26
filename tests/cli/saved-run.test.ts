import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { ABLATIONS, recipeOf, settingsOf } from "../../cli/recipes.ts";
import { modelOf, newModel, readRun } from "../../cli/saved-run.ts";
import { UserError } from "../../cli/user-error.ts";
import { ablations } from "../../detection/index.ts";
import { loadKernels } from "../../engine/index.ts";
import { EMA, saveCheckpoint, tensorsOf } from "../../nn/index.ts";

vi.setConfig({ testTimeout: 60_000 });

let room: string;
beforeAll(async () => {
  room = await mkdtemp(join(tmpdir(), "spiketrain-saved-"));
  await loadKernels();
});
afterAll(() => rm(room, { recursive: true, force: true }));

const options = settingsOf({ imgsz: 64, batch: 4, seed: 5 }), classes = ["ball", "cube"];
const progress = { epoch: 3, batch: 0, batchesPerEpoch: 10, emaUpdates: 30, bestFitness: 0.25, bestEpoch: 1, sums: { box: 0, classes: 0, dfl: 0, firingRate: 0, batches: 0 } };
const good = { options, classes, recipe: recipeOf(options), progress };

/** A checkpoint of a fresh network whose averages are all one larger than its weights. */
function checkpoint(state: unknown = good, settings = options): Uint8Array {
  const model = newModel(settings, classes.length), ema = new EMA(model);
  const averages = new Map([...ema.state().tensors].map(([name, { shape, data }]) => [name, { shape, data: data.map((value) => value + 1) }]));
  return saveCheckpoint({ model: tensorsOf(model), ema: averages, state });
}

async function written(name: string, bytes: Uint8Array): Promise<string> {
  const path = join(room, name);
  await writeFile(path, bytes);
  return path;
}

/** The sentence that a checkpoint is refused with. */
async function refusal(path: string): Promise<string> {
  const error: unknown = await readRun(path, "best").then(modelOf).then(() => undefined, (error: unknown) => error);
  expect(error).toBeInstanceOf(UserError);
  return (error as Error).message;
}

describe("a saved run", () => {
  test("says what it was, and its network has the averaged weights", async () => {
    const run = await readRun(await written("good.safetensors", checkpoint()), "best");
    expect(run).toMatchObject({ options, classes, epochs: 3, folder: undefined, recipe: good.recipe, progress });
    const averaged = tensorsOf(modelOf(run)), fresh = tensorsOf(newModel(options, 2));
    for (const [name, { data }] of averaged) expect(data[0]).toBe(Math.fround(fresh.get(name)!.data[0] + 1));
  });

  test.each(ABLATIONS)("of the ablation %s has its network", async (ablation) => {
    const settings = settingsOf({ ...options, ablation }), run = await readRun(await written(`${ablation}.safetensors`, checkpoint({ ...good, options: settings }, settings)), "best");
    expect(run.options.ablation).toBe(ablation);
    expect(modelOf(run).config).toMatchObject(ablations[ablation].fields);
    expect(await refusal(await written("wrong.safetensors", checkpoint({ ...good, options: { ...settings, ablation: "none" } }, settings)))).toContain(`ablation is none, expected one of ${ABLATIONS.join(", ")}`);
  });

  test("is found by its folder", async () => {
    const folder = join(room, "run");
    await mkdir(join(folder, "weights"), { recursive: true });
    await written("run/weights/last.safetensors", checkpoint());
    await written("run/args.json", Buffer.from(JSON.stringify({ ...options, classes, recipe: good.recipe })));
    expect(await readRun(folder, "last")).toMatchObject({ path: join(folder, "weights", "last.safetensors"), folder });
    expect(await readRun(join(folder, "weights", "last.safetensors"), "best")).toMatchObject({ folder });
    expect(await refusal(folder)).toBe(`checkpoint: cannot read ${join(folder, "weights", "best.safetensors")}: no such file or directory (ENOENT); is this the folder of a run?`);
  });

  test("lies in a run folder only if that has the args.json of such a run", async () => {
    const path = "stranger/weights/last.safetensors", args = { ...options, classes, recipe: good.recipe };
    await mkdir(join(room, "stranger", "weights"), { recursive: true });
    await written(path, checkpoint());
    expect((await readRun(join(room, path), "last")).folder).toBeUndefined();
    for (const text of ["", "[]", "null", "{}", '{"compilerOptions": {}}', JSON.stringify({ ...args, classes: ["cat"] }), JSON.stringify({ ...args, model: "n" }), JSON.stringify({ ...args, recipe: undefined })]) {
      await written("stranger/args.json", Buffer.from(text));
      expect((await readRun(join(room, path), "last")).folder, text).toBeUndefined();
    }
    await written("stranger/args.json", Buffer.from(JSON.stringify(args)));
    expect((await readRun(join(room, path), "last")).folder).toBe(join(room, "stranger"));
  });

  test("that is not there is refused", async () => {
    expect(await refusal(join(room, "none"))).toBe(`checkpoint: cannot open ${join(room, "none")}: no such file or directory (ENOENT)`);
  });

  test("of other bytes is refused with the file's name", async () => {
    expect(await refusal(await written("text.safetensors", Buffer.from("not a checkpoint at all")))).toMatch(/^.*text\.safetensors: safetensors: the header claims \d+ bytes/);
    expect(await refusal(await written("cut.safetensors", checkpoint().slice(0, 100_000)))).toContain("cut.safetensors: safetensors: ");
    expect(await refusal(await written("empty.safetensors", new Uint8Array()))).toContain("expected at least 8 bytes, got 0");
  });

  test("of another model than it says is refused by the first tensor that differs", async () => {
    const path = await written("other.safetensors", checkpoint({ ...good, options: { ...options, model: "n" } }));
    expect(await refusal(path)).toMatch(/^.*other\.safetensors: restore: "stem\.conv\.weight" is \[48, 7, 7, 3\] in this model, \[16, 7, 7, 3\] in the checkpoint; \d+ of \d+ tensors differ \(another model, or another number of classes\?\)$/);
    expect(await refusal(await written("classes.safetensors", checkpoint({ ...good, classes: ["a", "b", "c"] })))).toContain("another number of classes?");
  });

  test("with a state that this program would not have written is refused", async () => {
    const refusals: [state: unknown, sentence: string][] = [
      [null, "the state names no classes"],
      [{ ...good, classes: [] }, "the state names no classes"],
      [{ ...good, classes: ["a", 7] }, "the state names no classes"],
      [{ ...good, progress: undefined }, "checkpoint: progress.epoch is missing, expected a whole number from 0 up"],
      ...([
        [{ epoch: "3" }, 'epoch is "3", expected a whole number from 0 up'],
        [{ epoch: -1 }, "epoch is -1, expected a whole number from 0 up"],
        [{ batchesPerEpoch: undefined }, "batchesPerEpoch is missing, expected a whole number from 1 up"],
        [{ batch: 11 }, "batch is 11, expected a whole number from 0 to 10"],
        [{ emaUpdates: 0.5 }, "emaUpdates is 0.5, expected a whole number from 0 up"],
        [{ bestEpoch: 3 }, "bestEpoch is 3, expected a whole number from -1 to 2"],
        [{ bestFitness: 1e300 }, "bestFitness is 1e+300, expected a number from 0 to 1"],
        [{ bestFitness: null }, "bestFitness is null, expected a number from 0 to 1"],
        [{ bestEpoch: -1 }, "bestFitness is 0.25, expected -1, as there was no best epoch"],
        [{ sums: null }, "sums.box is missing, expected a number"],
        [{ sums: { ...progress.sums, dfl: "1" } }, 'sums.dfl is "1", expected a number'],
        [{ sums: { ...progress.sums, firingRate: -1 } }, "sums.firingRate is -1, expected a number from 0 up"],
        [{ sums: { ...progress.sums, batches: 2 } }, "sums.batches is 2, expected a whole number from 0 to 0"],
      ] as const).map(([wrong, sentence]): [unknown, string] => [{ ...good, progress: { ...progress, ...wrong } }, `checkpoint: progress.${sentence}`]),
      ...([
        [{ lr0: undefined }, "lr0 is missing, expected a number from 0 to 10"],
        [{ lr0: "fast" }, 'lr0 is "fast", expected a number from 0 to 10'],
        [{ momentum: 7 }, "momentum is 7, expected a number from 0.000001 to 1"],
        [{ warmupEpochs: -1 }, "warmupEpochs is -1, expected a number from 0 to 100000"],
        [{ nbs: 0 }, "nbs is 0, expected a whole number from 1 to 1000000"],
        [{ clip: 0 }, "clip is 0, expected a number from 0.000001 to 1000000000"],
        [{ cosine: 1 }, "cosine is 1, expected true or false"],
        [{ ema: undefined }, "ema is missing, expected its decay and tau, or {}"],
        [{ ema: { decay: 2 } }, "ema.decay is 2, expected a number from 0 to 1"],
        [{ gains: { box: 1 } }, "gains.classes is missing, expected a number from 0 to 1000000"],
        [{ batch: 5 }, "batch is 5, but options.batch is 4"],
      ] as const).map(([wrong, sentence]): [unknown, string] => [{ ...good, recipe: { ...good.recipe, ...wrong } }, `checkpoint: recipe.${sentence}`]),
      [{ ...good, options: undefined }, "the state lacks the option model"],
      [{ ...good, options: { ...options, imgsz: 65 } }, "train: imgsz is 65, expected a multiple of 32 from 32 to 2048"],
      [{ ...good, options: { ...options, T: 1e9 } }, "train: T is 1000000000, expected a whole number from 1 to 16"],
      [{ ...good, options: { ...options, shell: "x" } }, 'train: unknown option "shell"'],
    ];
    for (const [i, [state, sentence]] of refusals.entries()) expect(await refusal(await written(`state${i}.safetensors`, checkpoint(state)))).toContain(`state${i}.safetensors: ${sentence}`);
  });
});
