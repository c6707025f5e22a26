/**
 * Prophesee recordings: events in `NAME_td.dat`, boxes in `NAME_bbox.npy`.
 *
 *   % Date 2018-05-01 10:11:12 \n % Height 240 \n % Width 304 \n     lines that start with "% ", none at all in some files
 *   u8 event type, u8 event size                                      only after such lines
 *   u32 t (µs), u32 x | y << 14 | p << 28 | ignored << 29             8 bytes an event, little-endian, sorted by t
 *
 * A recording of a minute has a hundred megabytes of events, so they are read in blocks, and a window of time is found by bisection.
 */
import { flawsSaid, remember, type EventFlaws } from "./event-flaws.ts";
import { BrokenFile, bytesSource, fileSource, readWhole, type ByteSource } from "./file.ts";
import { readNpyTable, writeNpyTable, type NpyColumn, type NpyData } from "./npy.ts";
import { ProblemList } from "./problems.ts";

/** Events in the order of their file, as columns. Times are whole microseconds; polarity is 0 (darker) or 1 (brighter). */
export interface Events {
  readonly t: Float64Array;
  readonly x: Uint16Array;
  readonly y: Uint16Array;
  readonly p: Uint8Array;
}

/** One box at one time: upper left corner and size in pixels of the sensor, as the file has them (not clipped). */
export interface EventBox {
  /** Microseconds. */
  readonly t: number;
  readonly x: number;
  readonly y: number;
  readonly w: number;
  readonly h: number;
  /** 0 car, 1 pedestrian in Gen1. */
  readonly class: number;
  /** Follows one object through a recording. */
  readonly track: number;
  readonly confidence: number;
}

/** Pixels of the sensor that recorded Gen1. */
export const GEN1_SENSOR = { width: 304, height: 240 } as const;
export const GEN1_CLASSES = ["car", "pedestrian"] as const;

// ---- events ----

/** A `_td.dat` whose header has been read; events stay in the file until they are asked for. */
export interface EventFile {
  readonly name: string;
  readonly width: number;
  readonly height: number;
  /** Events in the file. */
  readonly count: number;
  /** Number of the first event at or after a time; `count` if there is none. */
  seek(time: number): Promise<number>;
  /** Events with from <= t < to (µs), all at once. Default: the whole file. */
  events(from?: number, to?: number): Promise<Events>;
  /** The same, block after block in the order of the file: no more than `block` of them are in memory at a time. */
  blocks(from?: number, to?: number, block?: number): AsyncGenerator<Events, void, undefined>;
  /** Microseconds of one event, by its number. */
  timeOf(event: number): Promise<number>;
  /** What was found wrong so far: a torn last event, events off the sensor (left out), times that run backwards. */
  readonly flaws: EventFlaws;
  /** The same in sentences. */
  readonly problems: readonly string[];
}

export interface EventFileOptions {
  /** Size of the sensor where the header does not tell. Default: Gen1's. */
  readonly width?: number;
  readonly height?: number;
}

const EVENT_BYTES = 8, MAX_HEADER_BYTES = 1 << 16, MAX_SIDE = 1 << 14;
/** 1 MB of file. */
const BLOCK = 1 << 17;
/** Event types with this layout: 0 in Gen1, 12 in later recordings. */
const EVENT_TYPES = [0, 12];

