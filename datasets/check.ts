/**
 * A whole data set, looked at once: what is in it, and everything that is wrong with it, by file and line.
 *
 * Readers need nothing for this: a check reads what a set says in `problems`, and finds the line of what a sentence names. A reader that knows
 * places itself gives `located`.
 */
import { printable } from "./printable.ts";
import type { DetectionSet, ObjectBox, Picture } from "./sample.ts";

/** One thing that is wrong, and where it is written. */
export interface Problem {
  readonly sentence: string;
  /** Below the folder of the set. */
  readonly file?: string;
  /** From 1, in text files. */
  readonly line?: number;
}

/** What a check asks of a set. */
export interface Checkable extends Omit<DetectionSet, "problems"> {
  /** All that was found wrong so far. */
  problems(): Promise<readonly Problem[]>;
}

/** A set that may know where its problems are. */
export type Checked = DetectionSet & { located?(): Promise<readonly Problem[]> };

/** Text of a file below the folder of a set, or undefined. */
export type TextOf = (file: string) => Promise<string | undefined>;

export function checkable(set: Checked, textOf: TextOf = async () => undefined): Checkable {
  const known = new Map<string, Promise<Problem>>();
  const place = (sentence: string) => {
    let found = known.get(sentence);
    if (!found) known.set(sentence, (found = locate(sentence, textOf)));
    return found;
  };
  const { name, classes, size } = set;
  return {
    name, classes, size,
    sample: (index) => set.sample(index),
    problems: async () => set.located?.() ?? Promise.all(set.problems.map(place)),
  };
}

/** Names of files as sentences have them. */
const FILE = String.raw`[^\s"':;,()]+\.(?:xml|txt|jsonl?|ya?ml|npy|npz|dat|jpe?g|png|webp|bmp)`;

/** Where the thing that a sentence names is written. A place that the sentence tells itself is believed. */
export async function locate(sentence: string, textOf: TextOf): Promise<Problem> {
  const [, file] = new RegExp(`(${FILE})(?![A-Za-z0-9])`, "i").exec(sentence) ?? [];
  if (file === undefined) return { sentence };
  const [, told] = /\bline (\d+)/.exec(sentence) ?? [];
  if (told !== undefined) return { sentence, file, line: Number(told) };
  const [, object] = /\bobject (\d+)\b/.exec(sentence) ?? [], [, listed, twice] = /\blists "([^"]*)"(.*more than once)?/.exec(sentence) ?? [];
  const size = /\bsays \d+ x \d+ pixels/.test(sentence), [, byte] = /\.json\b/i.test(file) ? /\bat byte (\d+)/.exec(sentence) ?? [] : [];
  if (object === undefined && listed === undefined && byte === undefined && !size) return { sentence, file };
  const text = await textOf(file);
  if (text === undefined) return { sentence, file };
  const line = object !== undefined ? lineOf(text, /<object\b/g, Number(object))
    : byte !== undefined ? lineAt(text, Number(byte))
    : size ? lineOf(text, /<size\b/g, 1)
    : nthLine(text, (row) => printable(row.trim().split(/\s+/)[0]) === listed, twice ? 2 : 1);
  return line === undefined ? { sentence, file } : { sentence, file, line };
}

/** The line of a byte of the text as UTF-8. */
function lineAt(text: string, byte: number): number {
  let line = 1;
  for (let i = 0, bytes = 0; i < text.length && bytes < byte; i++) {
    const unit = text.charCodeAt(i);
    bytes += unit < 0x80 ? 1 : unit < 0x800 || (unit >= 0xd800 && unit < 0xe000) ? 2 : 3;  // a surrogate is half of four bytes
    if (unit === 0x0a) line++;
  }
  return line;
}

/** The line on which a pattern is found for the nth time, from 1; comments of XML do not count. */
function lineOf(text: string, pattern: RegExp, nth: number): number | undefined {
  const code = text.replace(/<!--[\s\S]*?-->/g, (comment) => comment.replace(/[^\n]/g, " "));
  const [at] = [...code.matchAll(pattern)].slice(nth - 1);
  return at && code.slice(0, at.index).split("\n").length;
}

