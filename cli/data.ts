/** Which pictures a run works on, and how they become its batches. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { batches, coco, cocoSplits, gen1Frames, gen1Splits, shapes, voc, yolo, type Batch, type BatchOptions, type DetectionSet, type EventBatch, type FrameProtocol } from "../datasets/index.ts";
import type { TrainingData } from "../detection/index.ts";
import { augmentOf, framesOf, readingOf, type Settings } from "./recipes.ts";
import { Interrupted, refusing, UserError } from "./user-error.ts";

export type Split = "train" | "val" | "test";
/** Of pictures, or of frames of events: [T, B, H, W, 3]. */
export type AnyBatch = Batch | EventBatch;
/** A split with batches; `skipped` pictures of it turned out to be unusable so far. */
export interface OpenSet extends DetectionSet {
  batches(options: BatchOptions & { readonly imgsz: number }): AsyncIterable<AnyBatch>;
  readonly skipped?: number;
  /** How events became frames, if the set is of events. */
  readonly protocol?: string;
}
type Source = Pick<Settings, "data" | "imgsz" | "T" | "train" | "val" | "test" | "frames" | "window" | "order" | "train_split" | "val_split">;

/** Splits that a set may have for each purpose, the better ones first. */
const LISTS: Record<Split, readonly string[]> = { train: ["train", "trainval"], val: ["val", "test"], test: ["test", "val"] };

/** The list that was asked for by name. */
const named = ({ train_split, val_split }: Source, split: Split): string | undefined => ({ train: train_split, val: val_split, test: undefined })[split];

/** Bytes that are free for pictures, shared by the sets that are given it. */
export interface Room { bytes: number }
/** Pictures that are drawn are kept, as far as this goes: drawing one again costs a tenth of a training step. */
export const roomForPictures = (bytes = 512 << 20): Room => ({ bytes });

/** One split; `classes` are those that the network knows, if there is one already. */
export async function openSplit(source: Source, split: Split, { classes, room = roomForPictures() }: { classes?: readonly string[]; room?: Room } = {}): Promise<OpenSet> {
  const { data, imgsz } = source;
  if (data === undefined) return kept(shapes({ split, size: source[split], imgsz }), imgsz, room);
  const kind = await kindOf(data), reader = readers[kind], frames = framesOf(source);
  if (frames && kind !== "gen1") throw new UserError(`data: the network is for frames of events, "${data}" holds pictures; give a folder of Gen1 recordings`);
  if (!frames && kind === "gen1") throw new UserError(`data: the network is for pictures, "${data}" holds recordings of events; give pictures with labels (VOC, COCO or YOLO)`);
  const lists = await refusing(() => reader.splits(data)), list = named(source, split) ?? LISTS[split].find((name) => lists.includes(name)) ?? LISTS[split][0];
  const set = await refusing(() => reader.open(data, list, classes, frames));
  if (set.classes.length === 0) throw new UserError(`data: ${set.name} names no object in any annotation, so there are no classes to learn`);
  return set;
}

export type Kind = "voc" | "coco" | "yolo" | "gen1" | "pictures";

/** What data= names, by its ending or by what is in the folder. Where nothing tells, it is taken for a VOC folder, whose reader says what it misses. */
export async function kindOf(data: string): Promise<Kind> {
  const inside = await readdir(data).catch(() => undefined);
  if (!inside) return data.endsWith(".json") ? "coco" : /\.ya?ml$/.test(data) ? "yolo" : "voc";
  if (inside.some((name) => name === "Annotations" || name === "VOCdevkit" || /^VOC20\d\d$/.test(name))) return "voc";
  if (inside.includes("data.yaml")) return "yolo";
  if ((await cocoSplits(data)).size > 0) return "coco";
  if (inside.some((name) => name.endsWith("_td.dat")) || (await gen1Splits(data)).length > 0) return "gen1";
  return inside.some((name) => /\.(jpe?g|png|webp)$/i.test(name)) ? "pictures" : "voc";
}

interface Reader {
  splits(data: string): Promise<readonly string[]>;
  open(data: string, split: string, classes?: readonly string[], frames?: FrameProtocol): Promise<OpenSet>;
}
const refusal = (sentence: (data: string) => string): Reader => ({ splits: async () => [], open: async (data) => { throw new UserError(sentence(data)); } });

