/** From recordings to figures by the command line: scenes, train, resume and val on a folder as Gen1's. */
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { inOrder, openSplit, trainingData, type AnyBatch } from "../../cli/data.ts";
import { exportCommand } from "../../cli/export.ts";
import { parseOptions } from "../../cli/options.ts";
import { predictCommand } from "../../cli/predict.ts";
import { Progress } from "../../cli/progress.ts";
import { settingsOf } from "../../cli/recipes.ts";
import { modelOf, readRun } from "../../cli/saved-run.ts";
import { scenesCommand } from "../../cli/scenes.ts";
import { trainCommand } from "../../cli/train.ts";
import { valCommand } from "../../cli/val.ts";
import { gen1 } from "../../datasets/index.ts";
import { loadKernels, type Host } from "../../engine/index.ts";
import { ilifGen1 } from "../../nn/index.ts";
import { writeVoc } from "./voc-folder.ts";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });
const room = mkdtempSync(join(tmpdir(), "spiketrain-events-")), at = (...path: string[]): string => join(room, ...path);
let host: Host;
beforeAll(async () => {
  host = await loadKernels({ threads: 1, arithmetic: "strict" });
  await scenes([`out=${at("data")}`, "train=2", "val=1", "test=1", "seconds=2", "width=96", "height=64", "seed=5"]);
});
afterAll(async () => { await host.stop(); rmSync(room, { recursive: true, force: true }); });

/** What a command says, as one text. */
const saying = (run: (progress: Progress, signal: AbortSignal) => Promise<void>, signal = new AbortController().signal) => async (): Promise<string> => {
  let said = "";
  await run(new Progress({ write: (text: string) => { said += text; return true; } } as unknown as NodeJS.WriteStream), signal);
  return said;
};
const scenes = (args: string[], signal?: AbortSignal) => saying((...rest) => scenesCommand(parseOptions("scenes", args), ...rest), signal)();
const train = (...args: string[]) => saying((...rest) => trainCommand(parseOptions("train", args), ...rest))();
const val = (...args: string[]) => saying((...rest) => valCommand(parseOptions("val", args), ...rest))();
const report = (folder: string, name = "report") => JSON.parse(readFileSync(at(folder, `${name}.json`), "utf8"));

const SMALL = ["model=tiny", "imgsz=64", "batch=4", "T=2", "seed=3", "arithmetic=strict"];
const PROTOCOL = "last polarity, 2 slices of 125 ms, newest first";

describe("spiketrain scenes", () => {
  test("writes recordings of every split, which the reader of Gen1 reads, and the same bytes again", async () => {
    for (const [split, names] of [["train", ["scene_0", "scene_1"]], ["val", ["scene_0"]], ["test", ["scene_0"]]] as const) {
      const { recordings, problems } = await gen1(at("data"), { split });
      expect([recordings.map(({ name }) => name), problems]).toEqual([names, []]);
      const { width, height, count } = await recordings[0].open();
      expect([width, height]).toEqual([96, 64]);
      expect(count).toBeGreaterThan(1000);
    }
    await scenes([`out=${at("again")}`, "train=1", "val=1", "test=1", "seconds=2", "width=96", "height=64", "seed=5"]);
    for (const name of readdirSync(at("again", "train"))) expect(readFileSync(at("again", "train", name)).equals(readFileSync(at("data", "train", name)))).toBe(true);
  });

  test("refuses a folder that is taken, stops when told to, and wants to know where", async () => {
    await expect(scenes([`out=${at("data")}`])).rejects.toThrow(/data is not empty/);
    await expect(scenes([])).rejects.toThrow("scenes: out is missing; give out=FOLDER");
    await expect(scenes([`out=${at("stopped")}`, "train=2", "seconds=0.5", "width=32", "height=32"], AbortSignal.abort())).rejects.toThrow(/^stopped after 1 of 2 recordings of .*train$/);
  });
});

