/**
 * YOLO folders: data.yaml names the classes and where each split's pictures are; labels/…/NAME.txt lies beside images/…/NAME.jpg.
 *
 *   path: .                      class  centre x  centre y  width  height     over the sides of the picture, a line per object
 *   train: images/train          0      0.4791    0.5200    0.3125 0.6133
 *   val: images/val
 *   names: {0: person, 1: dog}   class  x1 y1 x2 y2 x3 y3 …                   an outline counts as the box around it
 *
 * A data.yaml may come from anywhere, so nothing outside its own folder is read on its word: not by "..", nor by a path from the root.
 */
import { isMap, LineCounter, parseDocument, type Document } from "yaml";
import { BrokenFile, fileSource, readWhole, staysInside, textOf, type Place } from "./file.ts";
import { isPictureName, picturesBelow } from "./folder.ts";
import type { Decoder } from "./image.ts";
import { quoted } from "./json-stream.ts";
import type { Batched } from "./loader.ts";
import { numberClasses, pictureSet, within, type LabelledFile, type PictureSet } from "./picture-set.ts";
import { ProblemList } from "./problems.ts";
import type { ObjectBox } from "./sample.ts";

// ---- data.yaml ----

export interface DataYaml {
  /** Where the author says that the set is; "" if nothing is said. */
  readonly path: string;
  /** Folders of pictures, or lists of them (.txt), by split. */
  readonly splits: ReadonlyMap<string, readonly string[]>;
  readonly classes: readonly string[];
}

const MAX_YAML_BYTES = 128 << 10, MAX_CLASSES = 10_000, MAX_NAME = 256, MAX_DEPTH = 16;

export function parseDataYaml(bytes: Uint8Array, name = "data.yaml"): DataYaml {
  if (bytes.length > MAX_YAML_BYTES) throw new BrokenFile(name, `has ${bytes.length} bytes, more than the limit of ${MAX_YAML_BYTES}`);
  const text = textOf(bytes, name), lines = new LineCounter();
  refuseDepth(text, name);
  let document: Document, content: unknown;
  const place = (offset: number): Place => ({ offset, line: lines.linePos(offset).line || 1 });
  try {
    document = parseDocument(text, { lineCounter: lines, logLevel: "silent", prettyErrors: false, uniqueKeys: true });
    const [error] = document.errors;
    if (error) throw new BrokenFile(name, `is no YAML: ${error.message.split("\n")[0]}`, place(error.pos[0]));
    content = document.toJS({ mapAsMap: true, maxAliasCount: 50 });
  } catch (error) {
    if (error instanceof BrokenFile) throw error;
    throw new BrokenFile(name, `is no YAML that can be used: ${(error as Error).message.split("\n")[0].slice(0, 200)}`, undefined, { cause: error });
  }
  if (!(content instanceof Map)) throw new BrokenFile(name, "expected keys such as train, val and names");

  const values = content as Map<unknown, unknown>;
  const fail = (key: string, problem: string): never => {
    const pair = isMap(document.contents) ? document.contents.items.find((item) => String(item.key) === key) : undefined;
    throw new BrokenFile(name, problem, place((pair?.key as { range?: [number, number, number] } | undefined)?.range?.[0] ?? 0));
  };
  const path = values.get("path") ?? "";
  if (typeof path !== "string") fail("path", "path is no text");
  const splits = new Map<string, string[]>();
  for (const split of ["train", "val", "test"]) {
    const value = values.get(split);
    if (value === undefined || value === null || value === "") continue;
    const entries = Array.isArray(value) ? value : [value];
    if (entries.length === 0 || !entries.every((entry) => typeof entry === "string" && entry !== "" && entry.length < 4096)) fail(split, `${split} is ${describe(value)}, expected a folder of pictures, or a list of folders`);
    splits.set(split, entries as string[]);
  }
  return { path: path as string, splits, classes: classNames(values.get("names"), values.get("nc"), fail) };
}

