/**
 * Training on BCCD beside the logs of the public reference (their README tells its recipe): `data=` is the VOC folder, `reference=` the folder of the logs.
 *
 *   the first ten iterations, from its initial weights and without variations but the flip: the parts of the loss beside the log
 *   Which pictures are in a batch and which are flipped is our own draw, so that one batch is not the other; all else is the same.
 *   epochs of runs that are done (runs=RUN,RUN,...): losses and mAP along the reference's curve
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openSplit, trainingData } from "../cli/data.ts";
import { recipeOf, settingsOf } from "../cli/recipes.ts";
import { newModel } from "../cli/saved-run.ts";
import { UserError } from "../cli/user-error.ts";
import { readWeights } from "../cli/weights.ts";
import { train } from "../detection/index.ts";
import { loadKernels } from "../engine/index.ts";
import { print } from "./desk.ts";

/** In the order that its initial weights were made for. */
const CLASSES = ["RBC", "WBC", "Platelets"];
const ITERATIONS = 10, SHOWN = [1, 2, 4, 6, 10, 15, 20, 30, 40, 45, 50];
const beside = (path: string): string => fileURLToPath(new URL(`../../../shared/data/${path}`, import.meta.url));

/** Rows of a CSV as numbers by the names of its columns. */
function csv(path: string): Record<string, number>[] {
  if (!existsSync(path)) throw new UserError(`bench: bccd has no ${path}; give data=FOLDER, reference=FOLDER and runs=RUN,RUN`);
  const [head, ...lines] = readFileSync(path, "utf8").trim().split(/\r?\n/).map((line) => line.split(",").map((cell) => cell.trim()));
  return lines.map((cells) => Object.fromEntries(head.map((name, i) => [name, Number(cells[i])])));
}

export async function run(args: readonly string[] = []): Promise<unknown> {
  const given = new Map(args.map((arg) => arg.split("=", 2) as [string, string])), data = given.get("data") ?? beside("bccd"), reference = given.get("reference") ?? beside("bccd-reference");
  const iterations = await firstIterations(data, reference), runs = given.get("runs")?.split(",") ?? [];
  return { iterations, epochs: runs.length > 0 ? epochs(runs, reference) : undefined };
}

async function firstIterations(data: string, reference: string): Promise<unknown> {
  const host = await loadKernels();
  const settings = settingsOf({ data, train_split: "trainval", val_split: "test", recipe: "small", mosaic: 0, translate: 0, scale: 0, hsv_h: 0, hsv_s: 0, hsv_v: 0 });
  const [trainSet, valSet] = [await openSplit(settings, "train", { classes: CLASSES }), await openSplit(settings, "val", { classes: CLASSES })], model = newModel(settings, trainSet.classes.length);
  (await readWeights(join(reference, "initial_weights.safetensors"))).fill(model, false);
  const log = csv(join(reference, "no_aug_iterations.csv")).slice(0, ITERATIONS), rows: Record<"box" | "cls" | "dfl", number>[] = [], stop = new AbortController();
  for await (const event of train(model, trainingData(trainSet, valSet, settings), recipeOf(settings), { signal: stop.signal })) {
    if (event.kind !== "step") break;
    rows.push({ box: event.box, cls: event.classes, dfl: event.dfl });
    if (rows.length === ITERATIONS) break;
  }
  await host.stop();
  const figure = (x: number): string => x.toFixed(3), parts = ["box", "cls", "dfl"] as const;
  const mean = (of: readonly Record<string, number>[], part: string): number => of.reduce((sum, row) => sum + row[part], 0) / of.length;
  print(["iteration", ...parts.flatMap((part) => [part, "theirs"])], [
    ...rows.map((row, i) => [`${i}`, ...parts.flatMap((part) => [figure(row[part]), figure(log[i][part])])]),
    ["mean", ...parts.flatMap((part) => [figure(mean(rows, part)), figure(mean(log, part))])],
  ]);
  return parts.map((part) => ({ part, ours: mean(rows, part), theirs: mean(log, part) }));
}

function epochs(runs: readonly string[], reference: string): unknown {
  const theirs = csv(join(reference, "default_aug_results.csv")), ours = runs.map((run) => csv(join(run, "results.csv")));
  const columns = ["train/box_loss", "train/cls_loss", "train/dfl_loss", "metrics/mAP50(B)", "metrics/mAP50-95(B)"]; // as both name them
  const cells = (row: Record<string, number> | undefined): string[] => columns.map((name) => row?.[name]?.toFixed(3) ?? "-");
  print(["epoch", "whose", "box", "cls", "dfl", "mAP50", "mAP50-95"], SHOWN.flatMap((epoch) => [
    [`${epoch}`, "theirs", ...cells(theirs[epoch - 1])],
    ...ours.map((rows, i) => ["", runs[i], ...cells(rows[epoch - 1])]),
  ]));
  return ours.map((rows, i) => ({ run: runs[i], last: rows.at(-1) }));
}
