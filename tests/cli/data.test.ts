import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { inOrder, openSplit, Problems, roomForPictures, trainingData } from "../../cli/data.ts";
import { settingsOf } from "../../cli/recipes.ts";
import { Interrupted, UserError } from "../../cli/user-error.ts";
import type { TrainingBatch } from "../../detection/index.ts";
import { truncatedJpeg, writeVoc } from "./voc-folder.ts";

vi.setConfig({ testTimeout: 60_000 });

let room: string;
beforeAll(async () => { room = await mkdtemp(join(tmpdir(), "spiketrain-data-")); });
afterAll(() => rm(room, { recursive: true, force: true }));

const settings = settingsOf({ imgsz: 64, batch: 4, train: 18, val: 6, test: 5 });
const inFolder = (data: string) => settingsOf({ data, imgsz: 64, batch: 2 });

async function all<B>(batches: AsyncIterable<B>): Promise<B[]> {
  const list: B[] = [];
  for await (const batch of batches) list.push(batch);
  return list;
}

/** A batch as something to compare. */
const contents = ({ images, boxes }: TrainingBatch): unknown => ({ shape: images.shape, sum: (images as { data: Float32Array }).data.reduce((a, b) => a + b, 0), boxes: [...boxes.xywh], classes: [...boxes.class] });

describe("training data", () => {
  test("an epoch has all pictures, its last batch short, and goes on from any of them as if it had begun there", async () => {
    const data = trainingData(await openSplit(settings, "train"), await openSplit(settings, "val"), settings);
    expect(data.batchesPerEpoch).toBe(5);
    const batches = await all(data.train(1, 0)), whole = batches.map(contents);
    expect(batches.map(({ images }) => images.shape[0])).toEqual([4, 4, 4, 4, 2]);
    expect((await all(data.train(1, 3))).map(contents)).toEqual(whole.slice(3));
    expect((await all(data.train(2, 0))).map(contents)).not.toEqual(whole);
  });

  test("is the same to the bit from pictures that are kept and from those that are drawn each time", async () => {
    const epochs = async (bytes: number) => {
      const room = roomForPictures(bytes), [train, val] = [await openSplit(settings, "train", { room }), await openSplit(settings, "val", { room })];
      const data = trainingData(train, val, settings);
      return [await all(data.train(0, 0)), await all(data.train(1, 0)), await all(data.validation())];
    };
    const [drawn, some, kept] = [await epochs(0), await epochs(5 * 3 * 64 * 64), await epochs(1 << 30)];
    expect(kept).toEqual(drawn);
    expect(some).toEqual(drawn);
  });

  test("all its sets share one room for kept pictures", async () => {
    const room = roomForPictures(20 * 3 * 64 * 64 + 5);
    const [train, val] = [await openSplit(settings, "train", { room }), await openSplit(settings, "val", { room })];
    for (const set of [train, val]) for (let round = 0; round < 2; round++) for (let i = 0; i < set.size; i++) await set.sample(i);
    expect(room.bytes).toBe(5);
    const isKept = (set: typeof train, i: number) => set.sample(i) === set.sample(i);
    expect(Array.from({ length: 18 }, (_, i) => isKept(train, i))).not.toContain(false);
    expect(Array.from({ length: 6 }, (_, i) => isKept(val, i))).toEqual([true, true, false, false, false, false]);
  });

  test("lists are taken by name where one is asked for", async () => {
    const path = join(room, "by-name"), ids = ["a", "b", "c", "d"];
    await writeVoc(path, ids.map((id) => ({ id })), { train: ["a"], val: ["b"], trainval: ["a", "b"], test: ["c", "d"] });
    const sizes = async (given: Partial<typeof settings>) => Promise.all((["train", "val", "test"] as const).map(async (split) => (await openSplit({ ...inFolder(path), ...given }, split)).size));
    expect(await sizes({})).toEqual([1, 1, 2]);
    expect(await sizes({ train_split: "trainval", val_split: "test" })).toEqual([2, 2, 2]);
    await expect(sizes({ train_split: "tarinval" })).rejects.toThrow(/split "tarinval" has no list .*; the splits there are test, train, trainval, val/);
  });

  test("depends on the seed", async () => {
    const [a, b] = await Promise.all([0, 1].map(async (seed) => all(trainingData(await openSplit(settings, "train"), await openSplit(settings, "val"), { ...settings, seed }).train(0, 0))));
    expect(a.map(contents)).not.toEqual(b.map(contents));
  });

  test("validation has every picture once, in order, the last batch short", async () => {
    const data = trainingData(await openSplit(settings, "train"), await openSplit(settings, "val"), settings);
    expect((await all(data.validation())).map(({ images }) => images.shape[0])).toEqual([4, 2]);
  });

  test("a batch that is larger than the set is refused with the largest that fits", async () => {
    const [train, val] = [await openSplit(settings, "train"), await openSplit(settings, "val")];
    expect(() => trainingData(train, val, { ...settings, batch: 19 })).toThrow(new UserError("train: batch is 19, but shapes train has 18 usable pictures; give batch=18 or less"));
    expect(trainingData(train, val, { ...settings, batch: 18 }).batchesPerEpoch).toBe(1);
  });

  test("signals are handled between batches, and end what is asked to end", async () => {
    const controller = new AbortController();
    setImmediate(() => controller.abort());
    await expect(all(inOrder(await openSplit(settings, "test"), { imgsz: 64, batch: 1 }, controller.signal))).rejects.toBeInstanceOf(Interrupted);
  });
});

