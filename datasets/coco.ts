/**
 * COCO annotations: `instances_SPLIT.json` with its pictures beside it, and the JSON of results.
 *
 *   {"images":      [{"id", "file_name", "width", "height"}, …],
 *    "annotations": [{"id", "image_id", "category_id", "bbox": [x, y, w, h], "area", "iscrowd"}, …],
 *    "categories":  [{"id", "name"}, …]}
 *
 *   results: [{"image_id", "category_id", "bbox", "score"}, …]
 *
 * Files are streamed into columns: of half a gigabyte of outlines, fifty megabytes of boxes are kept.
 */
import { BrokenFile, bytesSource, fileSource, staysInside, type ByteSource } from "./file.ts";
import type { Decoder } from "./image.ts";
import { Column, quoted, readElements, type Fields, type Scanner } from "./json-stream.ts";
import type { Batched } from "./loader.ts";
import { numberClasses, pictureSet, within, type LabelledFile, type PictureSet } from "./picture-set.ts";
import { ProblemList } from "./problems.ts";
import type { ObjectBox } from "./sample.ts";

export interface CocoImage { readonly id: number; readonly file: string; readonly width: number; readonly height: number }
export interface CocoCategory { readonly id: number; readonly name: string }

/** Annotations as columns, in the order of the file. */
export interface CocoAnnotations {
  readonly count: number;
  readonly id: Float64Array;
  readonly image: Float64Array;
  readonly category: Float64Array;
  /** [count, 4]: x, y, width, height as written, not clipped. */
  readonly bbox: Float64Array;
  /** As written; width x height where it is not. */
  readonly area: Float64Array;
  readonly crowd: Uint8Array;
  /** Where each starts in the file. */
  readonly offset: Float64Array;
}

export interface CocoInstances {
  readonly images: readonly CocoImage[];
  /** By rising id, which is how classes are numbered. */
  readonly categories: readonly CocoCategory[];
  readonly annotations: CocoAnnotations;
  readonly problems: readonly string[];
}

/** Results as columns, in the order of the file. */
export interface CocoResults {
  readonly count: number;
  readonly image: Float64Array;
  readonly category: Float64Array;
  /** [count, 4]: x, y, width, height */
  readonly bbox: Float64Array;
  readonly score: Float64Array;
}

interface Row { id?: number; file?: string; width?: number; height?: number; name?: string; image?: number; category?: number; area?: number; score?: number; crowd: number; bbox: number[]; [also: string]: unknown }
const emptyRow = (): Row => ({ crowd: 0, bbox: [] });

const number = (key: "area" | "score") => (scan: Scanner, row: Row) => { row[key] = scan.number(); };
const integer = (key: "id" | "image" | "category") => (scan: Scanner, row: Row) => { row[key] = scan.integer(); };
const side = (key: "width" | "height") => (scan: Scanner, row: Row) => {
  const { offset } = scan, value = scan.integer();
  if (value < 1 || value > 1e6) scan.fail(`${key} is ${value}, expected a whole number of pixels from 1 to a million`, offset);
  row[key] = value;
};
const word = (key: "file" | "name") => (scan: Scanner, row: Row) => { row[key] = scan.string(4096); };
const corners = (scan: Scanner, row: Row) => {
  const { offset } = scan;
  row.bbox.length = 0;
  scan.items((i) => { if (i < 4) row.bbox.push(scan.number()); else scan.fail("a bbox has more than 4 numbers", offset); });
  if (row.bbox.length !== 4 && row.bbox.length !== 0) scan.fail(`a bbox has ${row.bbox.length} numbers, expected x, y, width and height`, offset);
};
/** 0, 1, true or false. */
const crowd = (scan: Scanner, row: Row) => { row.crowd = scan.flag() ? 1 : 0; };

const IMAGE: Fields<Row> = new Map([["id", integer("id")], ["file_name", word("file")], ["width", side("width")], ["height", side("height")]]);
const CATEGORY: Fields<Row> = new Map([["id", integer("id")], ["name", word("name")]]);
const ANNOTATION: Fields<Row> = new Map([["id", integer("id")], ["image_id", integer("image")], ["category_id", integer("category")], ["bbox", corners], ["area", number("area")], ["iscrowd", crowd]]);
const RESULT: Fields<Row> = new Map([["image_id", integer("image")], ["category_id", integer("category")], ["bbox", corners], ["score", number("score")]]);

