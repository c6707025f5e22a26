/** A split whose labels are known and whose pictures are files, read one by one: what the readers of COCO, YOLO and plain folders have in common. */
import type { Decoder } from "./image.ts";
import { sampleOf } from "./jobs.ts";
import { clip } from "./letterbox.ts";
import { batches, type Batched, type BatchOptions } from "./loader.ts";
import type { ProblemList } from "./problems.ts";
import type { Batch, DetectionSet, ObjectBox, PictureFiles } from "./sample.ts";

export interface PictureSet extends DetectionSet, Batched {
  /** How many pictures turned out to be unusable so far. */
  readonly skipped: number;
}

export interface LabelledFile {
  /** What a person calls it, and where it is. */
  readonly name: string;
  readonly path: string;
  /** Its objects, once its size is known. */
  boxes(width: number, height: number): ObjectBox[];
}

export function pictureSet(of: { reader: string; name: string; classes: readonly string[]; files: readonly (LabelledFile | undefined)[]; problems: ProblemList; decoder?: Decoder }): PictureSet {
  const { reader, name, classes, files, problems, decoder } = of;
  const unusable = new Set<number>();
  files.forEach((file, i) => { if (!file) unusable.add(i); });
  const known = (index: number): LabelledFile | undefined => {
    if (!(index in files)) throw new RangeError(`${reader}: sample ${index} of ${name} was asked for, which has ${files.length}`);
    return files[index];
  };
  const readable: PictureFiles = {
    decoder,
    file(index) {
      const file = known(index);
      return file && { path: file.path, name: file.name, title: file.name };
    },
    boxes: (index, { width, height }) => known(index)?.boxes(width, height) ?? [],
    broken(index, reason) {
      unusable.add(index);
      problems.add(`${reader}: ${reason}; the picture is skipped`);
    },
    notice(_, sentence) { problems.add(`${reader}: ${sentence}`); },
  };
  const set: PictureSet = {
    name, classes,
    size: files.length,
    files: readable,
    get problems() { return problems.list; },
    get skipped() { return unusable.size; },
    sample: (index) => sampleOf(readable, index),
    batches(how: number | BatchOptions): AsyncIterable<Batch> { return batches(set, typeof how === "number" ? { batch: how } : how); },
  };
  return set;
}

/** What is left of a box within its picture; undefined, or less than it was, is reported as what befell `what`. */
export function within(box: ObjectBox, width: number, height: number, what: string, problems: ProblemList): ObjectBox | undefined {
  const corners = `${what} has corners ${round(box.x1)}, ${round(box.y1)} and ${round(box.x2)}, ${round(box.y2)}`;
  if (!(box.x2 > box.x1 && box.y2 > box.y1)) return void problems.add(`${corners}, which is no area; it is dropped`);
  const inside = clip(box, width, height);
  if (inside.x2 <= inside.x1 || inside.y2 <= inside.y1) return void problems.add(`${corners}, all outside its picture of ${width} x ${height}; it is dropped`);
  if (over(box.x1, inside.x1) || over(box.y1, inside.y1) || over(box.x2, inside.x2) || over(box.y2, inside.y2)) problems.add(`${corners}, partly outside its picture of ${width} x ${height}; it is clipped`);
  return inside;
}

/** Six decimals of a normalised label are less than this many pixels. */
const over = (a: number, b: number): boolean => Math.abs(a - b) > 0.02;
const round = (value: number): number => Math.round(value * 100) / 100;

/** Class names as a set of its own has them, against those that are wanted: numbers by name. Refuses what would number classes wrongly. */
export function numberClasses(reader: string, own: readonly string[], wanted: readonly string[] | undefined, where: string): { classes: readonly string[]; number: readonly number[] } {
  const classes = wanted ?? own, list = `[${classes.join(", ")}]`;
  for (const names of [own, classes]) {
    const twice = names.find((name, i) => names.indexOf(name) !== i);
    if (twice !== undefined) throw new Error(`${reader}: class "${twice}" is twice in ${names === own ? where : "the class list"} [${names.join(", ")}]; name each class once`);
  }
  const missing = own.find((name) => !classes.includes(name));
  if (missing !== undefined) throw new Error(`${reader}: ${where} has a class "${missing}", which is not in the class list ${list}; add it to classes, or remove its objects`);
  return { classes, number: own.map((name) => classes.indexOf(name)) };
}