describe("a VOC folder", () => {
  const good = (...ids: string[]) => ids.map((id) => ({ id }));

  test("that is not there is refused", async () => {
    const path = join(room, "nowhere");
    await expect(openSplit(inFolder(path), "train")).rejects.toThrow(new UserError(`voc: "${path}" is not a folder; expected one with Annotations/, JPEGImages/ and ImageSets/Main/`));
  });

  test("that is a file is refused", async () => {
    await expect(openSplit(inFolder("LICENSE"), "train")).rejects.toThrow(new UserError('voc: "LICENSE" is not a folder; expected one with Annotations/, JPEGImages/ and ImageSets/Main/'));
  });

  test("with a folder in the place of a list is refused", async () => {
    const path = join(room, "list-folder");
    await writeVoc(path, good("a"), {});
    await mkdir(join(path, "ImageSets", "Main", "train.txt"));
    await expect(openSplit(inFolder(path), "train")).rejects.toThrow(new UserError(`voc: ImageSets/Main/train.txt is a folder, expected a file, in "${path}"`));
  });

  test("with an empty split is refused", async () => {
    const path = join(room, "empty");
    await writeVoc(path, good("a"), { train: ["a"], val: [] });
    await expect(openSplit(inFolder(path), "val")).rejects.toThrow(new UserError(`voc: split "val" is empty: ImageSets/Main/val.txt in "${path}" names no picture`));
  });

  test("with a class that the training pictures lack is refused, with the list", async () => {
    const path = join(room, "classes");
    await writeVoc(path, [{ id: "a", objects: [{ name: "cat", corners: [2, 2, 30, 30] }] }, { id: "b", objects: [{ name: "dog", corners: [2, 2, 30, 30] }] }], { train: ["a"], val: ["b"] });
    const { classes } = await openSplit(inFolder(path), "train");
    expect(classes).toEqual(["cat"]);
    await expect(openSplit(inFolder(path), "val", { classes })).rejects.toThrow('voc: object 1 of Annotations/b.xml is of class "dog", which is not in the class list [cat]; add it to classes, or remove the object');
    await expect(openSplit(inFolder(path), "val", { classes })).rejects.toBeInstanceOf(UserError);
  });

  test("without any object is refused", async () => {
    const path = join(room, "bare");
    await writeVoc(path, [{ id: "a", objects: [] }], { train: ["a"] });
    await expect(openSplit(inFolder(path), "train")).rejects.toThrow("names no object in any annotation, so there are no classes to learn");
  });

  test("with a truncated JPEG trains without it, and says which it is", async () => {
    const path = join(room, "truncated");
    await writeVoc(path, [...good("a", "b", "c", "d"), { id: "cut", jpeg: truncatedJpeg }], { train: ["a", "cut", "b", "c", "d"], val: ["a", "cut"] });
    const [train, val] = [await openSplit(inFolder(path), "train"), await openSplit(inFolder(path), "val")], problems = new Problems([train, val]);
    expect(problems.news()).toEqual([]);
    expect(problems.summary()).toBeUndefined();
    const data = trainingData(train, val, inFolder(path));
    expect((await all(data.train(0, 0))).map(({ images }) => images.shape[0])).toEqual([2, 2]);
    const [news, ...more] = problems.news();
    expect(news).toMatch(/^voc: image JPEGImages\/cut\.jpg: .*truncated.*; the picture is skipped$/);
    expect(more).toEqual([]);
    expect((await all(data.validation())).map(({ images }) => images.shape[0])).toEqual([1]);
    expect(problems.news()).toEqual([]); // told once
    expect(problems.summary()).toBe("data: 2 pictures were skipped, 1 problem in all");
  });

  test("of nothing but broken pictures is refused", async () => {
    const path = join(room, "broken");
    const broken = ["x", "y", "z"].map((id) => ({ id, jpeg: truncatedJpeg, objects: [{ name: "cat", corners: [1, 1, 9, 9] as const }] }));
    await writeVoc(path, broken, { train: ["x", "y", "z"], val: ["x"] });
    const data = trainingData(await openSplit(inFolder(path), "train"), await openSplit(inFolder(path), "val"), inFolder(path));
    await expect(all(data.train(0, 0))).rejects.toThrow(/none of the 3 pictures .* can be read/);
    await expect(all(data.train(0, 0))).rejects.toBeInstanceOf(UserError);
  });

  test("with fewer readable pictures than a batch has a short batch of them, and names the others", async () => {
    const path = join(room, "few");
    await writeVoc(path, [{ id: "a" }, { id: "x", jpeg: truncatedJpeg }], { train: ["a", "x"], val: ["a"] });
    const train = await openSplit(inFolder(path), "train"), data = trainingData(train, await openSplit(inFolder(path), "val"), inFolder(path));
    expect((await all(data.train(0, 0))).map(({ images }) => images.shape[0])).toEqual([1]);
    expect(train.problems.join()).toMatch(/^voc: image JPEGImages\/x\.jpg/);
  });

  test("with boxes outside their picture or without area names the first few and counts the rest", async () => {
    const path = join(room, "boxes");
    const outside = { name: "cat", corners: [100, 100, 120, 120] } as const, flat = { name: "cat", corners: [5, 5, 5, 30] } as const, fine = { name: "cat", corners: [5, 5, 30, 30] } as const;
    const ids = ["a", "b", "c", "d"];
    await writeVoc(path, ids.map((id) => ({ id, objects: [outside, flat, fine] })), { train: ids, val: ids });
    const train = await openSplit(inFolder(path), "train"), problems = new Problems([train]);
    const news = problems.news();
    expect(news.length).toBe(6);
    expect(news[0]).toBe('voc: object 1 ("cat") of Annotations/a.xml has corners 100, 100 and 120, 120, all outside its picture of 64 x 64; it is dropped');
    expect(news[1]).toBe('voc: object 2 ("cat") of Annotations/a.xml has corners 5, 5 and 5, 30, which is no area; it is dropped');
    expect(news[5]).toBe("and 3 more like these");
    expect(problems.summary()).toBe("data: 0 pictures were skipped, 8 problems in all");
    const [{ boxes }] = await all(inOrder(train, { imgsz: 64, batch: 4 }));
    expect(boxes.class.length).toBe(4); // the fine one of each
  });

  test("with other lists takes the nearest: trainval to train on, test to validate, val for the report", async () => {
    const path = join(room, "lists");
    await writeVoc(join(path, "VOCdevkit", "VOC2007"), good("a", "b", "c"), { trainval: ["a", "b"], test: ["c"] });
    for (const [split, name, size] of [["train", "trainval", 2], ["val", "test", 1], ["test", "test", 1]] as const) {
      const set = await openSplit(inFolder(path), split);
      expect([set.name, set.size]).toEqual([`voc ${path} ${name}`, size]);
    }
    await writeFile(join(path, "VOCdevkit", "VOC2007", "ImageSets", "Main", "val.txt"), "b\n");
    expect((await openSplit(inFolder(path), "val")).name).toBe(`voc ${path} val`);
  });
});