const source = async (from: ByteSource | Uint8Array | string): Promise<ByteSource> =>
  (typeof from === "string" ? fileSource(from) : from instanceof Uint8Array ? bytesSource(from, "instances.json") : from);

/** Reads annotations; what does not belong together is left out and named in `problems`, what is no such file is a BrokenFile. */
export async function readInstances(from: ByteSource | Uint8Array | string): Promise<CocoInstances> {
  const file = await source(from), problems = new ProblemList(), found = new Set<string>();
  const images = new Map<number, CocoImage>(), categories = new Map<number, CocoCategory>();
  const numbers = () => new Column(Float64Array);
  const all = { id: numbers(), image: numbers(), category: numbers(), bbox: numbers(), area: numbers(), offset: numbers(), crowd: new Column(Uint8Array) };
  const row = emptyRow();
  const fresh = (): Row => {
    row.id = row.file = row.width = row.height = row.name = row.image = row.category = row.area = undefined;
    row.crowd = 0;
    row.bbox.length = 0;
    return row;
  };

  await readElements(file, (scan, key, inList) => {
    const { offset } = scan;
    const need = <V>(value: V | undefined, what: string, field: string): V => value ?? scan.fail(`${what} has no ${field}`, offset);
    if (key === undefined) scan.fail("expected an object with images, annotations and categories, got a list (a file of results?)", offset);
    if (key !== "images" && key !== "annotations" && key !== "categories") return scan.skip();
    if (!inList) scan.fail(`${key} is not a list`, offset);
    found.add(key);
    if (key === "images") {
      const { id, file: name, width, height } = scan.into(fresh(), IMAGE), what = "an image";
      const image = { id: need(id, what, "id"), file: need(name, what, "file_name"), width: need(width, what, "width"), height: need(height, what, "height") };
      if (images.has(image.id)) problems.add(`coco: image ${image.id} is twice in ${file.name}, again at byte ${offset} as ${quoted(image.file)}; the first counts`);
      else images.set(image.id, image);
    } else if (key === "categories") {
      const { id, name } = scan.into(fresh(), CATEGORY), category = { id: need(id, "a category", "id"), name: need(name, "a category", "name") };
      if (categories.has(category.id)) scan.fail(`category ${category.id} appears twice, as ${quoted(categories.get(category.id)!.name)} and ${quoted(category.name)}`, offset);
      categories.set(category.id, category);
    } else {
      const { id, image, category, bbox, area, crowd } = scan.into(fresh(), ANNOTATION), what = "an annotation";
      if (bbox.length === 0) return problems.add(`coco: annotation ${id ?? "without id"} at byte ${offset} of ${file.name} has no bbox; it is left out`);
      all.image.push(need(image, what, "image_id"));
      all.category.push(need(category, what, "category_id"));
      all.id.push(id ?? all.id.length + 1);
      for (const value of bbox) all.bbox.push(value);
      all.area.push(area ?? bbox[2] * bbox[3]);
      all.crowd.push(crowd);
      all.offset.push(offset);
    }
  });
  if (found.size === 0 && images.size === 0) throw new BrokenFile(file.name, "has neither images nor annotations nor categories; expected the JSON of COCO instances");

  // Annotations of pictures or classes that the file does not have are left out.
  let count = 0;
  const { id, image, category, bbox, area, offset, crowd } = { id: all.id.values, image: all.image.values, category: all.category.values, bbox: all.bbox.values, area: all.area.values, offset: all.offset.values, crowd: all.crowd.values };
  for (let i = 0; i < id.length; i++) {
    const lost = !images.has(image[i]) ? `image ${image[i]}` : !categories.has(category[i]) ? `category ${category[i]}` : undefined;
    if (lost) { problems.add(`coco: annotation ${id[i]} at byte ${offset[i]} of ${file.name} is of ${lost}, which the file does not have; it is left out`); continue; }
    if (count < i) {
      for (const column of [id, image, category, area, offset, crowd]) column[count] = column[i];
      bbox.copyWithin(4 * count, 4 * i, 4 * i + 4);
    }
    count++;
  }
  const sorted = id.slice(0, count).sort(), twice = sorted.find((value, i) => value === sorted[i + 1]);
  if (twice !== undefined) problems.add(`coco: several annotations of ${file.name} have the id ${twice}, and perhaps others share theirs; every one of them is kept`);

  const cut = (column: Float64Array) => column.subarray(0, count);
  return {
    images: [...images.values()],
    categories: [...categories.values()].sort((a, b) => a.id - b.id),
    annotations: { count, id: cut(id), image: cut(image), category: cut(category), bbox: bbox.subarray(0, 4 * count), area: cut(area), offset: cut(offset), crowd: crowd.subarray(0, count) },
    get problems() { return problems.list; },
  };
}

