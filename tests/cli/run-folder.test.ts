import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { resultsHeader, resultsRow, RunFolder, writeAtomically, type Files } from "../../cli/run-folder.ts";
import { UserError } from "../../cli/user-error.ts";
import type { EpochEvent } from "../../detection/index.ts";

let room: string;
beforeAll(async () => { room = await fs.mkdtemp(join(tmpdir(), "spiketrain-run-")); });
afterAll(() => fs.rm(room, { recursive: true, force: true }));

const event = (epoch: number): EpochEvent => ({
  kind: "epoch", epoch, box: 1.25, classes: 2.5, dfl: 0.123456789, firingRate: 0.375, fitness: 0.3, best: true,
  settings: { rates: { bias: 0.05, weight: 0.01, norm: 0.02 }, momentum: 0.9, accumulate: 1, step: true },
  validation: { images: 8, truths: 20, detections: 90, map50: 0.5, map: 0.25, fitness: 0.275, precision: 0.75, recall: 0.625, f1: 0.7, confidence: 0.4, perClass: [] },
});

/** The real file system, but that its nth call fails as a disk does. Counts the calls. */
function failing(nth: number, code = "ENOSPC", reason = "no space left on device"): Files & { calls: number } {
  const disk = { calls: 0, open: fs.open, rename: fs.rename, rm: fs.rm };
  const call = <A extends unknown[], R>(name: string, real: (...args: A) => Promise<R>) => async (...args: A): Promise<R> => {
    if (++disk.calls === nth) throw Object.assign(new Error(`${code}: ${reason}, ${name}`), { code });
    return real(...args);
  };
  disk.open = call("open", async (...args: Parameters<typeof fs.open>) => {
    const file = await fs.open(...args);
    const write = file.write.bind(file) as (...args: unknown[]) => Promise<{ bytesWritten: number }>;
    return Object.assign(file, {
      write: call("write", (bytes: Uint8Array, at: number, length: number) => write(bytes, at, Math.min(length, 4096))), // and every write is short
      sync: call("fsync", file.sync.bind(file)),
    });
  }) as typeof fs.open;
  disk.rename = call("rename", fs.rename);
  return disk;
}

describe("a file that is written atomically", () => {
  test("is there in full, in the place of the one before, and leaves nothing beside it", async () => {
    const folder = await fs.mkdtemp(join(room, "atomic-")), path = join(folder, "a.bin");
    await writeAtomically(path, "first");
    await writeAtomically(path, new Uint8Array(10_000).fill(7), failing(0));
    expect(await fs.readFile(path)).toEqual(Buffer.alloc(10_000, 7));
    expect(await fs.readdir(folder)).toEqual(["a.bin"]);
  });

  test("stays as it was, or is new in full, whichever call of the disk fails", async () => {
    const folder = await fs.mkdtemp(join(room, "faults-")), path = join(folder, "last.safetensors");
    const before = Buffer.alloc(9_000, 1), after = Buffer.alloc(9_000, 2), kept: boolean[] = [];
    for (let nth = 1; ; nth++) {
      await fs.writeFile(path, before);
      const disk = failing(nth);
      const error = await writeAtomically(path, after, disk).then(() => undefined, (error: Error) => error);
      if (!error) {
        expect(disk.calls).toBe(nth - 1);
        break;
      }
      expect(error).toBeInstanceOf(UserError);
      expect(error.message).toContain(`9000 bytes of ${path}`);
      expect(error.message).toContain("no space left on device (ENOSPC)");
      const now = await fs.readFile(path);
      kept.push(now.equals(before));
      expect(now.equals(before) || now.equals(after)).toBe(true);
      expect(error.message.includes("what was there before is kept")).toBe(now.equals(before));
      expect(await fs.readdir(folder)).toEqual(["last.safetensors"]);
    }
    // open, three short writes, fsync, rename; then open and fsync of the folder
    expect(kept).toEqual([true, true, true, true, true, true, false, false]);
  });

  test("names path and reason where a real disk refuses", async () => {
    await expect(writeAtomically("/dev/null/a", "x")).rejects.toThrow("run: cannot write the 1 bytes of /dev/null/a: not a directory (ENOTDIR); what was there before is kept");
    const folder = await fs.mkdtemp(join(room, "taken-"));
    await fs.mkdir(join(folder, "best", "full"), { recursive: true });
    await expect(writeAtomically(join(folder, "best"), "x")).rejects.toThrow(/cannot write the 1 bytes of .*best: .*\(E[A-Z]+\)/);
    expect(await fs.readdir(folder)).toEqual(["best"]);
  });
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