function classNames(names: unknown, nc: unknown, fail: (key: string, problem: string) => never): string[] {
  const nothing = names === undefined || names === null, count = nc === undefined || nc === null ? undefined : Number(nc);
  if (count !== undefined && !(Number.isInteger(count) && count >= 1 && count <= MAX_CLASSES)) fail("nc", `nc is ${describe(nc)}, expected a number of classes from 1 to ${MAX_CLASSES}`);
  if (nothing && count === undefined) fail("names", "has no names; give the class names as names: [person, dog]");
  if (nothing) return Array.from({ length: count! }, (_, i) => `class_${i}`);
  if (!Array.isArray(names) && !(names instanceof Map)) fail("names", `names is ${describe(names)}, expected a list of class names`);
  const pairs: [unknown, unknown][] = names instanceof Map ? [...names] : (names as unknown[]).map((value, i) => [i, value]);
  if (pairs.length === 0 || pairs.length > MAX_CLASSES) fail("names", `names has ${pairs.length} entries, expected from 1 to ${MAX_CLASSES}`);
  const classes = new Array<string | undefined>(pairs.length).fill(undefined);
  for (const [key, value] of pairs) {
    const n = typeof key === "number" ? key : typeof key === "string" && /^\d{1,6}$/.test(key) ? Number(key) : -1;
    if (!(Number.isInteger(n) && n >= 0 && n < pairs.length) || classes[n] !== undefined) fail("names", `names numbers a class ${describe(key)}, expected each of 0 to ${pairs.length - 1} once`);
    if (!(typeof value === "string" || typeof value === "number" || typeof value === "boolean") || `${value}`.trim() === "" || `${value}`.length > MAX_NAME) fail("names", `class ${n} of names is ${describe(value)}, expected a name of at most ${MAX_NAME} letters`);
    classes[n] = `${value as string}`;
  }
  if (count !== undefined && count !== classes.length) fail("nc", `nc is ${count}, but names has ${classes.length} entries; correct one of them`);
  return classes as string[];
}

/** The parser takes its own time over thousands of levels, so they are refused before it sees them. */
function refuseDepth(text: string, name: string): void {
  let flow = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x5b || c === 0x7b) flow++; else if (c === 0x5d || c === 0x7d) flow = Math.max(0, flow - 1);
    if (flow > MAX_DEPTH) throw new BrokenFile(name, `is nested deeper than ${MAX_DEPTH}`, { offset: i });
  }
  for (const { 0: line, index } of text.matchAll(/^[^\n]*(?:[-?:][ \t]+){17}/gm)) throw new BrokenFile(name, `is nested deeper than ${MAX_DEPTH}`, { offset: index + line.length });
  let indent = -1, deep = 0;
  for (const { 0: line, index } of text.matchAll(/^ +(?=\S)/gm)) {
    if (line.length > indent) deep++; else if (line.length < indent) deep = 0;
    indent = line.length;
    if (deep > 2 * MAX_DEPTH) throw new BrokenFile(name, `is nested deeper than ${MAX_DEPTH}`, { offset: index });
  }
}

const describe = (value: unknown): string => (value === null || value === undefined ? "empty" : typeof value === "object" ? (Array.isArray(value) ? `a list of ${value.length}` : "a map") : quoted(String(value)));

// ---- labels ----

/** One line: centre and size over the sides of the picture. */
export interface YoloLabel { readonly class: number; readonly x: number; readonly y: number; readonly w: number; readonly h: number; readonly line: number }

const MAX_LABEL_BYTES = 1 << 20;