function nthLine(text: string, is: (row: string) => boolean, nth: number): number | undefined {
  const rows = text.split("\n");
  for (let i = 0; i < rows.length; i++) if (is(rows[i]) && --nth === 0) return i + 1;
  return undefined;
}

/** Least, median and largest. */
export interface Spread { readonly least: number; readonly median: number; readonly most: number }

export interface ClassCheck {
  readonly name: string;
  readonly boxes: number;
  /** Pictures with at least one. */
  readonly pictures: number;
  /** Boxes by COCO's limits of area, 32 x 32 and 96 x 96 pixels of the picture. */
  readonly small: number;
  readonly medium: number;
  readonly large: number;
  /** Pixels; nothing if there is no box. */
  readonly width?: Spread;
  readonly height?: Spread;
}

export interface SetCheck {
  readonly name: string;
  /** Pictures that the set names, those of them that can be read, and those of these without a box. */
  readonly pictures: number;
  readonly usable: number;
  readonly empty: number;
  readonly boxes: number;
  readonly difficult: number;
  /** Most frequent first. */
  readonly sizes: readonly { readonly width: number; readonly height: number; readonly pictures: number }[];
  readonly classes: readonly ClassCheck[];
  readonly problems: readonly Problem[];
}

/** A set after the check, with what is needed to compare it with others and to show it. */
export interface Looked {
  readonly check: SetCheck;
  /** Name of each picture that was read, by a number that equal pixels have in common. */
  readonly pixels: ReadonlyMap<string, string>;
  /** Indices of pictures worth showing: some of each class, some that a problem names, others evenly from all. */
  readonly shown: readonly number[];
}

export interface LookOptions {
  /** Most pictures to show. Default 16. */
  readonly show?: number;
  /** Told after each picture; may throw to stop. */
  readonly progress?: (done: number) => void | Promise<void>;
}

/** Reads every picture of a set once. */
export async function look(set: Checkable, { show = 16, progress }: LookOptions = {}): Promise<Looked> {
  const own: Problem[] = [], add = (sentence: string, file: string) => own.push({ sentence: printable(sentence), file: printable(file) });
  const sizes = new Map<string, { width: number; height: number; pictures: number }>(), pixels = new Map<string, string>();
  const sides = set.classes.map(() => ({ widths: [] as number[], heights: [] as number[], small: 0, medium: 0, large: 0, pictures: 0 }));
  const found = { usable: 0, empty: 0, boxes: 0, difficult: 0 }, names = new Map<number, string>(), holders = set.classes.map(() => [] as number[]);

  for (let index = 0; index < set.size; index++) {
    const sample = await set.sample(index);
    if (sample) {
      const { name, picture, boxes } = sample, { width, height } = picture, key = `${width} x ${height}`;
      found.usable++;
      names.set(index, name);
      const size = sizes.get(key) ?? { width, height, pictures: 0 };
      sizes.set(key, { ...size, pictures: size.pictures + 1 });
      const twin = digest(picture), same = pixels.get(twin);
      if (same !== undefined) add(`${name} and ${same} are the same picture; keep one`, name);
      else pixels.set(twin, name);
      if (boxes.length === 0) found.empty++;
      for (const [first, second] of pairs(boxes)) add(`${name} has the same box of class "${set.classes[boxes[first].class]}" twice, as boxes ${first + 1} and ${second + 1}; remove one`, name);
      for (const c of new Set(boxes.map((box) => box.class))) { sides[c].pictures++; holders[c].push(index); }
      for (const { class: c, x1, y1, x2, y2, difficult } of boxes) {
        const w = x2 - x1, h = y2 - y1, area = w * h;
        found.boxes++;
        if (difficult) found.difficult++;
        sides[c].widths.push(w);
        sides[c].heights.push(h);
        sides[c][area < 32 * 32 ? "small" : area < 96 * 96 ? "medium" : "large"]++;
      }
    }
    await progress?.(index + 1);
  }

  const problems = [...await set.problems(), ...own];
  return {
    check: {
      name: set.name, pictures: set.size, ...found,
      sizes: [...sizes.values()].sort((a, b) => b.pictures - a.pictures || b.width - a.width || b.height - a.height),
      classes: sides.map(({ widths, heights, ...rest }, c) => ({ name: set.classes[c], boxes: widths.length, ...rest, width: spread(widths), height: spread(heights) })),
      problems,
    },
    pixels,
    shown: choose(names, holders, problems, show),
  };
}