describe("spiketrain train on recordings", () => {
  test("trains, keeps how frames are made with the weights, and measures by Gen1's rules; val does the same", async () => {
    const said = await train(`data=${at("data")}`, ...SMALL, "epochs=2", `out=${at("run")}`);
    expect(said).toContain(`frames of events: ${PROTOCOL}\n`);
    expect(said).toMatch(/data gen1 .*train \d+, gen1 .*val \d+, gen1 .*test \d+ labelled moments at 64 x 64/);
    expect(said).toContain("Gen1 (skip 0.5 s, diagonal 30, side 10), then COCO boxes (as pycocotools):");
    expect(readdirSync(at("run")).sort()).toEqual(["args.json", "confusion.json", "curves.json", "report.json", "results.csv", "validation.png", "weights"]);
    expect(report("run", "args")).toMatchObject({ protocol: PROTOCOL, frames: "last", window: 250, order: "newest", T: 2, classes: ["car", "pedestrian"] });
    expect(report("run", "confusion")).toMatchObject({ predicted: ["car", "pedestrian", "background"] });

    const saved = await readRun(at("run"), "last");
    expect(saved.protocol).toBe(PROTOCOL);
    expect((saved.checkpoint.state as { protocol: string }).protocol).toBe(PROTOCOL);
    expect(modelOf(saved).config).toMatchObject({ T: 2, neuron: ilifGen1(4) });

    const measured = await val(`weights=${at("run")}`, "split=test", `out=${at("measured")}`);
    expect(measured).toContain(`frames of events: ${PROTOCOL}\n`);
    expect(report("measured")).toEqual(report("run"));
    expect(report("measured").figures.protocol).toMatch(/^Gen1 \(skip 0\.5 s/);
    await val(`weights=${at("run")}`, `data=${at("data")}`, "metric=coco", `out=${at("by-coco")}`);
    expect(report("by-coco").figures.protocol).toBe("COCO boxes (as pycocotools)");
  });

  test("its weights under the reference's names measure the same recordings to the same figures", async () => {
    await saying((...rest) => exportCommand(parseOptions("export", [`weights=${at("run")}`, `out=${at("theirs.safetensors")}`]), rest[0]))();
    const figures = async (weights: string, ...more: string[]) => { await val(`weights=${weights}`, ...more, `out=${at(`val-${weights.length}`)}`); return JSON.parse(readFileSync(at(`val-${weights.length}`, "report.json"), "utf8")); };
    const [own, theirs] = [await figures(at("run")), await figures(at("theirs.safetensors"), `data=${at("data")}`)];
    expect(theirs.scores).toEqual(own.scores);
    expect(theirs.figures).toEqual(own.figures);
  });

  test("gives the same bits again", async () => {
    await train(`data=${at("data")}`, ...SMALL, "epochs=2", `out=${at("whole")}`);
    const last = (run: string) => readFileSync(at(run, "weights", "last.safetensors"));
    expect(last("whole").equals(last("run"))).toBe(true);
  });

  test("an epoch goes on from any of its batches as if it had begun there", async () => {
    const settings = settingsOf({ data: at("data"), frames: "last", T: 2, imgsz: 64, batch: 2 });
    const set = await openSplit(settings, "train"), data = trainingData(set, set, settings);
    const all = async (epoch: number, from: number) => {
      const list: unknown[] = [];
      for await (const { images, boxes } of data.train(epoch, from)) list.push([(images as AnyBatch["images"]).data.reduce((a, b) => a + b, 0), [...boxes.xywh]]);
      return list;
    };
    const whole = await all(0, 0);
    expect(whole.length).toBe(data.batchesPerEpoch);
    expect(await all(0, 2)).toEqual(whole.slice(2));
    expect(await all(1, 0)).not.toEqual(whole);
  });

  test("frames are as the options say", async () => {
    for (const [more, protocol, least] of [[{ frames: "count" as const }, "counts of both polarities, 2 slices of 125 ms, newest first", 1], [{ frames: "voxel" as const, order: "chronological" as const, window: 100 }, "voxel grid, 2 slices of 50 ms, chronological", -1]] as const) {
      const settings = settingsOf({ data: at("data"), T: 2, imgsz: 64, batch: 2, ...more }), set = await openSplit(settings, "val");
      expect(set.protocol).toBe(protocol);
      for await (const { images } of inOrder(set, settings)) {
        expect(images.shape).toEqual([2, 2, 64, 64, 3]);
        expect(Math.sign(least) * images.data.reduce((a, b) => (least < 0 ? Math.min(a, b) : Math.max(a, b)), 0)).toBeGreaterThan(0);
        break;
      }
    }
  });
});

describe("what is refused or told", () => {
  test("options of pictures with recordings, and the other way round", async () => {
    await expect(train(`data=${at("data")}`, "mosaic=1")).rejects.toThrow("train: mosaic is about pictures, and data= holds recordings of events; leave it out");
    await expect(train("frames=last")).rejects.toThrow("train: frames is about recordings of events, and there are none; leave it out");
  });

  test("a network for one where the other is", async () => {
    await writeVoc(at("voc"), [{ id: "a" }], { train: ["a"], val: ["a"] });
    await expect(val(`weights=${at("run")}`, `data=${at("voc")}`, `out=${at("no")}`)).rejects.toThrow(/^data: the network is for frames of events, ".*voc" holds pictures; give a folder of Gen1 recordings$/);
    await expect(openSplit(settingsOf({ data: at("data") }), "val")).rejects.toThrow(/^data: the network is for pictures, ".*data" holds recordings of events; give pictures with labels/);
    await expect(saying((...rest) => predictCommand(parseOptions("predict", [`weights=${at("run")}`, `source=${at("voc")}`]), ...rest))()).rejects.toThrow(/^predict: the network of .*run.* is for frames of events, and .*voc is no recording and holds none; give source=NAME_td\.dat, or a folder of such files$/);
    expect(existsSync(at("no"))).toBe(false);
  });

  test("recordings that lie in the folder itself, to train on; they can be measured", async () => {
    await expect(train(`data=${at("data", "val")}`, ...SMALL, `out=${at("flat")}`)).rejects.toThrow(/^gen1: the recordings of ".*" lie in the folder itself, so none are left to validate with; move them to /);
    expect(await val(`weights=${at("run")}`, `data=${at("data", "val")}`, `out=${at("measured-flat")}`)).toMatch(/^gen1 .*val: \d+ pictures/);
  });

  test("a recording that ends within its header is told and skipped; with strict it ends the run", async () => {
    cpSync(at("data"), at("cut"), { recursive: true });
    truncateSync(at("cut", "train", "scene_1_td.dat"), 30);
    const settings = settingsOf({ data: at("cut"), frames: "last", T: 2, imgsz: 64, batch: 1 }), set = await openSplit(settings, "train");
    let seen = 0;
    for await (const { origins } of inOrder(set, settings)) seen += origins.length;
    expect(set.skipped).toBe(set.size - seen);
    expect(set.skipped).toBeGreaterThan(0);
    expect(set.problems.some((problem) => /^gen1: scene_1_td\.dat.*what is labelled in the recording is skipped$/.test(problem))).toBe(true);
    await expect((async () => { for await (const _ of inOrder(set, { ...settings, strict: "true" })); })()).rejects.toThrow(/scene_1_td\.dat.*\(strict: the run ends at the first moment that cannot be read\)$/);
  });
});