/** Reads a file of results, which is a list. */
export async function readResults(from: ByteSource | Uint8Array | string): Promise<CocoResults> {
  const file = await source(from);
  const image = new Column(Float64Array), category = new Column(Float64Array), bbox = new Column(Float64Array), score = new Column(Float64Array);
  const row = emptyRow();
  await readElements(file, (scan, key) => {
    const { offset } = scan;
    if (key !== undefined) scan.fail("expected a list of results, got an object (a file of instances?)", offset);
    row.image = row.category = row.score = undefined;
    row.bbox.length = 0;
    scan.into(row, RESULT);
    for (const [value, name] of [[row.image, "image_id"], [row.category, "category_id"], [row.score, "score"]] as const) if (value === undefined) scan.fail(`a result has no ${name}`, offset);
    if (row.bbox.length !== 4) scan.fail("a result has no bbox", offset);
    image.push(row.image!);
    category.push(row.category!);
    for (const value of row.bbox) bbox.push(value);
    score.push(row.score!);
  });
  return { count: image.length, image: image.values, category: category.values, bbox: bbox.values, score: score.values };
}

// ---- a split to train on ----

export interface CocoOptions {
  /** Which instances_*SPLIT*.json of a folder, or beside the JSON file that is given. Default: that file, or train. */
  readonly split?: string;
  /** The folder of the pictures. Default: found beside the annotations. */
  readonly images?: string;
  /** Class names in the order of their numbers. Default: the categories by rising id. */
  readonly classes?: readonly string[];
  readonly decoder?: Decoder;
}

export interface CocoSet extends PictureSet {
  /** Everything that the file says, for the metrics. Image i of the set is `instances.images[i]`. */
  readonly instances: CocoInstances;
}

export interface CocoFile extends Batched {
  readonly name: string;
  open(): Promise<CocoSet>;
}

/**
 *   coco("coco/annotations/instances_train2017.json").batches(8)
 *   coco("coco", { split: "val" }).open()
 *
 * Crowds are left out of the boxes to train on; they stay in `instances`.
 */
export function coco(path: string, options: CocoOptions = {}): CocoFile {
  let opening: Promise<CocoSet> | undefined;
  const open = () => opening ??= openFile(path, options);
  return { name: `coco ${path}`, open, async *batches(how) { yield* (await open()).batches(how); } };
}

async function openFile(path: string, { split, images, classes: wanted, decoder }: CocoOptions): Promise<CocoSet> {
  const { join } = await import("node:path");
  const { stat } = await import("node:fs/promises");
  const isFolder = await stat(path).then((found) => found.isDirectory(), () => false);
  const json = isFolder || split !== undefined ? (await cocoSplits(path)).get(split ?? "train") : path;
  if (json === undefined) throw new Error(`coco: "${path}" has no annotations/instances_*${split ?? "train"}*.json; the splits there are ${[...(await cocoSplits(path)).keys()].join(", ") || "none"}`);
  const instances = await readInstances(await fileSource(json)), problems = new ProblemList();
  for (const problem of instances.problems) problems.add(problem);

  const { classes, number } = numberClasses("coco", instances.categories.map(({ name }) => name), wanted, `"${json}"`);
  const classOf = new Map(instances.categories.map(({ id }, i) => [id, number[i]])), { annotations } = instances;
  const folder = images ?? await pictureFolder(json, instances.images);
  const byImage = grouped(instances);
  const boxes = (i: number, width: number, height: number, report: ProblemList): ObjectBox[] => {
    const kept: ObjectBox[] = [];
    for (const n of byImage(i)) {
      if (annotations.crowd[n]) continue;
      const [x, y, w, h] = annotations.bbox.subarray(4 * n, 4 * n + 4);
      const box = within({ class: classOf.get(annotations.category[n])!, x1: x, y1: y, x2: x + w, y2: y + h }, width, height, `coco: annotation ${annotations.id[n]} at byte ${annotations.offset[n]} of ${json}`, report);
      if (box) kept.push(box);
    }
    return kept;
  };
  const files = instances.images.map((image, i): LabelledFile | undefined => {
    if (!staysInside(image.file)) return void problems.add(`coco: image ${image.id} of ${json} is called ${quoted(image.file)}, expected a name below the folder of the pictures; it is skipped`);
    boxes(i, image.width, image.height, problems);                                        // so that problems are known before training
    return {
      name: image.file,
      path: join(folder, image.file),
      boxes(width, height) {
        if (width !== image.width || height !== image.height) problems.add(`coco: ${json} says that ${image.file} has ${image.width} x ${image.height} pixels, the picture has ${width} x ${height}; its boxes are clipped to the picture`);
        return boxes(i, width, height, problems);
      },
    };
  });
  const set = pictureSet({ reader: "coco", name: `coco ${json}`, classes, files, problems, decoder });
  return Object.defineProperties({ instances }, Object.getOwnPropertyDescriptors(set)) as CocoSet;
}

