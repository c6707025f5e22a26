import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { recipeOf, settingsOf } from "../../cli/recipes.ts";
import { modelOf, newModel, readRun } from "../../cli/saved-run.ts";
import { UserError } from "../../cli/user-error.ts";
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
const good = { options, classes, recipe: recipeOf(options), progress: { epoch: 3, batch: 0 } };

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
    expect(run).toMatchObject({ options, classes, epochs: 3, folder: undefined, recipe: good.recipe });
    const averaged = tensorsOf(modelOf(run)), fresh = tensorsOf(newModel(options, 2));
    for (const [name, { data }] of averaged) expect(data[0]).toBe(Math.fround(fresh.get(name)!.data[0] + 1));
  });

  test("is found by its folder", async () => {
    const folder = join(room, "run");
    await mkdir(join(folder, "weights"), { recursive: true });
    await written("run/weights/last.safetensors", checkpoint());
    expect(await readRun(folder, "last")).toMatchObject({ path: join(folder, "weights", "last.safetensors"), folder });
    expect(await readRun(join(folder, "weights", "last.safetensors"), "best")).toMatchObject({ folder });
    expect(await refusal(folder)).toBe(`checkpoint: cannot read ${join(folder, "weights", "best.safetensors")}: no such file or directory (ENOENT); is this the folder of a run?`);
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
      [{ ...good, progress: { epoch: "3" } }, "the state does not say how far the run was"],
      [{ ...good, progress: { epoch: -1 } }, "the state does not say how far the run was"],
      [{ ...good, options: undefined }, "the state lacks the option model"],
      [{ ...good, options: { ...options, imgsz: 65 } }, "train: imgsz is 65, expected a multiple of 32 from 32 to 2048"],
      [{ ...good, options: { ...options, T: 1e9 } }, "train: T is 1000000000, expected a whole number from 1 to 16"],
      [{ ...good, options: { ...options, shell: "x" } }, 'train: unknown option "shell"'],
    ];
    for (const [i, [state, sentence]] of refusals.entries()) expect(await refusal(await written(`state${i}.safetensors`, checkpoint(state)))).toContain(`state${i}.safetensors: ${sentence}`);
  });
});
