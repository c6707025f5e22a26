import fc from "fast-check";
import { expect, test } from "vitest";
import { cocoAnchors, findAnchors, type AnchorBox } from "../../detection/index.ts";
import { meanIoU, sizeIoU } from "../../detection/anchors.ts";
import { Random } from "../../engine/index.ts";

/** Sizes around nine of them, each 3 % more or less. */
function around(centres: readonly AnchorBox[], each: number): AnchorBox[] {
  const random = new Random(4);
  return Array.from({ length: each }, () => centres.map(([w, h]): AnchorBox => [w * random.uniform(0.97, 1.03), h * random.uniform(0.97, 1.03)])).flat();
}
const nine: readonly AnchorBox[] = [[10, 12], [14, 40], [50, 12], [60, 60], [45, 120], [130, 50], [150, 160], [90, 300], [310, 120]];

test("anchors are where the sizes are, the largest for the coarsest head", () => {
  const { anchors, meanIoU: score } = findAnchors(around(nine, 40)), byArea = [...nine].sort((a, b) => b[0] * b[1] - a[0] * a[1]);
  expect(anchors.map((head) => head.length)).toEqual([3, 3, 3]);
  anchors.flat().forEach((anchor, i) => expect(sizeIoU(anchor, byArea[i]), `${anchor} for ${byArea[i]}`).toBeGreaterThan(0.95));
  expect(score).toBeGreaterThan(0.94);
});

test("they suit their boxes better than COCO's, and better than those of another set of boxes", () => {
  const random = new Random(7), sizes = Array.from({ length: 500 }, (): AnchorBox => { const side = random.uniform(20, 90); return [side, side * random.uniform(0.7, 1.4)]; });
  const own = findAnchors(sizes), others = findAnchors(around(nine, 40));
  expect(own.meanIoU).toBeGreaterThan(meanIoU(sizes, cocoAnchors.flat()) + 0.1);
  expect(own.meanIoU).toBeGreaterThan(meanIoU(sizes, others.anchors.flat()) + 0.05);
  expect(own.meanIoU).toBeGreaterThan(findAnchors(sizes, { perHead: 1 }).meanIoU);
});

test("the same sizes and seed give the same anchors, whole and by area", () => {
  fc.assert(fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 400 }), fc.integer({ min: 1, max: 400 })), { minLength: 60, maxLength: 80 }), (sizes) => {
    fc.pre(new Set(sizes.map(String)).size >= 9);
    const { anchors, meanIoU: score } = findAnchors(sizes, { tries: 2 }), again = findAnchors(sizes, { tries: 2 });
    expect(again.anchors).toEqual(anchors);
    expect(score).toBeGreaterThan(0.3);
    const areas = anchors.flat().map(([w, h]) => w * h);
    for (const [w, h] of anchors.flat()) expect(Number.isInteger(w) && Number.isInteger(h) && w >= 1 && h >= 1).toBe(true);
    expect(areas).toEqual([...areas].sort((a, b) => b - a));
  }), { numRuns: 30 });
});

test("too few sizes are refused, with what to do; boxes without a side do not count", () => {
  expect(() => findAnchors([[3, 4], [5, 6], [3, 4]])).toThrow("anchors: 9 anchors need at least as many different sizes of boxes, got 2; use those of COCO");
  expect(() => findAnchors(Array.from({ length: 20 }, (_, i): AnchorBox => [i < 8 ? i + 1 : 0, 5]))).toThrow("got 8;");
});
