/** Which pictures a run works on, and how they become its batches. */
import { setImmediate as turn } from "node:timers/promises";
import { batches, shapes, voc, type Batch, type Batched, type DetectionSet, type VocSet } from "../datasets/index.ts";
import type { TrainingBatch, TrainingData } from "../detection/index.ts";
import { augmentOf, readingOf, type Settings } from "./recipes.ts";
import { Interrupted, refusing, UserError } from "./user-error.ts";

export type Split = "train" | "val" | "test";
/** A split with batches; `skipped` pictures of it turned out to be unusable so far. */
export type OpenSet = DetectionSet & Batched & { readonly skipped?: number };
type Source = Pick<Settings, "data" | "imgsz" | "train" | "val" | "test">;

/** Lists that a VOC folder may have for each purpose, the better ones first. */
const LISTS: Record<Split, readonly string[]> = { train: ["train", "trainval"], val: ["val", "test"], test: ["test", "val"] };

/** Bytes that are free for pictures, shared by the sets that are given it. */
export interface Room { bytes: number }
/** Pictures that are drawn are kept, as far as this goes: drawing one again costs a tenth of a training step. */
export const roomForPictures = (bytes = 512 << 20): Room => ({ bytes });

/** One split; `classes` are those that the network knows, if there is one already. */
export async function openSplit(source: Source, split: Split, { classes, room = roomForPictures() }: { classes?: readonly string[]; room?: Room } = {}): Promise<OpenSet> {
  const { data, imgsz } = source;
  if (data === undefined) return kept(shapes({ split, size: source[split], imgsz }), imgsz, room);
  const lists = await refusing(() => voc(data).splits()), list = LISTS[split].find((name) => lists.includes(name)) ?? LISTS[split][0];
  const set: VocSet = await refusing(() => voc(data, { split: list, classes }).open());
  if (set.classes.length === 0) throw new UserError(`data: ${set.name} names no object in any annotation, so there are no classes to learn`);
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
    batches: (how) => batches(keeping, { imgsz, ...(typeof how === "number" ? { batch: how } : how) }),
  };
  return keeping;
}

/** Batches in order, one look at each picture, the last one perhaps short. */
export function inOrder(set: OpenSet, { imgsz, batch, ...settings }: Pick<Settings, "imgsz" | "batch"> & Partial<Settings>, signal?: AbortSignal): AsyncGenerator<Batch, void, undefined> {
  return breathing(set.batches({ batch, imgsz, ...readingOf(settings) }), signal);
}

/** What the trainer asks for. The batches of an epoch depend on seed and epoch alone; those before `from` are not made. */
export function trainingData(train: OpenSet, val: OpenSet, settings: Settings): TrainingData {
  const { batch, imgsz, seed } = settings, usable = train.size - (train.skipped ?? 0), reading = readingOf(settings);
  if (batch > usable) throw new UserError(`train: batch is ${batch}, but ${train.name} has ${usable} usable pictures; give batch=${Math.max(usable, 1)} or less`);
  return {
    batchesPerEpoch: Math.floor(usable / batch),
    async *train(epoch, from): AsyncGenerator<TrainingBatch, void, undefined> {
      let number = from;
      for await (const next of breathing(train.batches({ batch, imgsz, shuffle: true, seed, epoch, augment: augmentOf(settings, epoch), dropLast: true, from, ...reading }))) {
        number++;
        yield next;
      }
      if (number === 0) throw new UserError(`train: fewer than ${batch} pictures of ${train.name} can be read (${train.problems.at(-1) ?? "no problem is known"}); give a smaller batch`);
    },
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
