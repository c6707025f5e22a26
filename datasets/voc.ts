/**
 * PASCAL VOC folders: Annotations/ID.xml, JPEGImages/ID.jpg, ImageSets/Main/SPLIT.txt.
 *
 * Everything in the files is taken for what a stranger wrote: lists, names, numbers and pictures are checked, and what cannot be used is
 * left out with a sentence in `problems`. Only what would make the whole set mean something else is refused: no folder, no list, a class
 * that the list of classes lacks.
 */
import { XMLParser, XMLValidator } from "fast-xml-parser";
import { BrokenFile, readRegular } from "./file.ts";
import type { Decoder } from "./image.ts";
import { sampleOf } from "./jobs.ts";
import { clip } from "./letterbox.ts";
import { batches, type Batched, type BatchOptions } from "./loader.ts";
import { printable } from "./printable.ts";
import { ProblemList } from "./problems.ts";
import type { Batch, DetectionSet, ObjectBox, PictureFiles } from "./sample.ts";

export interface VocOptions {
  /** Name of a list in ImageSets/Main. Default: "trainval" if there is one, else "train". */
  readonly split?: string;
  /** Class names in the order of their numbers. Default: all names in the annotations of trainval (else train), in alphabetical order. */
  readonly classes?: readonly string[];
  readonly decoder?: Decoder;
}

/** A split that was opened: annotations are in memory, pictures are read one by one. */
export interface VocSet extends DetectionSet, Batched {
  /** How many pictures of the split turned out to be unusable so far. */
  readonly skipped: number;
}

/** A VOC folder that nobody has looked into yet. */
export interface VocFolder extends Batched {
  readonly name: string;
  /** The splits that it has lists of, in alphabetical order. */
  splits(): Promise<string[]>;
  /** Reads lists and annotations, once. Await it to have the classes, or errors early; `batches` does it by itself. */
  open(): Promise<VocSet>;
}

/**
 *   for await (const { images, boxes } of voc("path/to/voc").batches(8)) ...
 *   const { classes } = await voc("path/to/voc", { split: "val" }).open();
 *
 * `path` holds Annotations/ itself, or one folder VOC20xx that does. Boxes: 1-based inclusive corners become x1 - 1, y1 - 1, x2, y2.
 */
export function voc(path: string, options: VocOptions = {}): VocFolder {
  let opening: Promise<VocSet> | undefined;
  const open = () => opening ??= openFolder(path, options);
  return {
    name: `voc ${path}`,
    splits: async () => listsOf(await folder(path), path),
    open,
    async *batches(how) { yield* (await open()).batches(how); },
  };
}

/** One <object> of an annotation: its number in the file from 1, and the corners as written. */
export interface Annotated { readonly number: number; readonly name: string; readonly difficult: boolean; readonly corners: readonly number[] }
export interface Annotation { readonly width: number; readonly height: number; readonly objects: readonly Annotated[] }
interface Entry { readonly id: string; readonly annotation?: Annotation; readonly file?: string }

const IMAGE_NAMES = [".jpg", ".jpeg", ".png", ".webp", ".JPG", ".JPEG", ".PNG", ".WEBP"];
const MAX_XML_BYTES = 1 << 20, MAX_LIST_BYTES = 256 << 20;

/** A sentence about the set as an error; names in it come from files. */
function refuse(sentence: string): never { throw new Error(printable(sentence)); }