export async function openEvents(from: ByteSource | Uint8Array | string, { width = GEN1_SENSOR.width, height = GEN1_SENSOR.height }: EventFileOptions = {}): Promise<EventFile> {
  const source = typeof from === "string" ? await fileSource(from) : from instanceof Uint8Array ? bytesSource(from, "events") : from, { name } = source;
  const header = readDatHeader(await source.read(0, MAX_HEADER_BYTES), source.size, name);
  const size = { width: header.width ?? width, height: header.height ?? height };
  const count = Math.floor((source.size - header.bytes) / EVENT_BYTES), torn = source.size - header.bytes - count * EVENT_BYTES;
  const at = (event: number) => header.bytes + event * EVENT_BYTES, flaws: EventFlaws = { ...size, whole: count, torn, off: new Set(), backward: new Set() };

  const file: EventFile = {
    name, ...size, count, flaws,
    get problems() { return flawsSaid(name, flaws); },

    async timeOf(event) {
      const bytes = await source.read(at(event), 4);
      if (bytes.length !== 4) throw new BrokenFile(name, `ends within its events, expected ${source.size} bytes`, { offset: at(event) + bytes.length });
      return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
    },

    async seek(time) {
      let low = 0, high = count;
      while (low < high) {
        const middle = Math.floor((low + high) / 2);
        if (await file.timeOf(middle) < time) low = middle + 1; else high = middle;
      }
      return low;
    },

    async events(from = 0, to = Infinity) {
      const [first, last] = await range(from, to), n = last - first;
      const all = { t: new Float64Array(n), x: new Uint16Array(n), y: new Uint16Array(n), p: new Uint8Array(n) };
      let kept = 0;
      for (let event = first; event < last; event += BLOCK) kept = decode(await bytesOf(event, Math.min(BLOCK, last - event)), event, from, to, all, kept);
      return kept === n ? all : slice(all, kept);
    },

    async *blocks(from = 0, to = Infinity, block = BLOCK) {
      if (!Number.isInteger(block) || block < 1) throw new RangeError(`gen1: block must be a whole number of at least 1, got ${block}`);
      const [first, last] = await range(from, to);
      for (let event = first; event < last; event += block) {
        const n = Math.min(block, last - event), some = { t: new Float64Array(n), x: new Uint16Array(n), y: new Uint16Array(n), p: new Uint8Array(n) };
        const kept = decode(await bytesOf(event, n), event, from, to, some, 0);
        if (kept > 0) yield kept === n ? some : slice(some, kept);
      }
    },
  };

  const range = async (from: number, to: number): Promise<[number, number]> => {
    if (Number.isNaN(from) || Number.isNaN(to)) throw new RangeError(`gen1: a window from ${from} to ${to} µs`);
    const first = from > 0 ? await file.seek(from) : 0;
    return [first, to < Infinity ? Math.max(first, await file.seek(to)) : count];
  };

  const bytesOf = async (event: number, n: number): Promise<DataView> => {
    const bytes = await source.read(at(event), n * EVENT_BYTES);
    if (bytes.length !== n * EVENT_BYTES) throw new BrokenFile(name, `ends within its events, expected ${source.size} bytes`, { offset: at(event) + bytes.length });
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  };

  /** Appends the events of a block to columns from `to` on; returns where they end. */
  function decode(bytes: DataView, first: number, begin: number, end: number, { t, x, y, p }: Events, to: number): number {
    const { width, height } = size;
    for (let from = 0, event = first, before = 0; from < bytes.byteLength; from += EVENT_BYTES, event++) {
      const time = bytes.getUint32(from, true), word = bytes.getUint32(from + 4, true);
      const column = word & 0x3fff, row = (word >>> 14) & 0x3fff;
      if (time < before) remember(flaws.backward, at(event));
      before = time;
      if (column >= width || row >= height) { remember(flaws.off, at(event)); continue; }
      if (time < begin || time >= end) continue;
      t[to] = time; x[to] = column; y[to] = row; p[to] = (word >>> 28) & 1;
      to++;
    }
    return to;
  }

  return file;
}

const slice = ({ t, x, y, p }: Events, n: number): Events => ({ t: t.slice(0, n), x: x.slice(0, n), y: y.slice(0, n), p: p.slice(0, n) });

function readDatHeader(bytes: Uint8Array, size: number, name: string): { bytes: number; width?: number; height?: number } {
  let at = 0;
  const sides = new Map<string, number>();
  while (bytes[at] === 0x25 && bytes[at + 1] === 0x20) {
    const end = bytes.indexOf(0x0a, at);
    if (end < 0) throw new BrokenFile(name, size > bytes.length ? `the header is longer than ${MAX_HEADER_BYTES} bytes` : "a header line does not end", { offset: at });
    const line = new TextDecoder("latin1").decode(bytes.subarray(at + 2, end)), [, key, value] = /^\s*(height|width)\s+(\S+)\s*$/i.exec(line) ?? [];
    if (key) {
      const side = Number(value), known = sides.get(key.toLowerCase());
      if (!Number.isInteger(side) || side < 1 || side > MAX_SIDE) throw new BrokenFile(name, `the header says ${key} ${value.slice(0, 20)}, expected a whole number from 1 to ${MAX_SIDE}`, { offset: at });
      if (known !== undefined && known !== side) throw new BrokenFile(name, `the header says ${key} ${known} and ${key} ${side}; leave one of them`, { offset: at });
      sides.set(key.toLowerCase(), side);
    }
    at = end + 1;
  }
  if (at > 0) {
    if (size < at + 2) throw new BrokenFile(name, "ends before the type and size of its events", { offset: size });
    if (bytes.length < at + 2) throw new BrokenFile(name, `the header is longer than ${MAX_HEADER_BYTES} bytes`, { offset: at });
    if (!EVENT_TYPES.includes(bytes[at])) throw new BrokenFile(name, `holds events of type ${bytes[at]}, expected ${EVENT_TYPES.join(" or ")} (change events)`, { offset: at });
    if (bytes[at + 1] !== EVENT_BYTES) throw new BrokenFile(name, `events have ${bytes[at + 1]} bytes each, expected ${EVENT_BYTES}`, { offset: at + 1 });
    at += 2;
  }
  return { bytes: at, width: sides.get("width"), height: sides.get("height") };
}

