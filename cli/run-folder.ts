/**
 * Where a run leaves what it made:
 *
 *   args.json                  every option, and what it ran on
 *   results.csv                one row per epoch, under the names that YOLO users know
 *   weights/last.safetensors   enough to go on to the bit
 *   weights/best.safetensors   the same, of the best epoch so far
 *   report.json                what the best weights are worth, when the run is over
 *   curves.json                of each class: precision, recall and F1 over confidence, precision over recall
 *   confusion.json             what was taken for what
 *   validation.png             some pictures with what was found in them
 *
 * Every file is whole at every moment: it is written beside its place and then moved there.
 */
import { existsSync } from "node:fs";
import * as fs from "node:fs/promises";
import { dirname, join } from "node:path";
import { printable } from "../datasets/printable.ts";
import type { EpochEvent, Store } from "../detection/index.ts";
import { writeAtomically } from "./atomic-file.ts";
import type { Findings } from "./findings.ts";
import type { Report } from "./report.ts";
import { reasonOf, UserError } from "./user-error.ts";

/** ultralytics' order of parameter groups is biases, weights, norms. */
const COLUMNS: readonly [name: string, value: (event: EpochEvent, seconds: number) => number][] = [
  ["epoch", ({ epoch }) => epoch + 1],
  ["train/box_loss", ({ box }) => box],
  ["train/cls_loss", ({ classes }) => classes],
  ["train/dfl_loss", ({ dfl }) => dfl],
  ["metrics/precision(B)", ({ validation }) => validation.precision],
  ["metrics/recall(B)", ({ validation }) => validation.recall],
  ["metrics/mAP50(B)", ({ validation }) => validation.map50],
  ["metrics/mAP50-95(B)", ({ validation }) => validation.map],
  ["lr/pg0", ({ settings }) => settings.rates.bias],
  ["lr/pg1", ({ settings }) => settings.rates.weight],
  ["lr/pg2", ({ settings }) => settings.rates.norm],
  ["firing_rate", ({ firingRate }) => firingRate],
  ["seconds", (_, seconds) => Math.round(seconds * 10) / 10],
];

/** The third part of the loss is objectness in a network that has that in place of dfl. */
export const headerFor = (third: string): string => resultsHeader.replace("dfl_loss", `${third}_loss`);
export const resultsHeader = COLUMNS.map(([name]) => name).join(",");
export const resultsRow = (event: EpochEvent, seconds: number): string => COLUMNS.map(([, value]) => Number(value(event, seconds).toPrecision(7))).join(",");

/** Every file of a run folder, and of weights/ in it. */
const OURS = ["args.json", "results.csv", "report.json", "curves.json", "confusion.json", "validation.png"], CHECKPOINTS = ["last.safetensors", "best.safetensors"];

export class RunFolder implements Store {
  private constructor(readonly path: string, private rows: string[]) {}

  /** runs/NAME, or the first of runs/NAME2, runs/NAME3 ... that is free. */
  static async numbered(name: string, runs = "runs"): Promise<RunFolder> {
    for (let n = 1; ; n++) {
      const path = join(runs, n === 1 ? name : name + n);
      if (await making(path, async () => { await ensureFolder(runs); return isNew(path); })) return RunFolder.prepared(path);
    }
  }

  /** A folder of the user's choice, which must hold nothing yet. */
  static async at(path: string): Promise<RunFolder> {
    const held = await making(path, async () => { await ensureFolder(path); return fs.readdir(path); });
    if (held.length > 0) throw new UserError(`run: ${path} is not empty (it holds ${held.slice(0, 3).map(printable).join(", ")}${held.length > 3 ? ", ..." : ""}); choose another folder, or go on with resume=${path}`);
    return RunFolder.prepared(path);
  }

  /** The folder of a run (`readRun` says whether it is one) that goes on after so many epochs; rows of later ones are dropped. */
  static async reopened(path: string, epochs: number): Promise<RunFolder> {
    const text = await fs.readFile(join(path, "results.csv"), "utf8").catch(() => "");
    const rows = text.split("\n").slice(1).filter((row) => row.split(",").length === COLUMNS.length && Number.parseInt(row) <= epochs);
    const folder = await RunFolder.prepared(path);
    folder.rows = rows;
    await removeLeftovers(path, OURS);
    await removeLeftovers(join(path, "weights"), CHECKPOINTS);
    return folder;
  }

  /** Finds out now, and not after an epoch, whether files can be made here. */
  private static async prepared(path: string): Promise<RunFolder> {
    await making(path, async () => {
      const probe = join(path, `.probe-${process.pid}`);
      await fs.writeFile(probe, "");
      await fs.rm(probe);
    });
    return new RunFolder(path, []);
  }

  checkpoint(name: "last" | "best"): string { return join(this.path, "weights", `${name}.safetensors`); }

  has(name: "last" | "best"): boolean { return existsSync(this.checkpoint(name)); }

  async write(name: "last" | "best", bytes: Uint8Array): Promise<void> {
    await making(this.path, () => ensureFolder(join(this.path, "weights")));
    await writeAtomically(this.checkpoint(name), bytes);
  }
  add(name: string, data: Uint8Array | string): Promise<void> { return writeAtomically(join(this.path, name), data); }

  /** What was measured: the report, and what its curves and its matrix are drawn from. */
  async addMeasured(report: Report, findings: Findings): Promise<void> {
    await this.add("report.json", `${JSON.stringify(report, null, 2)}\n`);
    await this.add("curves.json", `${JSON.stringify(findings.curves())}\n`);
    await this.add("confusion.json", `${JSON.stringify(findings.confusionTable())}\n`);
  }

  /** One more row of results.csv. */
  addEpoch(event: EpochEvent, seconds: number, third = "dfl"): Promise<void> {
    this.rows.push(resultsRow(event, seconds));
    return this.add("results.csv", [headerFor(third), ...this.rows, ""].join("\n"));
  }

  /** Each file with its size. */
  async contents(): Promise<string[]> {
    const names = (await fs.readdir(this.path, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath ?? entry.path, entry.name)).sort();
    return Promise.all(names.map(async (name) => `${name}  ${sizeText((await fs.stat(name)).size)}`));
  }
}

const sizeText = (bytes: number): string => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

/** Halves of these files, and of no others, that a run left when it was killed while writing. */
async function removeLeftovers(folder: string, files: readonly string[]): Promise<void> {
  const held = await fs.readdir(folder).catch(() => []);
  const left = held.filter((name) => files.some((file) => name.startsWith(`${file}.tmp-`) && /^\d+$/.test(name.slice(file.length + 5))));
  for (const name of left) await fs.rm(join(folder, name), { force: true });
}

/** Makes a folder; false if it was there. */
async function isNew(path: string): Promise<boolean> {
  try {
    await fs.mkdir(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** A folder and those above it. Node's own way goes round in circles where the system makes none, as in /proc. */
async function ensureFolder(path: string): Promise<void> {
  const code = await isNew(path).then(() => undefined, (error: NodeJS.ErrnoException) => error.code);
  if (code !== "ENOENT" || dirname(path) === path) return void (await fs.readdir(path));
  await ensureFolder(dirname(path));
  await isNew(path);
}

async function making<R>(path: string, make: () => Promise<R>): Promise<R> {
  try {
    return await make();
  } catch (error) {
    throw new UserError(`run: cannot make files in ${path}: ${reasonOf(error)}; choose another folder with out=PATH`, { cause: error });
  }
}
