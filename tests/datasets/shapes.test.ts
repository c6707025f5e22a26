import { describe, expect, test } from "vitest";
import { drawShapes, shapes } from "../../datasets/shapes.ts";

const PICTURES = 60, SIDE = 96;
const drawn = Array.from({ length: PICTURES }, (_, index) => drawShapes(0, "train", index, SIDE));

describe("shapes", () => {
  test("draws the same bytes and boxes for the same seed, split and index, in any order and for any size of set", async () => {
    const a = shapes({ size: 10, imgsz: 64, seed: 4 }), b = shapes({ size: 3000, imgsz: 64, seed: 4 });
    await b.sample(2999);
    for (const i of [7, 0, 7]) expect(await a.sample(i)).toEqual(await b.sample(i));
  });

  test("draws other pictures for another seed, split or index", async () => {
    const pixels = async (seed: number, split: "train" | "val" | "test", index: number) => Buffer.from((await shapes({ imgsz: 48, seed, split }).sample(index))!.picture.pixels).toString("base64");
    const all = await Promise.all([pixels(0, "train", 0), pixels(1, "train", 0), pixels(0, "val", 0), pixels(0, "test", 0), pixels(0, "train", 1)]);
    expect(new Set(all).size).toBe(5);
  });

  test("has 2 to 6 objects in a picture, their boxes inside it, and all classes about equally often", () => {
    const counts = [0, 0, 0];
    for (const { things } of drawn) {
      expect(things.length).toBeGreaterThanOrEqual(2);
      expect(things.length).toBeLessThanOrEqual(6);
      for (const { box: { class: c, x1, y1, x2, y2 } } of things) {
        counts[c]++;
        expect(x1).toBeGreaterThanOrEqual(0);
        expect(y1).toBeGreaterThanOrEqual(0);
        expect(x2).toBeLessThanOrEqual(SIDE);
        expect(y2).toBeLessThanOrEqual(SIDE);
        expect(Math.min(x2 - x1, y2 - y1)).toBeGreaterThan(2);
      }
    }
    expect(shapes().classes).toEqual(["ball", "cube", "ring"]);
    const total = counts.reduce((a, b) => a + b);
    for (const count of counts) expect(count).toBeGreaterThan(total / 4);
  });

  test("boxes are the rectangles of the silhouettes within the picture, to the pixel", () => {
    for (const { things } of drawn) {
      for (const { box, x0, y0, columns, rows, depth } of things) {
        let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
        depth.forEach((z, at) => {
          const x = x0 + at % columns, y = y0 + Math.floor(at / columns);
          if (z > -Infinity && x >= 0 && x <= SIDE && y >= 0 && y <= SIDE) [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x), Math.max(bottom, y)];
        });
        expect(rows * columns).toBe(depth.length);
        // the outermost sample point lies inside the box, and at pointed ends (cubes) less than two pixels inside
        for (const [inside, edge] of [[left, box.x1], [top, box.y1], [-right, -box.x2], [-bottom, -box.y2]]) {
          expect(inside - edge, `${JSON.stringify(box)}`).toBeGreaterThanOrEqual(-1e-9);
          expect(inside - edge, `${JSON.stringify(box)}`).toBeLessThan(2.5);
        }
      }
    }
  });

  test("sizes run from 0.2 to 0.66 of the side, half of them below the geometric mean of both", () => {
    const sizes = drawn.flatMap(({ things }) => things.map(({ columns, rows }) => Math.max(columns, rows) / SIDE));
    const pixel = 1 / SIDE; // columns and rows are whole
    expect(Math.min(...sizes)).toBeGreaterThan(0.2 - pixel);
    expect(Math.min(...sizes)).toBeLessThan(0.22);
    expect(Math.max(...sizes)).toBeLessThan(0.66 + pixel);
    expect(Math.max(...sizes)).toBeGreaterThan(0.6);
    const small = sizes.filter((size) => size < Math.sqrt(0.2 * 0.66)).length / sizes.length; // a few more, as large ones find no room
    expect(small).toBeGreaterThan(0.45);
    expect(small).toBeLessThan(0.7);
  });

  test("shows at least 40 % of every object that has a box, and hides parts of many", () => {
    const shares = drawn.flatMap(({ things }) => things.map(({ visible }) => visible));
    expect(Math.min(...shares)).toBeGreaterThanOrEqual(0.4);
    expect(Math.max(...shares)).toBe(1);
    expect(shares.filter((share) => share < 0.9).length).toBeGreaterThan(shares.length / 6);
  });

  test("pictures use the range of light, and differ from each other in it", () => {
    const means = drawn.map(({ picture }) => picture.pixels.reduce((a, b) => a + b, 0) / picture.pixels.length);
    expect(Math.min(...means)).toBeGreaterThan(25);
    expect(Math.max(...means)).toBeLessThan(225);
    expect(Math.max(...means) - Math.min(...means)).toBeGreaterThan(60);
    for (const { picture } of drawn) {
      const sorted = [...picture.pixels].sort((a, b) => a - b), spread = sorted[Math.floor(0.95 * sorted.length)] - sorted[Math.floor(0.05 * sorted.length)];
      expect(spread).toBeGreaterThan(25);
    }
  });

  // figures are reported on these pictures: whoever changes them on purpose writes the new numbers here, and measures again
  test("are those that figures were reported on", () => {
    const golden = [
      { split: "train", index: 0, means: [107.15, 119.08, 145.2], first: [0, 32.42, 0, 47.87, 15.4], last: [1, 0, 3.86, 14.4, 17.55], count: 6 },
      { split: "val", index: 7, means: [84.48, 124.51, 126.64], first: [1, 17.03, 15.18, 32.97, 30.49], last: [1, 0, 8.82, 15.65, 26.61], count: 6 },
    ] as const;
    for (const { split, index, means, first, last, count } of golden) {
      const { picture, things } = drawShapes(0, split, index, 64), sums = [0, 0, 0];
      picture.pixels.forEach((value, i) => { sums[i % 3] += value; });
      means.forEach((mean, c) => expect(sums[c] / 4096).toBeCloseTo(mean, 1));
      expect(things.length).toBe(count);
      for (const [thing, want] of [[things[0], first], [things[count - 1], last]] as const) {
        const { class: c, x1, y1, x2, y2 } = thing.box;
        [c, x1, y1, x2, y2].forEach((value, k) => expect(value).toBeCloseTo(want[k], 1));
      }
    }
  });

  test("loops over batches at its own size", async () => {
    const shapesOf: (readonly number[])[] = [];
    for await (const { images } of shapes({ size: 5, imgsz: 48 }).batches(2)) shapesOf.push(images.shape);
    expect(shapesOf).toEqual([[2, 48, 48, 3], [2, 48, 48, 3], [1, 48, 48, 3]]);
  });

  test("refuses splits, sizes and indices that are none", async () => {
    expect(() => shapes({ split: "valid" as "val" })).toThrow('shapes: split must be one of train, val, test, got "valid"');
    expect(() => shapes({ size: 0 })).toThrow("shapes: size must be a whole number of at least 1, got 0");
    expect(() => shapes({ imgsz: 16 })).toThrow("shapes: imgsz must be a whole number from 32 to 4096, got 16");
    await expect(shapes({ size: 5 }).sample(5)).rejects.toThrow('shapes: sample 5 of split "train" was asked for, which has 5');
  });
});