/** The start of a `_td.dat`; blocks of `encodeEvents` follow. */
export function datHeader({ width = GEN1_SENSOR.width, height = GEN1_SENSOR.height, date = "2000-01-01 00:00:00" }: EventFileOptions & { date?: string } = {}): Uint8Array {
  const text = new TextEncoder().encode(`% Data file containing Event2D events.\n% Version 2\n% Date ${date}\n% Height ${height}\n% Width ${width}\n`);
  return Uint8Array.from([...text, EVENT_TYPES[0], EVENT_BYTES]);
}

/** Events as a `_td.dat` holds them. */
export function encodeEvents({ t, x, y, p }: Events): Uint8Array {
  const out = new Uint8Array(t.length * EVENT_BYTES), view = new DataView(out.buffer);
  for (let i = 0, at = 0; i < t.length; i++, at += EVENT_BYTES) {
    if (!(t[i] >= 0 && t[i] < 2 ** 32 && Number.isInteger(t[i])) || x[i] >= MAX_SIDE || y[i] >= MAX_SIDE || p[i] > 1) throw new RangeError(`gen1: event ${i} (t ${t[i]}, x ${x[i]}, y ${y[i]}, p ${p[i]}) does not fit a dat file; t is whole and below 2^32, x and y below ${MAX_SIDE}, p 0 or 1`);
    view.setUint32(at, t[i], true);
    view.setUint32(at + 4, (x[i] | y[i] << 14 | p[i] << 28) >>> 0, true);
  }
  return out;
}

/** A whole `_td.dat`. */
export function writeDat(events: Events, options?: Parameters<typeof datHeader>[0]): Uint8Array {
  const header = datHeader(options), body = encodeEvents(events), out = new Uint8Array(header.length + body.length);
  out.set(header);
  out.set(body, header.length);
  return out;
}

// ---- boxes ----

/** Names of the same field in recordings of different years, the first as it is written here. */
const FIELDS = {
  t: ["ts", "t"], x: ["x"], y: ["y"], w: ["w"], h: ["h"], class: ["class_id"],
  track: ["track_id"], confidence: ["confidence", "class_confidence"],
} as const;

const MAX_BOX_BYTES = 1 << 30;

/** The boxes of a `_bbox.npy`, in the order of the file, and what is wrong with them. Those that are no numbers are left out, others stay as they are. */
export function readBoxes(bytes: Uint8Array, name = "bbox.npy"): { boxes: EventBox[]; problems: string[] } {
  const { rows, columns } = readNpyTable(bytes, name), problems = new ProblemList();
  const column = (field: keyof typeof FIELDS): NpyData => {
    const names = FIELDS[field].filter((candidate) => columns.has(candidate));
    if (names.length === 0) throw new BrokenFile(name, `its records have no field ${FIELDS[field].join(" or ")}; they have ${[...columns.keys()].slice(0, 12).join(", ") || "none"}`, { offset: 10 });
    if (names.length > 1) throw new BrokenFile(name, `its records have both ${names.join(" and ")}; expected one`, { offset: 10 });
    const found = columns.get(names[0])!;
    if (found.length !== rows) throw new BrokenFile(name, `field ${names[0]} holds several numbers in each record, expected one`, { offset: 10 });
    return found;
  };
  const optional = (field: "track" | "confidence"): NpyData | undefined => (FIELDS[field].some((candidate) => columns.has(candidate)) ? column(field) : undefined);
  const [t, x, y, w, h, c] = [column("t"), column("x"), column("y"), column("w"), column("h"), column("class")], track = optional("track"), confidence = optional("confidence");

  const boxes: EventBox[] = [];
  for (let row = 0; row < rows; row++) {
    const box: EventBox = {
      t: Number(t[row]), x: Number(x[row]), y: Number(y[row]), w: Number(w[row]), h: Number(h[row]), class: Number(c[row]),
      track: track ? Number(track[row]) : 0, confidence: confidence ? Number(confidence[row]) : 1,
    };
    const where = `gen1: box ${row + 1} of ${name} (t ${box.t}, x ${box.x}, y ${box.y}, w ${box.w}, h ${box.h})`;
    if (![box.x, box.y, box.w, box.h].every(Number.isFinite) || !Number.isSafeInteger(box.t) || box.t < 0 || !Number.isSafeInteger(box.class) || box.class < 0) {
      problems.add(`${where} is not all numbers; it is left out`);
      continue;
    }
    if (box.w <= 0 || box.h <= 0) problems.add(`${where} is no area`);
    boxes.push(box);
  }
  return { boxes, problems: problems.list };
}

