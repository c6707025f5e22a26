import { describe, expect, test } from "vitest";
import { augmentations } from "../../datasets/augment.ts";
import { batches, type BatchOptions } from "../../datasets/loader.ts";
import type { Batch, DetectionSet, Sample } from "../../datasets/sample.ts";
import { shapes } from "../../datasets/shapes.ts";

/** Pictures of 8 x 6 in one grey each, 10 times their index, with one box. */
function greys(size: number, broken: readonly number[] = []): DetectionSet & { asked: number[]; open: number; most: number } {
  const set = {
    name: "greys", classes: ["patch"], size, problems: broken.map((i) => `grey ${i} is broken`), asked: [] as number[], open: 0, most: 0,
    async sample(index: number): Promise<Sample | undefined> {
      set.asked.push(index);
      set.most = Math.max(set.most, ++set.open);
      await new Promise((done) => setTimeout(done, (index * 7) % 5));
      set.open--;
      if (broken.includes(index)) return undefined;
      return { name: `grey ${index}`, picture: { width: 8, height: 6, pixels: new Uint8Array(144).fill(10 * index) }, boxes: [{ class: 0, x1: 2, y1: 0, x2: 6, y2: 3 }] };
    },
  };
  return set;
}

const collect = async (set: DetectionSet, options: BatchOptions): Promise<Batch[]> => { const all: Batch[] = []; for await (const batch of batches(set, options)) all.push(batch); return all; };
const indices = (all: readonly Batch[]): number[][] => all.map(({ origins }) => origins.map(({ index }) => index));

describe("batches", () => {
  test("hold pixels / 255 on their canvas, boxes over its sides, and where each came from", async () => {
    const [batch] = await collect(greys(3), { batch: 4, imgsz: 16 });
    expect(batch.images.shape).toEqual([3, 16, 16, 3]);
    expect(batch.images.data.length).toBe(3 * 16 * 16 * 3);
    const at = (b: number, y: number, x: number) => batch.images.data[((b * 16 + y) * 16 + x) * 3];
    expect([at(2, 0, 0), at(2, 1, 15), at(2, 2, 0), at(2, 13, 15), at(2, 14, 7)]).toEqual([114, 114, 20, 20, 114].map((value) => Math.fround(value / 255)));
    expect([...batch.boxes.image]).toEqual([0, 1, 2]);
    expect([...batch.boxes.class]).toEqual([0, 0, 0]);
    expect([...batch.boxes.xywh.subarray(4, 8)]).toEqual([0.5, 5 / 16, 0.5, 6 / 16]);         // x 4..12, y 2..8 of 16
    expect(batch.origins[1]).toEqual({ index: 1, name: "grey 1", width: 8, height: 6, scale: 2, left: 0, top: 2 });
  });

  test("take every picture once, in order unless shuffled, the last batch short unless dropped", async () => {
    expect(indices(await collect(greys(5), { batch: 2, imgsz: 8 }))).toEqual([[0, 1], [2, 3], [4]]);
    expect(indices(await collect(greys(5), { batch: 2, imgsz: 8, dropLast: true }))).toEqual([[0, 1], [2, 3]]);
    const shuffled = indices(await collect(greys(25), { batch: 4, imgsz: 8, shuffle: true, seed: 3 })).flat();
    expect(shuffled).not.toEqual([...shuffled].sort((a, b) => a - b));
    expect([...shuffled].sort((a, b) => a - b)).toEqual(Array.from({ length: 25 }, (_, i) => i));
  });

  test("come in an order that depends on seed and epoch alone", async () => {
    const order = async (seed: number, epoch: number, ahead: number) => indices(await collect(greys(20), { batch: 3, imgsz: 8, shuffle: true, seed, epoch, ahead })).flat().join();
    const first = await order(1, 0, 1);
    expect(await order(1, 0, 6)).toBe(first);
    expect(await order(1, 1, 1)).not.toBe(first);
    expect(await order(2, 0, 1)).not.toBe(first);
  });

  test("are the same bytes however far is read ahead", async () => {
    const set = shapes({ size: 7, imgsz: 48 });
    const run = async (ahead: number) => (await collect(set, { batch: 3, imgsz: 64, shuffle: true, seed: 5, epoch: 2, augment: augmentations.spikeyolo, ahead }))
      .map(({ images, ...rest }) => ({ ...rest, shape: images.shape, bytes: Buffer.from(images.data.slice().buffer).toString("base64") }));
    const plain = await run(0);
    for (const ahead of [1, 20]) expect(await run(ahead)).toEqual(plain);
  });

  test("vary a picture by seed, epoch and index, not by its neighbours or its turn", async () => {
    const set = shapes({ size: 6, imgsz: 48 });
    const pictures = async (how: Partial<BatchOptions>) => {
      const found = new Map<number, string>();
      for (const { images, origins } of await collect(set, { batch: 4, imgsz: 48, augment: augmentations.spikeyolo, seed: 1, epoch: 0, ...how })) {
        const size = images.data.length / origins.length;
        origins.forEach(({ index }, b) => found.set(index, Buffer.from(images.data.slice(b * size, (b + 1) * size).buffer).toString("base64")));
      }
      return Array.from({ length: 6 }, (_, i) => found.get(i));
    };
    const plain = await pictures({});
    expect(await pictures({ shuffle: true, batch: 5 })).toEqual(plain);
    for (const other of [await pictures({ epoch: 1 }), await pictures({ seed: 2 })]) other.forEach((picture, i) => expect(picture).not.toBe(plain[i]));
  });

  test("pass over broken pictures and fill their places from the next ones", async () => {
    expect(indices(await collect(greys(7, [0, 2, 3]), { batch: 2, imgsz: 8 }))).toEqual([[1, 4], [5, 6]]);
    await expect(collect(greys(2, [0, 1]), { batch: 2, imgsz: 8 })).rejects.toThrow("batches: none of the 2 pictures of greys can be read (first problem: grey 0 is broken)");
  });

  test("read one picture ahead, not more, while the consumer works", async () => {
    for (const [ahead, asked] of [[0, 2], [1, 3], [3, 5]]) {
      const set = greys(12);
      for await (const _ of batches(set, { batch: 2, imgsz: 8, ahead })) {
        expect(set.asked.length, `${ahead} ahead`).toBe(asked);
        break;                                                                            // leaving early leaves nothing behind
      }
      expect(set.most).toBeLessThanOrEqual(ahead + 1);
    }
  });

  test("pass on an error of the set when its turn comes, and not before", async () => {
    const set = greys(4), sample = set.sample;
    set.sample = async (index) => { if (index === 2) throw new Error("the disk is gone"); return sample(index); };
    const seen: number[] = [];
    await expect((async () => { for await (const { origins } of batches(set, { batch: 1, imgsz: 8, ahead: 3 })) seen.push(origins[0].index); })()).rejects.toThrow("the disk is gone");
    expect(seen).toEqual([0, 1]);
  });

  test("refuse sizes that are none", async () => {
    await expect(collect(greys(2), { batch: 0 })).rejects.toThrow("batches: batch must be a whole number of at least 1, got 0");
    await expect(collect(greys(2), { batch: 1, imgsz: [8, 7.5] })).rejects.toThrow("batches: imgsz must be a whole number of at least 1, got 7.5");
  });

  test("fit rectangular canvases", async () => {
    const [{ images, origins }] = await collect(greys(1), { batch: 1, imgsz: [8, 12], fit: { longest: 8 } });
    expect(images.shape).toEqual([1, 8, 12, 3]);
    expect(origins[0]).toMatchObject({ scale: 1, left: 2, top: 1 });
  });
});