/** The objects of a label file; lines that cannot be used are left out and named. */
export function parseLabels(bytes: Uint8Array, name: string, classes: number, problems: ProblemList): YoloLabel[] {
  if (bytes.length > MAX_LABEL_BYTES) throw new BrokenFile(name, `has ${bytes.length} bytes, more than the limit of ${MAX_LABEL_BYTES}`);
  const labels: YoloLabel[] = [], seen = new Map<string, number>();
  let number = 0;
  for (const raw of textOf(bytes, name).split("\n")) {
    number++;
    const line = raw.trim();
    if (line === "") continue;
    const where = `yolo: line ${number} of ${name}`, before = seen.get(line);
    if (before !== undefined) { problems.add(`${where} is the same as line ${before}; it counts once`); continue; }
    seen.set(line, number);
    const words = line.split(/\s+/), values = words.map((word) => (/^[-+.\deE]+$/.test(word) ? Number(word) : NaN));
    if (words.length < 5) { problems.add(`${where} has ${words.length} numbers, expected a class and four numbers; it is dropped`); continue; }
    if (words.length > 5 && (words.length % 2 === 0 || words.length < 7)) { problems.add(`${where} has ${words.length} numbers, expected 5, or a class and the points of an outline; it is dropped`); continue; }
    const bad = values.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0) { problems.add(`${where} says ${quoted(words[bad])} where a number should be; it is dropped`); continue; }
    const c = values[0];
    if (!Number.isInteger(c) || c < 0 || c >= classes) { problems.add(`${where} is of class ${c}, expected one from 0 to ${classes - 1}; it is dropped`); continue; }
    const [x, y, w, h] = words.length === 5 ? values.slice(1) : around(values);
    if (w <= 0 || h <= 0) { problems.add(`${where} has a box of ${w} x ${h}, which is no area; it is dropped`); continue; }
    if (Math.max(Math.abs(x), Math.abs(y), w, h) > 2) { problems.add(`${where} has a box at ${x}, ${y} of ${w} x ${h}, expected shares of the picture's sides from 0 to 1 (are these pixels?); it is dropped`); continue; }
    labels.push({ class: c, x, y, w, h, line: number });
  }
  return labels;
}

/** The box around the points from values[1] on. */
function around(values: readonly number[]): number[] {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 1; i < values.length; i += 2) {
    left = Math.min(left, values[i]); right = Math.max(right, values[i]);
    top = Math.min(top, values[i + 1]); bottom = Math.max(bottom, values[i + 1]);
  }
  return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top];
}

// ---- a split to train on ----

export interface YoloOptions {
  readonly split?: string;
  /** The folder of the set. Default: that of data.yaml, or `path` of it if that lies below. */
  readonly root?: string;
  /** Class names in the order of their numbers. Default: names of data.yaml. */
  readonly classes?: readonly string[];
  readonly decoder?: Decoder;
}

export interface YoloFile extends Batched {
  readonly name: string;
  splits(): Promise<string[]>;
  open(): Promise<PictureSet>;
}

/** `path` is data.yaml, or a folder that holds one. */
export function yolo(path: string, options: YoloOptions = {}): YoloFile {
  let opening: Promise<PictureSet> | undefined;
  const open = () => opening ??= openYaml(path, options);
  return {
    name: `yolo ${path}`,
    splits: async () => [...(await readYaml(path)).yaml.splits.keys()],
    open,
    async *batches(how) { yield* (await open()).batches(how); },
  };
}

async function readYaml(path: string): Promise<{ file: string; yaml: DataYaml }> {
  const { stat } = await import("node:fs/promises");
  const { join } = await import("node:path");
  const file = await stat(path).then((found) => found.isDirectory(), () => false) ? join(path, "data.yaml") : path;
  return { file, yaml: parseDataYaml(await readWhole(await fileSource(file), MAX_YAML_BYTES), file) };
}

const PARALLEL = 64;

async function openYaml(path: string, { split = "train", root, classes: wanted, decoder }: YoloOptions): Promise<PictureSet> {
  const { join } = await import("node:path");
  const { file, yaml } = await readYaml(path), problems = new ProblemList();
  const entries = yaml.splits.get(split);
  if (!entries) throw new Error(`yolo: "${file}" has no split ${quoted(split)}; the splits there are ${[...yaml.splits.keys()].join(", ") || "none"}`);
  const { classes, number } = numberClasses("yolo", yaml.classes, wanted, `"${file}"`);
  const home = await homeOf(file, yaml, entries, root);
  const names = [...new Set((await Promise.all(entries.map((entry) => picturesOf(home, inside(entry), file, split, problems)))).flat())];
  if (names.length === 0) throw new Error(`yolo: split "${split}" of "${file}" names no picture`);

  const files: (LabelledFile | undefined)[] = [];
  let unlabelled = 0;
  for (let from = 0; from < names.length; from += PARALLEL) {
    const some = names.slice(from, from + PARALLEL);
    const texts = await Promise.allSettled(some.map(async (name) => readWhole(await fileSource(join(home, labelOf(name)), labelOf(name)), MAX_LABEL_BYTES)));
    texts.forEach((text, i) => {
      const name = some[i], label = labelOf(name);
      let labels: YoloLabel[] = [];
      try {
        if (text.status === "rejected") throw text.reason;
        labels = parseLabels(text.value, label, classes.length, problems);
      } catch (error) {
        if (!(error instanceof BrokenFile)) throw error;
        if ((error.cause as NodeJS.ErrnoException | undefined)?.code !== "ENOENT") {
          problems.add(`yolo: ${error.message}; its picture is skipped`);
          files.push(undefined);
          return;
        }
        unlabelled++;
      }
      files.push({ name, path: join(home, name), boxes: (width, height) => labels.flatMap((one) => placed(one, label, width, height, number, problems)) });
    });
  }
  if (unlabelled === names.length) throw new Error(`yolo: none of the ${names.length} pictures of split "${split}" of "${file}" has a label file; expected such as "${join(home, labelOf(names[0]))}"`);
  if (unlabelled > 0) problems.add(`yolo: ${unlabelled} of ${names.length} pictures of split "${split}" have no label file; they count as pictures without objects`);
  return pictureSet({ reader: "yolo", name: `yolo ${file} ${split}`, classes, files, problems, decoder });
}