async function openFolder(path: string, { split: wanted, classes: given, decoder }: VocOptions): Promise<VocSet> {
  const files = await folder(path);
  const problems = new ProblemList(), report = (problem: string) => problems.add(problem);

  const splits = await listsOf(files, path);
  const split = wanted ?? (splits.includes("trainval") ? "trainval" : "train");
  const ids = await readList(files, path, split, splits, report);

  const pictures = new Set(await files.list("JPEGImages"));
  const annotations = await annotationsOf(files, ids, report);
  const entries: Entry[] = ids.map((id, i) => {
    const file = IMAGE_NAMES.map((end) => id + end).find((name) => pictures.has(name));
    if (!file) report(`voc: picture ${id} of split "${split}" has no file JPEGImages/${id}.jpg in "${path}"; it is skipped`);
    return { id, annotation: annotations[i], file };
  });

  const classes = given ? [...given] : await scanClasses(files, path, splits, { split, annotations });
  const duplicate = classes.find((name, i) => classes.indexOf(name) !== i);
  if (duplicate !== undefined) refuse(`voc: class "${duplicate}" is twice in the class list [${classes.join(", ")}]; name each class once`);
  const numbers = new Map(classes.map((name, i) => [name, i]));
  for (const { id, annotation } of entries) {
    for (const { name, number } of annotation?.objects ?? []) {
      if (!numbers.has(name)) refuse(`voc: object ${number} of Annotations/${id}.xml is of class "${name}", which is not in the class list [${classes.join(", ")}]; add it to classes, or remove the object`);
    }
    if (annotation && annotation.width > 0 && annotation.height > 0) boxesOf(id, annotation, annotation.width, annotation.height, numbers, report);
  }

  const unusable = new Set(entries.filter(({ annotation, file }) => !annotation || !file).map(({ id }) => id));
  const entry = (index: number): Entry => entries[index] ?? refuseIndex(index);
  const refuseIndex = (index: number): never => { throw new RangeError(`voc: sample ${index} of split "${split}" was asked for, which has ${entries.length}`); };
  const readable: PictureFiles = {
    decoder,
    file(index) {
      const { annotation, file } = entry(index);
      return annotation && file ? { path: files.path(`JPEGImages/${file}`), name: file, title: `JPEGImages/${file}` } : undefined;
    },
    boxes(index, { width, height }) {
      const { id, annotation } = entry(index);
      if (!annotation) return [];
      if (width !== annotation.width || height !== annotation.height) report(`voc: Annotations/${id}.xml says ${annotation.width} x ${annotation.height} pixels, the picture has ${width} x ${height}; its boxes are clipped to the picture`);
      return boxesOf(id, annotation, width, height, numbers, report);
    },
    broken(index, reason) {
      unusable.add(entry(index).id);
      report(`voc: ${reason}; the picture is skipped`);
    },
    notice(_, sentence) { report(`voc: ${sentence}`); },
  };
  const set: VocSet = {
    name: `voc ${path} ${split}`,
    classes,
    size: entries.length,
    get problems() { return problems.list; },
    get skipped() { return unusable.size; },

    files: readable,
    sample: (index) => sampleOf(readable, index),

    batches(how: number | BatchOptions): AsyncIterable<Batch> { return batches(set, typeof how === "number" ? { batch: how } : how); },
  };
  return set;
}

/** Boxes of one picture in the half-open convention, clipped to it; what is clipped or has no size is reported. */
function boxesOf(id: string, { objects }: Annotation, width: number, height: number, numbers: ReadonlyMap<string, number>, report: (problem: string) => void): ObjectBox[] {
  const boxes: ObjectBox[] = [];
  for (const { number, name, difficult, corners } of objects) {
    const [xmin, ymin, xmax, ymax] = corners;
    const where = `voc: object ${number} ("${name}") of Annotations/${id}.xml has corners ${xmin}, ${ymin} and ${xmax}, ${ymax}`;
    if (!corners.every(Number.isFinite)) { report(`${where}, which are not all numbers; it is dropped`); continue; }
    if (xmax <= xmin || ymax <= ymin) { report(`${where}, which is no area; it is dropped`); continue; }
    const box: ObjectBox = { class: numbers.get(name)!, x1: xmin - 1, y1: ymin - 1, x2: xmax, y2: ymax, difficult };
    const inside = clip(box, width, height);
    if (inside.x2 <= inside.x1 || inside.y2 <= inside.y1) { report(`${where}, all outside its picture of ${width} x ${height}; it is dropped`); continue; }
    if (inside.x1 !== box.x1 || inside.y1 !== box.y1 || inside.x2 !== box.x2 || inside.y2 !== box.y2) report(`${where}, partly outside its picture of ${width} x ${height}; it is clipped`);
    boxes.push(inside);
  }
  return boxes;
}