const write = (field: keyof typeof FIELDS, type: "u8" | "i8" | "f4" | "u1" | "u4", boxes: readonly EventBox[], generation = 0): NpyColumn => {
  const name = FIELDS[field][generation] ?? FIELDS[field][0];
  return type === "u8" || type === "i8" ? [name, type, (row) => BigInt(boxes[row][field])] : [name, type, (row) => boxes[row][field]];
};

/** A `_bbox.npy` as Gen1 has it (33 bytes a box), as a C compiler would align it (40), or with the field names of later recordings (40). */
export function writeBoxes(boxes: readonly EventBox[], layout: "packed" | "aligned" | "later" = "packed"): Uint8Array {
  const sides = (["x", "y", "w", "h"] as const).map((field) => write(field, "f4", boxes));
  if (layout === "later") return writeNpyTable(boxes.length, [write("t", "i8", boxes, 1), ...sides, write("class", "u4", boxes), write("track", "u4", boxes), write("confidence", "f4", boxes, 1), ["", 4]]);
  const gap = (bytes: number): NpyColumn[] => (layout === "aligned" ? [["", bytes]] : []);
  return writeNpyTable(boxes.length, [write("t", "u8", boxes), ...sides, write("class", "u1", boxes), ...gap(3), write("confidence", "f4", boxes), write("track", "u4", boxes), ...gap(4)]);
}

// ---- folders ----

/** A `_td.dat`, and what sentences call it. */
export interface RecordedFile { readonly path: string; readonly name: string }

/** One recording of a folder; nothing of it has been read yet. */
export interface Recording {
  readonly name: string;
  /** Of its events. */
  readonly file: RecordedFile;
  open(): Promise<EventFile>;
  boxes(): Promise<{ boxes: EventBox[]; problems: string[] }>;
}

/** The recordings of a split, by name. */
export interface RecordingSet {
  readonly name: string;
  readonly classes: readonly string[];
  readonly recordings: readonly Recording[];
  /** Files without their partner. */
  readonly problems: readonly string[];
}

const EVENTS = "_td.dat", BOXES = "_bbox.npy";

/** The recordings in `path/SPLIT`, or in `path` itself. Sub-folders train, val and test are splits if they hold recordings. */
export async function gen1(path: string, { split }: { split?: string } = {}): Promise<RecordingSet> {
  const { join } = await import("node:path");
  const names = await namesIn(split === undefined ? path : join(path, split));
  if (!names) throw new Error(`gen1: "${split === undefined ? path : join(path, split)}" is not a folder; expected one with NAME${EVENTS} and NAME${BOXES}`);
  const folder = split === undefined ? path : join(path, split), problems = new ProblemList();
  const stems = names.filter((name) => name.endsWith(EVENTS)).map((name) => name.slice(0, -EVENTS.length)), all = new Set(names);
  for (const name of names) if (name.endsWith(BOXES) && !all.has(name.slice(0, -BOXES.length) + EVENTS)) problems.add(`gen1: ${name} in "${folder}" has no ${name.slice(0, -BOXES.length)}${EVENTS} beside it; it is left out`);
  const whole = stems.filter((stem) => all.has(stem + BOXES));
  for (const stem of stems) if (!all.has(stem + BOXES)) problems.add(`gen1: ${stem}${EVENTS} in "${folder}" has no ${stem}${BOXES} beside it; it is left out`);
  if (whole.length === 0) throw new Error(`gen1: "${folder}" holds no recording; expected NAME${EVENTS} and NAME${BOXES} side by side`);
  return {
    name: `gen1 ${folder}`,
    classes: GEN1_CLASSES,
    problems: problems.list,
    recordings: whole.map((stem) => ({
      name: stem,
      file: { path: join(folder, stem + EVENTS), name: stem + EVENTS },
      open: async () => openEvents(await fileSource(join(folder, stem + EVENTS), stem + EVENTS)),
      boxes: async () => readBoxes(await readWhole(await fileSource(join(folder, stem + BOXES), stem + BOXES), MAX_BOX_BYTES), stem + BOXES),
    })),
  };
}

/** Which of train, val and test a folder has recordings of. */
export async function gen1Splits(path: string): Promise<string[]> {
  const { join } = await import("node:path");
  const found = await Promise.all(["train", "val", "test"].map(async (split) => ((await namesIn(join(path, split)))?.some((name) => name.endsWith(EVENTS)) ? [split] : [])));
  return found.flat();
}

async function namesIn(folder: string): Promise<string[] | undefined> {
  const { readdir } = await import("node:fs/promises");
  return readdir(folder).then((names) => names.sort(), () => undefined);
}
