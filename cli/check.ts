/** `spiketrain check`: a data set read from end to end, what is in it and what is wrong with it, and pictures of its labels. */
import { readdir, readFile, stat } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { checkable, look, shared, type TextOf } from "../datasets/check.ts";
import { gen1Splits } from "../datasets/gen1.ts";
import { encodePng, gen1Frames, type DetectionSet, type Problem, type Sample, type SetCheck } from "../datasets/index.ts";
import { drawContactSheet } from "./contact-sheet.ts";
import { kindOf, readers } from "./data.ts";
import type { Values } from "./options.ts";
import type { Progress } from "./progress.ts";
import { RunFolder } from "./run-folder.ts";
import { Interrupted, isForUser, refusing, UserError } from "./user-error.ts";

/** A split by its name. */
interface Part { readonly split: string; readonly set: DetectionSet }

export async function checkCommand({ data, show = 16, out }: Values<"check">, progress: Progress, signal: AbortSignal): Promise<void> {
  if (data === undefined) throw new UserError("check: data is missing; give data=PATH");
  const parts = await refusing(() => splitsOf(data)), textOf = textBelow(data);
  const folder = out === undefined ? await RunFolder.numbered("check") : await RunFolder.at(out);

  const looked = [];
  for (const { split, set } of parts) {
    const one = await look(checkable(set, textOf), { show, progress: async (done) => {
      progress.passing(`reading ${split} ... ${done}/${set.size}`);
      await turn(); // for signals
      if (signal.aborted) throw new Interrupted(`stopped after ${done} of ${set.size} pictures of ${set.name}`);
    } });
    const common = looked.flatMap((earlier) => shared(earlier, one)), check = { ...one.check, problems: [...one.check.problems, ...common] };
    looked.push(one);
    for (const line of tell(check)) progress.say(line);
    const samples = (await Promise.all(one.shown.map((index) => set.sample(index)))).filter((sample): sample is Sample => sample !== undefined);
    if (samples.length > 0) {
      const name = `${fileName(split)}.png`;
      await folder.add(name, encodePng(drawContactSheet(samples, { names: set.classes, title: set.name, footer: `${samples.length} of ${check.usable} pictures, ${check.boxes} boxes, ${count(check.problems.length, "problem")}` })));
      progress.say(`contact sheet: ${join(folder.path, name)}`);
    }
    await folder.add(`${fileName(split)}.json`, `${JSON.stringify(check, null, 2)}\n`);
  }
}

/** Every split once: a list that only joins train and val is left to them. */
async function splitsOf(data: string): Promise<Part[]> {
  const kind = await kindOf(data);
  if (kind === "gen1") {
    const recorded = await gen1Splits(data);
    return recorded.length > 0 ? Promise.all(recorded.map(async (split) => ({ split, set: await gen1Frames(data, { split }) }))) : [{ split: "recordings", set: await gen1Frames(data) }];
  }
  const reader = readers[kind], lists = await reader.splits(data), listed = lists.filter((list) => list !== "trainval" || !lists.includes("train") || !lists.includes("val"));
  const own = listed.length > 0 ? listed : ["train"], opened = await Promise.allSettled(own.map((split) => reader.open(data, split)));
  if (opened.every(({ status }) => status === "rejected")) throw (opened[0] as PromiseRejectedResult).reason;
  return opened.map((result, i) => ({ split: own[i], set: result.status === "fulfilled" ? result.value : refused(`${kind} ${data} ${own[i]}`, result.reason) }));
}

/** A split that cannot be opened, for a reason that is a problem of its own. */
function refused(name: string, reason: unknown): DetectionSet {
  if (!(reason instanceof Error && (reason.constructor === Error || isForUser(reason)))) throw reason;
  return { name, classes: [], size: 0, problems: [reason.message], sample: async () => undefined };
}

/** Files that a sentence names are below `data` (or the folder of that file), or below a folder or two in it (VOCdevkit/VOC2007, train); or it names them as `data` is named, from here. */
function textBelow(data: string): TextOf {
  const top = /\.(json|ya?ml)$/.test(data) ? dirname(data) : data;
  let roots: Promise<string[]> | undefined;
  const below = async (path: string) => (await readdir(path, { withFileTypes: true }).catch(() => [])).filter((entry) => entry.isDirectory()).map(({ name }) => join(path, name));
  const outside = (path: string): boolean => /(^|[\\/])\.\.([\\/]|$)/.test(relative(top, path));
  const find = async (file: string): Promise<string | undefined> => {
    const fromHere = !outside(resolve(file));
    if (!fromHere && outside(resolve(top, file))) return undefined;
    roots ??= below(top).then(async (first) => [top, ...first, ...(await Promise.all(first.map(below))).flat()]);
    for (const root of [...(fromHere ? [resolve()] : []), ...await roots]) {
      const path = resolve(root, file), size = await stat(path).then((found) => (found.isFile() ? found.size : Infinity), () => undefined);
      if (size !== undefined) return size <= LARGEST ? readFile(path, "utf8").catch(() => undefined) : undefined;
    }
    return undefined;
  };
  let last: { file: string; text: Promise<string | undefined> } | undefined; // many problems in a row are of one file
  return (file) => (last?.file === file ? last : last = { file, text: find(file) }).text;
}

/** Lines are not counted in larger files. */
const LARGEST = 64 << 20;

const count = (n: number, thing: string): string => `${n} ${thing}${n === 1 ? "" : "s"}`;

/** The report of one split for people. */
export function tell({ name, pictures, usable, empty, boxes, difficult, sizes, classes, problems }: SetCheck): string[] {
  const more = [...(usable < pictures ? [`${pictures - usable} of ${pictures} cannot be used`] : []), ...(empty > 0 ? [`${empty} without a box`] : []), ...(difficult > 0 ? [`${count(difficult, "box").replace("boxs", "boxes")} difficult`] : [])];
  const shown = sizes.slice(0, 3).map(({ width, height, pictures }) => `${pictures} of ${width} x ${height}`), rest = sizes.length - shown.length;
  const header = ["class", "boxes", "pictures", "small", "medium", "large", "width", "height"];
  const span = (of: { least: number; median: number; most: number } | undefined) => (of ? [of.least, of.median, of.most].map(short).join(" .. ") : "");
  const rows = classes.map((c) => [c.name, `${c.boxes}`, `${c.pictures}`, `${c.small}`, `${c.medium}`, `${c.large}`, span(c.width), span(c.height)]);
  return [
    "",
    `${name}: ${count(usable, "picture")}${more.length > 0 ? ` (${more.join(", ")})` : ""}, ${boxes} ${boxes === 1 ? "box" : "boxes"}`,
    ...(shown.length > 0 ? [`sizes: ${shown.join(", ")}${rest > 0 ? `, and ${count(rest, "other size")}` : ""}`] : []),
    ...table([header, ...rows]),
    problems.length === 0 ? "no problems" : `${count(problems.length, "problem")}:`,
    ...problems.map((problem) => `  ${told(problem)}`),
  ];
}

/** FILE:LINE before the sentence, as editors jump to it. */
const told = ({ sentence, file, line }: Problem): string => (line === undefined ? sentence : `${file}:${line}: ${sentence}`);

const short = (value: number): string => `${Math.round(value * 10) / 10}`;

/** Columns under each other, words to the left and numbers to the right. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) => `  ${row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))).join("  ")}`.trimEnd());
}

const fileName = (split: string): string => split.replace(/[^\w.-]/g, "_");