/** Ids of a split, each once. */
async function readList(files: Folder, path: string, split: string, splits: readonly string[], report: (problem: string) => void): Promise<string[]> {
  if (!splits.includes(split)) refuse(`voc: split "${split}" has no list ImageSets/Main/${split}.txt in "${path}"; the splits there are ${splits.join(", ") || "none"}`);
  const ids = new Set<string>();
  const list = await files.text(`ImageSets/Main/${split}.txt`, MAX_LIST_BYTES).catch((error: Error) => refuse(`voc: ${error.message}, in "${path}"`));
  for (const line of list.split("\n")) {
    const id = line.trim().split(/\s+/)[0];
    if (id === "") continue;
    if (/[\\/\0]|^\.\.?$/.test(id)) report(`voc: ImageSets/Main/${split}.txt lists "${id}", expected a name without a path; it is left out`);
    else if (ids.has(id)) report(`voc: ImageSets/Main/${split}.txt lists "${id}" more than once; it counts once`);
    else ids.add(id);
  }
  if (ids.size === 0) refuse(`voc: split "${split}" is empty: ImageSets/Main/${split}.txt in "${path}" names no picture`);
  return [...ids];
}

/** Lists of pictures; CLASS_SPLIT.txt, which VOC keeps beside them, are not. */
async function listsOf(files: Folder, path: string): Promise<string[]> {
  const names = (await files.list("ImageSets/Main")).filter((name) => name.endsWith(".txt")).map((name) => name.slice(0, -4));
  if (names.length === 0) refuse(`voc: "${path}" has no lists in ImageSets/Main; expected train.txt, val.txt or the like, one picture name per line`);
  return names.filter((name) => !/_(train|val|trainval|test)$/.test(name)).sort();
}

/** Every split must number its classes alike, so the names come from the training pictures, whatever split is opened. */
async function scanClasses(files: Folder, path: string, splits: readonly string[], opened: { split: string; annotations: readonly (Annotation | undefined)[] }): Promise<string[]> {
  const from = ["trainval", "train"].find((split) => splits.includes(split)) ?? opened.split;
  const silent = () => {};                                                                // problems of other splits are not this one's
  const annotations = from === opened.split ? opened.annotations : await annotationsOf(files, await readList(files, path, from, splits, silent), silent);
  return [...new Set(annotations.flatMap((annotation) => annotation?.objects.map(({ name }) => name) ?? []))].sort();
}

/** As many at a time as file handles are cheap. */
const PARALLEL = 64;

async function annotationsOf(files: Folder, ids: readonly string[], report: (problem: string) => void): Promise<(Annotation | undefined)[]> {
  const all: (Annotation | undefined)[] = [];
  for (let from = 0; from < ids.length; from += PARALLEL) {
    const some = ids.slice(from, from + PARALLEL);
    const texts = await Promise.allSettled(some.map((id) => files.text(`Annotations/${id}.xml`, MAX_XML_BYTES)));
    texts.forEach((text, i) => {                                                          // in the order of the list, whichever file came first
      try {
        if (text.status === "rejected") throw text.reason;
        all.push(parseAnnotation(text.value, `Annotations/${some[i]}.xml`));
      } catch (error) {
        all.push(undefined);
        report(`voc: Annotations/${some[i]}.xml cannot be used (${error instanceof BrokenFile ? error.problem : (error as Error).message}); its picture is skipped`);
      }
    });
  }
  return all;
}

const parser = new XMLParser({ ignoreAttributes: true, parseTagValue: false, processEntities: false, isArray: (name) => name === "object" || name === "part" });

