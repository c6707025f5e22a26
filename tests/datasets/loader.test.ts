import { describe, expect, test } from "vitest";
import { augmentations, augmented, tint, type Augment } from "../../datasets/augment.ts";
import { batches, type BatchOptions } from "../../datasets/loader.ts";
import { fit } from "../../datasets/letterbox.ts";
import type { Batch, DetectionSet, Sample } from "../../datasets/sample.ts";
import { shapes } from "../../datasets/shapes.ts";
import { Random } from "../../engine/random.ts";

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

describe("augmented", () => {
  /** A white rectangle on black, with its box. */
  const W = 60, H = 40, box = { class: 0, x1: 15, y1: 10, x2: 40, y2: 22 };
  const sample: Sample = { name: "rectangle", picture: { width: W, height: H, pixels: new Uint8Array(W * H * 3) }, boxes: [box] };
  for (let y = box.y1; y < box.y2; y++) sample.picture.pixels.fill(255, 3 * (y * W + box.x1), 3 * (y * W + box.x2));

  test("moves boxes with their pixels, whatever flip, scale and translation do", () => {
    const place = fit(W, H, [80, 96]);
    let mirrored = 0;
    for (let seed = 0; seed < 60; seed++) {
      const { picture, boxes } = augmented(sample, place, { ...augmentations.spikeyolo, hue: 0, saturation: 0, value: 0 }, new Random(seed));
      let [x1, y1, x2, y2] = [Infinity, Infinity, -Infinity, -Infinity];
      for (let y = 0; y < 80; y++) for (let x = 0; x < 96; x++) if (picture.pixels[3 * (y * 96 + x)] > 127) [x1, y1, x2, y2] = [Math.min(x1, x), Math.min(y1, y), Math.max(x2, x + 1), Math.max(y2, y + 1)];
      expect(boxes.length).toBe(1);
      for (const [got, want] of [[boxes[0].x1, x1], [boxes[0].y1, y1], [boxes[0].x2, x2], [boxes[0].y2, y2]]) expect(Math.abs(got - want), `seed ${seed}`).toBeLessThanOrEqual(1);
      if (picture.pixels.some((value, i) => value === 0 && i % 3 === 0)) mirrored++;
    }
    expect(mirrored).toBe(60);
  });

  test("flips about half of the pictures, and a flip alone is exact", () => {
    const place = fit(W, H, [40, 60]);
    let flips = 0;
    for (let seed = 0; seed < 200; seed++) {
      const { picture, boxes } = augmented(sample, place, augmentations.flip, new Random(seed));
      const flipped = boxes[0].x1 !== box.x1;
      if (flipped) { flips++; expect(boxes[0]).toEqual({ ...box, x1: 20, x2: 45 }); }
      expect(picture.pixels[3 * (12 * W + 17)], "left of the mirrored rectangle, in the plain one").toBe(flipped ? 0 : 255);
      expect(picture.pixels[3 * (12 * W + 42)]).toBe(flipped ? 255 : 0);
    }
    expect(flips).toBeGreaterThan(75);
    expect(flips).toBeLessThan(125);
  });

  test("keeps zoom and shift within the gains, and 114 around", () => {
    const place = fit(W, H, [60, 60]), jitter: Augment = { ...augmentations.none, scale: 0.5, translate: 0.1 };
    const zooms: number[] = [];
    for (let seed = 0; seed < 200; seed++) {
      const { scale, left, top, picture } = augmented(sample, place, jitter, new Random(seed));
      zooms.push(scale);
      expect(Math.abs(left + scale * W / 2 - 30), "the centre moves by up to a tenth").toBeLessThanOrEqual(6);
      expect(Math.abs(top + scale * H / 2 - 30)).toBeLessThanOrEqual(6);
      const corner = left > 1 && top > 1 ? picture.pixels[0] : 114;
      expect(corner).toBe(114);
    }
    expect(Math.min(...zooms)).toBeGreaterThanOrEqual(0.5);
    expect(Math.min(...zooms)).toBeLessThan(0.55);
    expect(Math.max(...zooms)).toBeLessThan(1.5);
    expect(Math.max(...zooms)).toBeGreaterThan(1.45);
  });

  test("drops boxes of which a tenth or less, two pixels or fewer, or a sliver remain", () => {
    // a translation of nothing, which still counts as one
    const still: Augment = { ...augmentations.none, translate: 1e-9 };
    const kept = (x1: number, y1: number, x2: number, y2: number) =>
      augmented({ ...sample, boxes: [{ class: 0, x1, y1, x2, y2 }] }, fit(W, H, [40, 60]), still, new Random(0)).boxes.length === 1;
    expect(kept(-90, 0, 11, 40)).toBe(true);                                              // 11 of 101 columns
    expect(kept(-90, 0, 9, 40)).toBe(false);                                              // 9 of 99
    expect(kept(10, 10, 12, 30)).toBe(false);
    expect(kept(10, 10, 12.1, 30)).toBe(true);
    expect(kept(70, 0, 90, 40)).toBe(false);
  });

  test("without variations is the letterbox, box for box", () => {
    const place = fit(W, H, [33, 47]), { boxes, scale, left, top } = augmented(sample, place, augmentations.none, new Random(0));
    expect({ scale, left, top }).toEqual({ scale: place.scale, left: place.left, top: place.top });
    expect(boxes).toEqual([{ class: 0, x1: 15 * scale + left, y1: 10 * scale + top, x2: 40 * scale + left, y2: 22 * scale + top }]);
  });
});

describe("tint", () => {
  const tinted = (pixel: number[], hue: number, saturation: number, value: number) => {
    const picture = { width: 1, height: 1, pixels: Uint8Array.from(pixel) };
    tint(picture, hue, saturation, value);
    return [...picture.pixels];
  };
  test("turns hue, saturation and value by their gains", () => {
    expect(tinted([0, 200, 0], 1.5, 1, 1), "green, 2/6 of the circle, to cyan, 3/6").toEqual([0, 200, 200]);
    expect(tinted([200, 100, 100], 1, 0, 1)).toEqual([200, 200, 200]);
    expect(tinted([200, 150, 100], 1, 2, 1)).toEqual([200, 100, 0]);
    expect(tinted([200, 100, 50], 1, 1, 0.5)).toEqual([100, 50, 25]);
    expect(tinted([200, 120, 40], 1, 1, 2), "value stops at 255, the ratios stay").toEqual([255, 153, 51]);
    expect(tinted([70, 70, 70], 1.01, 1.7, 1.2)).toEqual([84, 84, 84]);
  });
  test("changes nothing, to a level, at gains a hair from 1, for every hue", () => {
    const random = new Random(1);
    for (let i = 0; i < 500; i++) {
      const pixel = [0, 1, 2].map(() => random.integer(0, 256));
      tinted(pixel, 1 + 1e-9, 1, 1).forEach((value, c) => expect(Math.abs(value - pixel[c]), `${pixel}`).toBeLessThanOrEqual(1));
    }
  });
});
