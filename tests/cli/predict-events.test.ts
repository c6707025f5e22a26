/** Recordings in, pictures of what was found and a list of it out. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { inOrder, openSplit } from "../../cli/data.ts";
import { parseOptions } from "../../cli/options.ts";
import { predictCommand } from "../../cli/predict.ts";
import { Progress } from "../../cli/progress.ts";
import { recipeOf, settingsOf } from "../../cli/recipes.ts";
import { modelOf, newModel, readRun } from "../../cli/saved-run.ts";
import { Interrupted } from "../../cli/user-error.ts";
import { decodeImage, offNetwork, writeEventScenes, type EventOrigin } from "../../datasets/index.ts";
import { predict, predictionNms } from "../../detection/index.ts";
import { loadKernels, type Host } from "../../engine/index.ts";
import { saveCheckpoint, tensorsOf } from "../../nn/index.ts";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });
const room = mkdtempSync(join(tmpdir(), "spiketrain-predict-events-")), at = (...path: string[]): string => join(room, ...path);
const CLASSES = ["car", "pedestrian"], progress = { epoch: 0, batch: 0, batchesPerEpoch: 1, emaUpdates: 0, bestFitness: -1, bestEpoch: -1, sums: { box: 0, classes: 0, dfl: 0, firingRate: 0, batches: 0 } };
let host: Host;
beforeAll(async () => {
  host = await loadKernels({ threads: 1, arithmetic: "strict" });
  await writeEventScenes(room, { split: "val", recordings: 2, seconds: 1, camera: { width: 96, height: 64 }, seed: 5 });
  for (const [name, options] of [["events", settingsOf({ data: at(), frames: "last", model: "tiny", T: 2, imgsz: 64 })], ["pictures", settingsOf({ imgsz: 64 })]] as const) {
    const model = tensorsOf(newModel(options, CLASSES.length));
    writeFileSync(at(`${name}.safetensors`), saveCheckpoint({ model, ema: model, state: { options, classes: CLASSES, recipe: recipeOf(options), progress } }));
  }
});
afterAll(async () => { await host.stop(); rmSync(room, { recursive: true, force: true }); });

async function say(args: readonly string[], signal = new AbortController().signal): Promise<string> {
  let said = "";
  await predictCommand(parseOptions("predict", args), new Progress({ write: (text: string) => { said += text; return true; } } as unknown as NodeJS.WriteStream), signal);
  return said;
}
const listed = (folder: string) => JSON.parse(readFileSync(at(folder, "detections.json"), "utf8"));
const EVENTS = ["weights=" + at("events.safetensors")];

test("every window of every recording of a folder is drawn, and what was found is listed with its time", async () => {
  const said = await say([...EVENTS, `source=${at("val")}`, "conf=0.004", "form=real", `out=${at("all")}`]);
  expect(said).toContain("frames of events: last polarity, 2 slices of 125 ms, newest first\n");
  const { moments, frames, confidence } = listed("all");
  expect([frames, confidence]).toEqual(["last polarity, 2 slices of 125 ms, newest first", 0.004]);
  expect(moments.map(({ recording, t }: any) => [recording, t])).toEqual([0, 1].flatMap((k) => [1, 2, 3, 4].map((n) => [at("val", `scene_${k}_td.dat`), 250_000 * n])));
  expect(readdirSync(at("all")).sort()).toEqual(["detections.json", ...moments.map(({ picture }: any) => picture)].sort());
  expect(moments[1].picture).toBe("scene_0_0000500000us.png");
  const drawn = await decodeImage(readFileSync(at("all", moments[1].picture)), "drawn");
  expect([drawn.width, drawn.height]).toEqual([384, 256]);
  expect(said).toMatch(new RegExp(`^${moments.flatMap(({ detections }: any) => detections).length} detections \\(.+\\) at 8 moments of 2 recordings, drawn in `, "m"));
});

test("what is listed is what the network finds in the batches of the labels of these times", async () => {
  const run = await readRun(at("events.safetensors"), "last"), model = modelOf(run), { moments } = listed("all");
  let compared = 0;
  for await (const { images, origins } of inOrder(await openSplit(run.options, "val"), { ...run.options, batch: 1, workers: 0 })) {
    const [origin] = origins as EventOrigin[], { recording, time } = origin.labels, [found] = predict(model, images, { form: "real", nms: { ...predictionNms, confidence: 0.004 } });
    const { detections } = moments.find((moment: any) => moment.recording.endsWith(`${recording}_td.dat`) && moment.t === time);
    expect(detections).toEqual(found.map((box) => offNetwork(box, origin, origin.place)).map(({ class: c, score, x1, y1, x2, y2 }) => ({ class: CLASSES[c], score, x: x1, y: y1, w: x2 - x1, h: y2 - y1 })));
    compared += detections.length;
  }
  expect(compared).toBeGreaterThan(0);
});

test("one recording, as often as is asked for; a broken one beside it is told and left out", async () => {
  await say([...EVENTS, `source=${at("val", "scene_1_td.dat")}`, "every=100", "fold=all", `out=${at("often")}`]);
  expect(listed("often").moments.map(({ t }: any) => t / 1000)).toEqual([250, 350, 450, 550, 650, 750, 850, 950, 1050]);
  await writeEventScenes(at("broken"), { split: "val", recordings: 2, seconds: 0.5, camera: { width: 96, height: 64 }, seed: 5 });
  truncateSync(at("broken", "val", "scene_0_td.dat"), 20);
  expect(await say([...EVENTS, `source=${at("broken", "val")}`, `out=${at("rest")}`])).toMatch(/recordings: .*scene_0_td\.dat: .* \(byte \d+\); it is left out\n/);
  expect(listed("rest").moments.length).toBe(2);
  await expect(say([...EVENTS, `source=${at("broken", "val", "scene_0_td.dat")}`, `out=${at("none")}`])).rejects.toThrow(/^predict: recordings: .*scene_0_td\.dat: .*; it is left out; nothing is left to predict on$/);
});

test("a run that is stopped leaves what it has", async () => {
  await expect(say([...EVENTS, `source=${at("val")}`, `out=${at("stopped")}`], AbortSignal.abort())).rejects.toThrow(Interrupted);
  expect(listed("stopped").moments).toEqual([]);
});

test("a network for one where the other is, is refused in a sentence", async () => {
  const pictures = `weights=${at("pictures.safetensors")}`;
  await expect(say([...EVENTS, `source=${at("all")}`])).rejects.toThrow(/ is for frames of events, and .*all is no recording and holds none; give source=NAME_td\.dat, or a folder of such files$/);
  await expect(say([pictures, `source=${at("val", "scene_0_td.dat")}`])).rejects.toThrow(/^predict: the network of .*pictures\.safetensors is for pictures, .*scene_0_td\.dat is a recording of events$/);
  await expect(say([pictures, `source=${at("all")}`, "every=100"])).rejects.toThrow(/ is for pictures, every= is about recordings of events; leave it out$/);
  await expect(say([pictures, `source=${at("val")}`, `out=${at("no")}`])).rejects.toThrow(/val holds no JPEG, PNG or WebP$/);
});
