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
  const lines = linesOf(text);
  const line = object !== undefined ? lines.ofTag("object", Number(object))
    : byte !== undefined ? lines.ofByte(Number(byte))
    : size ? lines.ofTag("size", 1)
    : lines.ofWord(listed!, twice ? 2 : 1);
  return line === undefined ? { sentence, file } : { sentence, file, line };
}

/** Lines of a text, from 1. What is looked for is found once for all sentences: there may be thousands about one file. */
class Lines {
  /** Where lines begin, in UTF-16 units and in bytes of UTF-8. */
  private readonly starts: number[] = [0];
  private readonly byteStarts: number[] = [0];
  private readonly tags = new Map<string, number[]>();
  private words: Map<string, number[]> | undefined;

  constructor(readonly text: string) {
    for (let i = 0, bytes = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      bytes += unit < 0x80 ? 1 : unit < 0x800 || (unit >= 0xd800 && unit < 0xe000) ? 2 : 3; // a surrogate is half of four bytes
      if (unit === 0x0a) { this.starts.push(i + 1); this.byteStarts.push(bytes); }
    }
  }

  ofByte(byte: number): number { return lastAtMost(this.byteStarts, byte) + 1; }

  /** The nth opening tag, from 1; comments of XML do not count. */
  ofTag(name: string, nth: number): number | undefined {
    let found = this.tags.get(name);
    if (!found) {
      const code = this.text.replace(/<!--[\s\S]*?-->/g, (comment) => " ".repeat(comment.length));
      this.tags.set(name, found = Array.from(code.matchAll(new RegExp(`<${name}\\b`, "g")), ({ index }) => lastAtMost(this.starts, index) + 1));
    }
    return found[nth - 1];
  }

  /** The nth line that begins with a word, as it may be shown. */
  ofWord(word: string, nth: number): number | undefined {
    if (!this.words) {
      this.words = new Map();
      for (const [i, row] of this.text.split("\n").entries()) {
        const first = printable(row.trim().split(/\s+/)[0]), lines = this.words.get(first);
        if (lines) lines.push(i + 1); else this.words.set(first, [i + 1]);
      }
    }
    return this.words.get(word)?.[nth - 1];
  }
}

/** Index of the last of rising numbers, the first of which is 0, that is no more than `value`. */
function lastAtMost(rising: readonly number[], value: number): number {
  let low = 0, high = rising.length;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (rising[middle] <= value) low = middle; else high = middle;
  }
  return low;
}

/** Of the text that was asked about last, since problems of one file follow each other. */
let latest: Lines | undefined;
const linesOf = (text: string): Lines => (latest?.text === text ? latest : latest = new Lines(text));

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

/** Boxes of one picture that repeat others and are named one by one. */
const REPEATED = 10;

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
      const repeated = pairs(boxes);
      for (const [first, second] of repeated.slice(0, REPEATED)) add(`${name} has the same box of class "${set.classes[boxes[first].class]}" twice, as boxes ${first + 1} and ${second + 1}; remove one`, name);
      if (repeated.length > REPEATED) add(`${name} has ${repeated.length - REPEATED} more boxes that are the same as others; remove them`, name);
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