export const readers: Readonly<Record<Kind, Reader>> = {
  voc: { splits: (data) => voc(data).splits(), open: (data, split, classes) => voc(data, { split, classes }).open() },
  coco: { splits: async (data) => [...(await cocoSplits(data)).keys()], open: (data, split, classes) => coco(data, { split, classes }).open() },
  yolo: { splits: (data) => yolo(data).splits(), open: (data, split, classes) => yolo(data, { split, classes }).open() },
  gen1: { splits: gen1Splits, open: openRecordings },
  pictures: refusal((data) => `data: "${data}" holds pictures without labels (${join(data, "data.yaml")}, Annotations/ and annotations/ are all missing); use it as predict source=${data}, or add labels`),
};

/** Recordings that lie in the folder itself are every split but the one to train on. */
async function openRecordings(data: string, split: string, classes?: readonly string[], frames?: FrameProtocol): Promise<OpenSet> {
  const flat = (await gen1Splits(data)).length === 0;
  if (flat && split === "train") throw new UserError(`gen1: the recordings of "${data}" lie in the folder itself, so none are left to validate with; move them to ${join(data, "train")} and ${join(data, "val")}`);
  const set = await gen1Frames(data, { split: flat ? undefined : split, ...frames });
  if (classes && classes.join("\n") !== set.classes.join("\n")) throw new UserError(`gen1: the classes of recordings are [${set.classes.join(", ")}], those of the network [${classes.join(", ")}]; train on recordings to have theirs`);
  return set;
}

/** The same set, each picture drawn only once while there is room for it. */
function kept(set: OpenSet, imgsz: number, room: Room): OpenSet {
  const drawn = new Map<number, ReturnType<OpenSet["sample"]>>(), size = 3 * imgsz * imgsz;
  const keeping: OpenSet = {
    ...set,
    sample(index) {
      const before = drawn.get(index);
      if (before) return before;
      const sample = set.sample(index);
      if (room.bytes >= size) {
        room.bytes -= size;
        drawn.set(index, sample);
      }
      return sample;
    },
    batches: (how) => batches(keeping, how),
  };
  return keeping;
}

/** Batches in order, one look at each picture, the last one perhaps short. */
export function inOrder(set: OpenSet, { imgsz, batch, ...settings }: Pick<Settings, "imgsz" | "batch"> & Partial<Settings>, signal?: AbortSignal): AsyncGenerator<AnyBatch, void, undefined> {
  return breathing(set.batches({ batch, imgsz, ...readingOf(settings) }), signal);
}

/** What the trainer asks for. The batches of an epoch depend on seed and epoch alone, and the last may be short, as in the reference; those before `from` are not made. */
export function trainingData(train: OpenSet, val: OpenSet, settings: Settings): TrainingData {
  const { batch, imgsz, seed } = settings, usable = train.size - (train.skipped ?? 0), reading = readingOf(settings);
  if (batch > usable) throw new UserError(`train: batch is ${batch}, but ${train.name} has ${usable} usable pictures; give batch=${Math.max(usable, 1)} or less`);
  return {
    batchesPerEpoch: Math.ceil(usable / batch),
    train: (epoch, from) => breathing(train.batches({ batch, imgsz, shuffle: true, seed, epoch, augment: augmentOf(settings, epoch), from, ...reading })),
    validation: () => inOrder(val, settings),
  };
}

/** Lets signals and timers in between two batches, since the engine itself never waits; ends with Interrupted when the signal says so. */
async function* breathing<B>(batches: AsyncIterable<B>, signal?: AbortSignal): AsyncGenerator<B, void, undefined> {
  const all = batches[Symbol.asyncIterator]();
  try {
    for (;;) {
      const { done, value } = await refusing(() => all.next());
      if (done) return;
      await turn();
      if (signal?.aborted) throw new Interrupted("stopped");
      yield value;
    }
  } finally {
    await all.return?.();
  }
}

/** Sentences about the data that have not been told yet: the first few in full, the rest counted. */
export class Problems {
  private readonly told = new Set<string>();
  constructor(private readonly sets: readonly OpenSet[], private readonly most = 5) {}

  /** Pictures that could not be used. */
  get skipped(): number { return this.sets.reduce((sum, set) => sum + (set.skipped ?? 0), 0); }
  get count(): number { return new Set(this.sets.flatMap(({ problems }) => problems)).size; }

  news(): string[] {
    const fresh = [...new Set(this.sets.flatMap(({ problems }) => problems))].filter((problem) => !this.told.has(problem));
    for (const problem of fresh) this.told.add(problem);
    return fresh.length > this.most ? [...fresh.slice(0, this.most), `and ${fresh.length - this.most} more like these`] : fresh;
  }

  /** What there was in all; nothing if there was nothing. */
  summary(): string | undefined {
    return this.count === 0 ? undefined : `data: ${this.skipped} ${this.skipped === 1 ? "picture was" : "pictures were"} skipped, ${this.count} ${this.count === 1 ? "problem" : "problems"} in all`;
  }
}