/** Reads what is asked for and ignores the rest; missing numbers are 0, missing corners NaN. Anything that is not an annotation is a BrokenFile. */
export function parseAnnotation(xml: string, file = "annotation.xml"): Annotation {
  const fail = (problem: string, line?: number): never => { throw new BrokenFile(file, problem, { offset: line === undefined ? 0 : lineStart(xml, line), line }); };
  if (xml.length > MAX_XML_BYTES) fail(`it has ${xml.length} characters, more than the limit of ${MAX_XML_BYTES}`);
  const entity = xml.indexOf("<!ENTITY");
  if (entity >= 0) throw new BrokenFile(file, "it declares entities, which annotations have no use for", { offset: entity });
  const tree = treeOf(xml, fail), annotation = child(tree, "annotation");
  if (annotation === undefined) fail("no <annotation> in it");
  const size = child(annotation, "size");
  const found = child(annotation, "object"), objects: readonly unknown[] = Array.isArray(found) ? found : [];
  return {
    width: Number(text(size, "width") || 0),
    height: Number(text(size, "height") || 0),
    objects: objects.map((object: unknown, i: number) => {
      const name = text(object, "name");
      if (!name) fail(`object ${i + 1} has no name`, lineOf(xml, i));
      const box = child(object, "bndbox");
      return {
        number: i + 1,
        name,
        difficult: Number(text(object, "difficult")) === 1,
        corners: ["xmin", "ymin", "xmax", "ymax"].map((key) => Number(text(box, key) || NaN)),
      };
    }),
  };
}

function treeOf(xml: string, fail: (problem: string, line?: number) => never): unknown {
  try {
    const valid = XMLValidator.validate(xml);
    if (valid !== true) fail(`line ${valid.err.line}: ${valid.err.msg.replace(/\.$/, "")}`, valid.err.line);
    return parser.parse(xml);
  } catch (error) {
    if (error instanceof BrokenFile) throw error;
    return fail((error as Error).message.split("\n")[0].slice(0, 200));
  }
}

/** In UTF-16 units, which are bytes where the text before is ASCII. */
function lineStart(xml: string, line: number): number {
  let at = 0;
  for (let n = 1; n < line; n++) {
    const next = xml.indexOf("\n", at);
    if (next < 0) break;
    at = next + 1;
  }
  return at;
}

/** The line of the i-th <object>. */
function lineOf(xml: string, i: number): number {
  let at = -1;
  for (let n = 0; n <= i; n++) {
    const next = xml.indexOf("<object", at + 1);
    if (next < 0) break;
    at = next;
  }
  return xml.slice(0, Math.max(at, 0)).split("\n").length;
}

/** What the parser gives: text, or children by name. */
type Tree = { readonly [name: string]: any };
const child = (tree: unknown, name: string): unknown => (tree !== null && typeof tree === "object" && Object.hasOwn(tree, name) ? (tree as Tree)[name] : undefined);
const text = (tree: unknown, name: string): string => { const value = child(tree, name); return typeof value === "string" ? value.trim() : ""; };

/** The files below one folder. node:fs is imported when a folder is opened, so that this floor's index also loads in browsers. */
interface Folder {
  path(file: string): string;
  list(directory: string): Promise<string[]>;
  text(file: string, limit: number): Promise<string>;
}

async function folder(path: string): Promise<Folder> {
  const { readdir } = await import("node:fs/promises");
  const { join } = await import("node:path");
  const names = (directory: string) => readdir(directory).then((all) => all, () => undefined);

  const top = await names(path);
  if (!top) refuse(`voc: "${path}" is not a folder; expected one with Annotations/, JPEGImages/ and ImageSets/Main/`);
  let root = path;
  if (!top.includes("Annotations")) {
    const kit = top.includes("VOCdevkit") ? join(path, "VOCdevkit") : path;
    const years = (await names(kit) ?? []).filter((name) => /^VOC20\d\d$/.test(name)).sort();
    if (years.length === 0) refuse(`voc: "${path}" has no Annotations/; expected Annotations/, JPEGImages/ and ImageSets/Main/, got ${top.slice(0, 5).join(", ") || "an empty folder"}`);
    if (years.length > 1) refuse(`voc: "${path}" holds several data sets (${years.join(", ")}); give the path of one of them`);
    root = join(kit, years[0]);
  }
  const read = (file: string, limit: number) => readRegular(join(root, file), file, limit);
  return {
    list: async (directory) => (await names(join(root, directory)))?.sort() ?? [],
    path: (file) => join(root, file),
    text: async (file, limit) => new TextDecoder().decode(await read(file, limit)),
  };
}
