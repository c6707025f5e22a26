import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { predictCommand } from "../../cli/predict.ts";
import { Progress } from "../../cli/progress.ts";
import { recipeOf, settingsOf } from "../../cli/recipes.ts";
import { newModel } from "../../cli/saved-run.ts";
import { encodePng, shapes } from "../../datasets/index.ts";
import { loadKernels } from "../../engine/index.ts";
import { saveCheckpoint, tensorsOf } from "../../nn/index.ts";

vi.setConfig({ testTimeout: 60_000 });

let room: string;
beforeAll(async () => {
  room = await mkdtemp(join(tmpdir(), "spiketrain-predict-"));
  await loadKernels();
});
afterAll(() => rm(room, { recursive: true, force: true }));

test.skipIf(process.platform === "win32")("what is no picture is skipped by name with one sentence, and the others are drawn", async () => {
  const options = settingsOf({ imgsz: 64 }), classes = ["ball", "cube"], model = tensorsOf(newModel(options, 2)), weights = join(room, "w.safetensors"), source = join(room, "source");
  const progress = { epoch: 0, batch: 0, batchesPerEpoch: 1, emaUpdates: 0, bestFitness: -1, bestEpoch: -1, sums: { box: 0, classes: 0, dfl: 0, firingRate: 0, batches: 0 } };
  await writeFile(weights, saveCheckpoint({ model, ema: model, state: { options, classes, recipe: recipeOf(options), progress } }));
  await mkdir(join(source, "folder.jpg"), { recursive: true });
  await symlink(join(room, "nowhere"), join(source, "dangling.png"));
  await symlink("loop.png", join(source, "loop.png"));
  execFileSync("mkfifo", [join(source, "pipe.png")]);
  await writeFile(join(source, "huge.jpg"), "");
  await truncate(join(source, "huge.jpg"), 2 ** 32);
  await writeFile(join(source, "bell\u001b[2J.jpg"), "no picture");
  await writeFile(join(source, "z.png"), encodePng((await shapes({ imgsz: 64 }).sample(0))!.picture));

  const said: string[] = [], out = join(room, "out");
  await predictCommand({ weights, source, out, conf: 0.9 }, new Progress({ write: (text) => said.push(text) }), new AbortController().signal);
  const inSource = (name: string) => join(source, name);
  expect(said.slice(0, 6)).toEqual([
    `image ${inSource("bell\\u001b[2J.jpg")}: expected a JPEG (ff d8), a PNG (89 50 4e 47) or a WebP (RIFF), got a file that starts with 6e 6f 20 70; convert it; the picture is skipped\n`,
    `image ${inSource("dangling.png")} is missing; the picture is skipped\n`,
    `image ${inSource("folder.jpg")} is a folder, expected a file; the picture is skipped\n`,
    `image ${inSource("huge.jpg")} has 4294967296 bytes, more than the limit of 268435456; the picture is skipped\n`,
    `image ${inSource("loop.png")} cannot be read (ELOOP); the picture is skipped\n`,
    `image ${inSource("pipe.png")} is a pipe or a device, expected a file; the picture is skipped\n`,
  ]);
  expect(said.at(-1)).toMatch(/detections on 1 pictures, drawn in .*; 6 skipped\n$/);
  expect(await readdir(out)).toEqual(["z.png"]);
});
