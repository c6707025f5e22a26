import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { resultsHeader, resultsRow, RunFolder } from "../../cli/run-folder.ts";
import { UserError } from "../../cli/user-error.ts";
import type { EpochEvent } from "../../detection/index.ts";

let room: string;
beforeAll(async () => { room = await fs.mkdtemp(join(tmpdir(), "spiketrain-run-")); });
afterAll(() => fs.rm(room, { recursive: true, force: true }));

const event = (epoch: number): EpochEvent => ({
  kind: "epoch", epoch, box: 1.25, classes: 2.5, dfl: 0.123456789, firingRate: 0.375, fitness: 0.3, best: true,
  settings: { rates: { bias: 0.05, weight: 0.01, norm: 0.02 }, momentum: 0.9, accumulate: 1, step: true },
  validation: { protocol: "made up", images: 8, truths: 20, detections: 90, map50: 0.5, map: 0.25, fitness: 0.275, precision: 0.75, recall: 0.625, f1: 0.7, confidence: 0.4, perClass: [] },
});

describe("results.csv", () => {
  test("has the columns that YOLO users know, then our own", () => {
    expect(resultsHeader).toBe("epoch,train/box_loss,train/cls_loss,train/dfl_loss,metrics/precision(B),metrics/recall(B),metrics/mAP50(B),metrics/mAP50-95(B),lr/pg0,lr/pg1,lr/pg2,firing_rate,seconds");
  });

  test("a row has the epoch from 1 and the parameter groups in the order biases, weights, norms", () => {
    expect(resultsRow(event(0), 12.345)).toBe("1,1.25,2.5,0.1234568,0.75,0.625,0.5,0.25,0.05,0.01,0.02,0.375,12.3");
  });

  test("grows by a row per epoch; a run that goes on drops the rows past its checkpoint and rows that were cut", async () => {
    const path = join(room, "csv"), folder = await RunFolder.at(path), csv = join(path, "results.csv");
    for (let epoch = 0; epoch < 3; epoch++) await folder.addEpoch(event(epoch), 1);
    expect((await fs.readFile(csv, "utf8")).split("\n")).toEqual([resultsHeader, ...[0, 1, 2].map((epoch) => resultsRow(event(epoch), 1)), ""]);
    await fs.appendFile(csv, "4,1.25,2.");
    await fs.writeFile(join(path, "results.csv.tmp-123"), "half");
    const again = await RunFolder.reopened(path, 2);
    await again.addEpoch(event(2), 5);
    expect((await fs.readFile(csv, "utf8")).split("\n")).toEqual([resultsHeader, ...[0, 1].map((epoch) => resultsRow(event(epoch), 1)), resultsRow(event(2), 5), ""]);
    expect(await fs.readdir(path)).toEqual(["results.csv"]);
  });
});

describe("a run folder", () => {
  test("is numbered: train, train2, train3", async () => {
    const runs = join(room, "runs");
    const paths = [];
    for (let n = 0; n < 3; n++) paths.push((await RunFolder.numbered("train", runs)).path);
    expect(paths).toEqual(["train", "train2", "train3"].map((name) => join(runs, name)));
  });

  test("keeps last and best under weights/, and lists what it holds", async () => {
    const path = join(room, "listed"), folder = await RunFolder.at(path);
    expect(folder.has("best")).toBe(false);
    await folder.write("best", new Uint8Array(2_500_000));
    await folder.add("args.json", "{}\n");
    expect(folder.has("best")).toBe(true);
    expect(await folder.contents()).toEqual([`${join(path, "args.json")}  0.0 kB`, `${join(path, "weights", "best.safetensors")}  2.5 MB`]);
  });

  test("that is reopened loses the halves of its own files, and nothing else", async () => {
    const path = join(room, "reopened");
    const ours = ["args.json.tmp-1", "results.csv.tmp-22", "report.json.tmp-3", "validation.png.tmp-4", "weights/last.safetensors.tmp-5", "weights/best.safetensors.tmp-6"];
    const others = ["notes.tmp-7", "args.json.tmp-7-mine", "args.json.tmp-", "deep/args.json.tmp-8", "weights/mine.safetensors.tmp-9", "weights/deep/last.safetensors.tmp-1", "last.safetensors.tmp-2"];
    for (const name of [...ours, ...others]) {
      await fs.mkdir(dirname(join(path, name)), { recursive: true });
      await fs.writeFile(join(path, name), "");
    }
    await RunFolder.reopened(path, 1);
    const left = (await fs.readdir(path, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile()).map(({ parentPath, name }) => relative(path, join(parentPath, name)));
    expect(left.sort()).toEqual([...others].sort());
  });

  test("of one's own choice must be empty", async () => {
    const path = join(room, "mine");
    await fs.mkdir(path);
    await fs.writeFile(join(path, "thesis.tex"), "");
    await expect(RunFolder.at(path)).rejects.toThrow(`run: ${path} is not empty (it holds thesis.tex); choose another folder, or go on with resume=${path}`);
  });

  test("that cannot be written is refused before the run", async () => {
    const file = join(room, "file");
    await fs.writeFile(file, "");
    await expect(RunFolder.at(join(file, "run"))).rejects.toThrow(`run: cannot make files in ${join(file, "run")}: not a directory (ENOTDIR); choose another folder with out=PATH`);
    await expect(RunFolder.numbered("train", join(file, "runs"))).rejects.toThrow(UserError);
    await expect(RunFolder.at(join("/proc", "spiketrain"))).rejects.toThrow("/proc/spiketrain");
    expect(dirname(file)).toBe(room);
  });
});