/** Half of the room for classes in turn, a quarter for pictures with problems, the rest evenly from all; in the order of the set. */
function choose(names: ReadonlyMap<number, string>, holders: readonly (readonly number[])[], problems: readonly Problem[], room: number): number[] {
  const chosen = new Set<number>(), all = [...names.keys()];
  const take = (indices: readonly number[], most: number) => { for (const index of indices) if (chosen.size < Math.min(most, room)) chosen.add(index); };
  const each = Math.ceil(room / 2 / Math.max(1, holders.length)), lists = holders.map((list) => evenly(list, each));
  take(Array.from({ length: each }, (_, k) => lists.flatMap((list) => list.slice(k, k + 1))).flat(), Math.ceil(room / 2));
  const troubled = new Set(problems.flatMap(({ file }) => (file === undefined ? [] : [stem(file)])));
  take(all.filter((index) => troubled.has(stem(names.get(index)!))), Math.ceil(3 * room / 4));
  take(evenly(all, room - chosen.size), room);
  take(all, room);
  return [...chosen].sort((a, b) => a - b);
}

/** So many of a list, from all over it. */
const evenly = <V>(list: readonly V[], count: number): V[] => (list.length <= count ? [...list] : Array.from({ length: count }, (_, k) => list[Math.floor((k + 0.5) * list.length / count)]));

/** "Annotations/a.xml" and "a.jpg" -> "a" */
const stem = (file: string): string => file.slice(file.lastIndexOf("/") + 1).replace(/\.[^.]*$/, "");

function spread(values: number[]): Spread | undefined {
  if (values.length === 0) return undefined;
  const sorted = Float64Array.from(values).sort();
  return { least: sorted[0], median: sorted[sorted.length >> 1], most: sorted[sorted.length - 1] };
}

/** Boxes that are equal: the first of its kind, and each that repeats it. */
function pairs(boxes: readonly ObjectBox[]): [first: number, second: number][] {
  const seen = new Map<string, number>(), found: [number, number][] = [];
  boxes.forEach(({ class: c, x1, y1, x2, y2 }, i) => {
    const key = [c, x1, y1, x2, y2].join(), first = seen.get(key);
    if (first === undefined) seen.set(key, i); else found.push([first, i]);
  });
  return found;
}

/** Size and 64 bits of the pixels: two sums that any change moves (FNV-1a and its like from the other end of the primes). */
function digest({ width, height, pixels }: Picture): string {
  let a = 0x811c9dc5, b = 0x9747b28c;
  for (let i = 0; i < pixels.length; i++) {
    a = Math.imul(a ^ pixels[i], 0x01000193);
    b = Math.imul(b ^ pixels[i], 0x5bd1e995) + i | 0;
  }
  return `${width}x${height}:${(a >>> 0).toString(16)}:${(b >>> 0).toString(16)}`;
}

/** Pictures that are in both of two sets: what is learned there is no longer unseen here. */
export function shared(a: Looked, b: Looked): Problem[] {
  return [...a.pixels].flatMap(([twin, name]) => {
    const other = b.pixels.get(twin);
    return other === undefined ? [] : [{ sentence: printable(`${name} of ${a.check.name} is also in ${b.check.name}${other === name ? "" : `, as ${other}`}; a figure measured there would not be of unseen pictures`), file: printable(name) }];
  });
}
