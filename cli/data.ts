/** Which pictures a run works on, and how they become its batches. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { shapes, voc, type Batch, type Batched, type DetectionSet, type VocSet } from "../datasets/index.ts";
import type { TrainingBatch, TrainingData } from "../detection/index.ts";
import { augmentOf, type Settings } from "./recipes.ts";
import { Interrupted, refusing, UserError } from "./user-error.ts";

export type Split = "train" | "val" | "test";
/** A split with batches; `skipped` pictures of it turned out to be unusable so far. */
export type OpenSet = DetectionSet & Batched & { readonly skipped?: number };
type Source = Pick<Settings, "data" | "imgsz" | "train" | "val" | "test">;

/** Lists that a VOC folder may have for each purpose, the better ones first. */
const LISTS: Record<Split, readonly string[]> = { train: ["train", "trainval"], val: ["val", "test"], test: ["test", "val"] };

/** One split; `classes` are those that the network knows, if there is one already. */
export async function openSplit(source: Source, split: Split, classes?: readonly string[]): Promise<OpenSet> {
  const { data, imgsz } = source;
  if (data === undefined) return shapes({ split, size: source[split], imgsz });
  const lists = listsOf(data), list = LISTS[split].find((name) => lists.includes(name)) ?? LISTS[split][0];
  const set: VocSet = await refusing(() => voc(data, { split: list, classes }).open());
  if (set.classes.length === 0) throw new UserError(`data: ${set.name} names no object in any annotation, so there are no classes to learn`);
  return set;
}

/** Names of the lists of a VOC folder, wherever in it they are; none if it is no such folder, which `voc` then says. */
function listsOf(path: string): string[] {
  const below = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder).filter((name) => /^VOC/.test(name)).map((name) => join(folder, name)) : []);
  const roots = [path, ...below(path), ...below(join(path, "VOCdevkit"))].filter((root) => existsSync(join(root, "ImageSets", "Main")));
  return roots.flatMap((root) => readdirSync(join(root, "ImageSets", "Main"))).filter((name) => name.endsWith(".txt")).map((name) => name.slice(0, -4));
}

/** Batches in order, one look at each picture, the last one perhaps short. */
export function inOrder(set: OpenSet, { imgsz, batch }: Pick<Settings, "imgsz" | "batch">, signal?: AbortSignal): AsyncGenerator<Batch, void, undefined> {
  return breathing(set.batches({ batch, imgsz }), signal);
}

/** What the trainer asks for. The batches of an epoch depend on seed and epoch alone; those before `from` are read and dropped. */
export function trainingData(train: OpenSet, val: OpenSet, settings: Settings): TrainingData {
  const { batch, imgsz, seed } = settings, usable = train.size - (train.skipped ?? 0);
  if (batch > usable) throw new UserError(`train: batch is ${batch}, but ${train.name} has ${usable} usable pictures; give batch=${Math.max(usable, 1)} or less`);
  return {
    batchesPerEpoch: Math.floor(usable / batch),
    async *train(epoch, from): AsyncGenerator<TrainingBatch, void, undefined> {
      let number = 0;
      for await (const next of breathing(train.batches({ batch, imgsz, shuffle: true, seed, epoch, augment: augmentOf(settings), dropLast: true }))) {
        if (number++ >= from) yield next;
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