function placed({ class: c, x, y, w, h, line }: YoloLabel, label: string, width: number, height: number, number: readonly number[], problems: ProblemList): ObjectBox[] {
  const box = { class: number[c], x1: (x - w / 2) * width, y1: (y - h / 2) * height, x2: (x + w / 2) * width, y2: (y + h / 2) * height };
  const inside = within(box, width, height, `yolo: line ${line} of ${label}`, problems);
  return inside ? [inside] : [];
}

/** images/…/a.jpg -> labels/…/a.txt, by the last folder of that name; beside the picture where there is none. */
export const labelOf = (picture: string): string => picture.replace(/^(.*\/)?images\//, "$1labels/").replace(/\.[^./]*$/, ".txt");

/** Roboflow writes ../train/images and means train/images, as the reference reads it. */
const inside = (entry: string): string => entry.replace(/^(\.\.?\/)+/, "").replace(/\/+$/, "") || ".";

/** The folder that the entries are in. `path` of the file is only believed where it stays below the file itself. */
async function homeOf(file: string, yaml: DataYaml, entries: readonly string[], root: string | undefined): Promise<string> {
  const { dirname, join, resolve } = await import("node:path");
  const { stat } = await import("node:fs/promises");
  const own = dirname(file), bad = entries.find((entry) => !staysInside(inside(entry)));
  if (bad !== undefined) throw new Error(`yolo: "${file}" names pictures in ${quoted(bad)}, expected a path below its own folder; write it from there`);
  const candidates = root !== undefined ? [root] : [...(yaml.path !== "" && (staysInside(yaml.path) || resolve(yaml.path) === resolve(own)) ? [resolve(own, yaml.path)] : []), own];
  for (const home of candidates) if (await stat(join(home, inside(entries[0]))).then(() => true, () => false)) return home;
  const said = yaml.path !== "" && root === undefined && !staysInside(yaml.path) ? ` (its path ${quoted(yaml.path)} leads out of its folder and is not followed: put data.yaml into the folder of the set)` : "";
  throw new Error(`yolo: "${file}" names pictures in ${quoted(entries[0])}, which is not in ${candidates.map((home) => `"${home}"`).join(" or ")}${said}`);
}

/** Pictures of an entry, by paths from `home`. */
async function picturesOf(home: string, entry: string, file: string, split: string, problems: ProblemList): Promise<string[]> {
  const { dirname, join, posix } = await import("node:path");
  if (!entry.endsWith(".txt")) {
    const names = await picturesBelow(join(home, entry));
    if (!names) throw new Error(`yolo: "${file}" names ${quoted(entry)} for split "${split}", which is no folder in "${home}"`);
    return names.map((name) => posix.normalize(`${entry}/${name}`));
  }
  const text = textOf(await readWhole(await fileSource(join(home, entry), entry), 256 << 20), entry), names: string[] = [];
  text.split("\n").forEach((raw, i) => {
    const line = raw.trim();
    if (line === "") return;
    const name = posix.normalize(line.startsWith("./") ? posix.join(dirname(entry), line) : line);
    if (!staysInside(line) || !staysInside(name) || !isPictureName(name)) problems.add(`yolo: line ${i + 1} of ${entry} says ${quoted(line)}, expected a picture below "${home}"; it is left out`);
    else names.push(name);
  });
  return names;
}