/** Numbers of the annotations of each image, without a list object per image until it is asked for. */
function grouped({ images, annotations: { count, image } }: CocoInstances): (i: number) => Uint32Array {
  const index = new Map(images.map(({ id }, i) => [id, i])), starts = new Uint32Array(images.length + 1), order = new Uint32Array(count);
  for (let n = 0; n < count; n++) starts[index.get(image[n])! + 1]++;
  for (let i = 0; i < images.length; i++) starts[i + 1] += starts[i];
  const next = starts.slice();
  for (let n = 0; n < count; n++) order[next[index.get(image[n])!]++] = n;
  return (i) => order.subarray(starts[i], starts[i + 1]);
}

/** instances_val2017.json -> ../val2017, ../images/val2017, ../images, .. or its own folder: the first that has one of the first pictures. */
async function pictureFolder(json: string, images: readonly CocoImage[]): Promise<string> {
  const { basename, dirname, join } = await import("node:path");
  const { stat } = await import("node:fs/promises");
  const own = dirname(json), above = dirname(own), tag = basename(json, ".json").replace(/^(instances|_annotations|annotations)?_?/, "");
  const candidates = [join(above, tag), join(above, "images", tag), join(own, tag), join(own, "images", tag), join(above, "images"), join(own, "images"), own, above];
  const some = images.filter(({ file }) => staysInside(file)).slice(0, 3);
  for (const folder of candidates) for (const { file } of some) if (await stat(join(folder, file)).then((found) => found.isFile(), () => false)) return folder;
  if (some.length === 0) return own;
  throw new Error(`coco: "${json}" names pictures such as ${quoted(some[0].file)}, which are in none of ${[...new Set(candidates)].map((folder) => `"${folder}"`).join(", ")}; give the folder of the pictures as images`);
}

/**
 * Annotation files by split. Of a folder: train, val and test of annotations/instances_*.json, or of SPLIT/_annotations.coco.json. Of a
 * JSON file: those called like it but for that word; a file whose name has no such word is every split.
 */
export async function cocoSplits(path: string): Promise<Map<string, string>> {
  const { readdir } = await import("node:fs/promises");
  const { join } = await import("node:path");
  const names = async (folder: string) => (await readdir(folder).catch(() => [] as string[])).sort();
  const splits = new Map<string, string>();
  if (path.endsWith(".json")) {
    const { basename, dirname } = await import("node:path");
    const name = basename(path), [own] = /train|val|test/.exec(name) ?? [], beside = await names(dirname(path));
    for (const split of ["train", "val", "test"]) {
      const other = own === undefined ? name : name.replace(own, split);
      if (other === name || beside.includes(other)) splits.set(split, join(dirname(path), other));
    }
    return splits;
  }
  for (const folder of [join(path, "annotations"), path]) {
    const found = await names(folder);
    for (const split of ["train", "val", "test"]) {
      const name = found.find((name) => name.startsWith("instances_") && name.endsWith(".json") && name.includes(split));
      if (name && !splits.has(split)) splits.set(split, join(folder, name));
    }
  }
  for (const [split, folder] of [["train", "train"], ["val", "valid"], ["val", "val"], ["test", "test"]]) {
    if (!splits.has(split) && (await names(join(path, folder))).includes("_annotations.coco.json")) splits.set(split, join(path, folder, "_annotations.coco.json"));
  }
  return splits;
}
