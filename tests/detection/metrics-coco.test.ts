/** COCO's metrics: what they do by hand-made examples and by laws. Numbers of the reference are in the recorded cases (tests/oracle.test.ts). */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { cocoMetrics, cocoSet, type CocoScores, type CocoSet } from "../../detection/metrics.ts";

type Row = [image: number, category: number, x: number, y: number, w: number, h: number];

const set = (truths: Row[], detections: [...Row, score: number][], more: { crowd?: number[]; id?: number[]; images?: number[]; classes?: number[] } = {}): CocoSet => ({
  images: more.images ?? [1, 2, 3], classes: more.classes ?? [1, 2],
  truths: { image: truths.map((t) => t[0]), class: truths.map((t) => t[1]), box: truths.flatMap((t) => t.slice(2)), area: truths.map((t) => t[4] * t[5]), crowd: more.crowd, id: more.id },
  detections: { image: detections.map((d) => d[0]), class: detections.map((d) => d[1]), box: detections.flatMap((d) => d.slice(2, 6)), score: detections.map((d) => d[6]) },
});
const twelve = ({ ap, ap50, ap75, apSmall, apMedium, apLarge, ar1, ar10, ar100, arSmall, arMedium, arLarge }: CocoScores): number[] =>
  [ap, ap50, ap75, apSmall, apMedium, apLarge, ar1, ar10, ar100, arSmall, arMedium, arLarge];
const figures = (...given: Parameters<typeof set>): number[] => twelve(cocoMetrics(set(...given)));

const square: Row = [1, 1, 0, 0, 40, 40];

describe("cocoMetrics", () => {
  test("what is found perfectly scores 1, and -1 where nothing is to be found", () => {
    const got = cocoMetrics(set([square], [[...square, 0.9]]));
    expect(got.ap).toBeCloseTo(1, 12);
    expect([got.ar1, got.ar100, got.arMedium]).toEqual([1, 1, 1]);
    expect([got.apSmall, got.apLarge, got.arSmall, got.perClass[1].ap]).toEqual([-1, -1, -1, -1]);
    expect([got.images, got.truths, got.detections, got.protocol]).toEqual([3, 1, 1, "COCO boxes (as pycocotools)"]);
  });

  test("hit, miss, hit on two truths has the average that one works out by hand", () => {
    const got = cocoMetrics(set([square, [2, 1, 0, 0, 40, 40]], [[...square, 0.9], [1, 1, 200, 0, 40, 40, 0.8], [2, 1, 0, 0, 40, 40, 0.7]]));
    expect(got.ap50).toBeCloseTo((51 * 1 + 50 * 2 / 3) / 101, 12); // recalls 0 to 0.5, then 0.51 to 1
    expect(got.curves.precision).toHaveLength(10 * 101 * 2 * 4 * 3);
    expect(got.curves.recall).toHaveLength(10 * 2 * 4 * 3);
  });

  test("no truths at all give -1, truths without detections 0", () => {
    expect(figures([], [[...square, 0.9]])).toEqual(new Array(12).fill(-1));
    expect(figures([], [])).toEqual(new Array(12).fill(-1));
    expect(figures([square], [])).toEqual([0, 0, 0, -1, 0, -1, 0, 0, 0, -1, 0, -1]);
    expect(figures([], [], { images: [], classes: [] })).toEqual(new Array(12).fill(-1));
  });

  test("the hundred surest of an image and class count, and no more", () => {
    const alarms = Array.from({ length: 100 }, (_, i): [...Row, number] => [1, 1, 300, 5 * i, 40, 40, 0.9]);
    expect(cocoMetrics(set([square], [...alarms, [...square, 0.8]])).ar100).toBe(0);
    expect(cocoMetrics(set([square], [...alarms.slice(1), [...square, 0.8]])).ar100).toBe(1);
    expect(cocoMetrics(set([square], [...alarms, [...square, 0.8]])).detections).toBe(100);
  });

  test("32 x 32 is small and medium, because both ends of a size belong to it", () => {
    const box: Row = [1, 1, 0, 0, 32, 32];
    const [, , , small, medium, large] = figures([box], [[...box, 0.9]]);
    expect([Math.round(small), Math.round(medium), large]).toEqual([1, 1, -1]);
  });

  test("boxes without area match nothing and break nothing", () => {
    const empty: Row = [1, 1, 10, 10, 0, 0];
    expect(cocoMetrics(set([empty], [[...empty, 0.9]])).ap).toBe(0);
    expect(cocoMetrics(set([square, empty], [[...empty, 0.95], [...square, 0.9]])).ar100).toBe(0.5);
  });

  test("of unknown classes, and truths of unknown images, nothing is counted", () => {
    const known = figures([square], [[...square, 0.9]]);
    expect(figures([square, [1, 9, 0, 0, 5, 5], [77, 1, 0, 0, 5, 5]], [[...square, 0.9], [1, 9, 0, 0, 5, 5, 0.99]])).toEqual(known);
  });

  test("refuses what cannot be measured, naming the row", () => {
    expect(() => figures([square], [[...square, NaN]])).toThrow("coco: detection 0 (image 1) has score NaN, expected a finite number; leave it out or repair it");
    expect(() => figures([square], [[...square, 0.9], [1, 1, 0, 0, Infinity, 4, 0.5]])).toThrow("coco: detection 1 (image 1) has box Infinity");
    expect(() => figures([[1, 1, NaN, 0, 1, 1]], [])).toThrow("coco: truth 0 (image 1) has box NaN");
    expect(() => figures([square, square], [], { id: [4, 4] })).toThrow("coco: truth 1 (image 1) has id 4, which another truth has too; expected each id once");
    expect(() => figures([square], [[77, 1, 0, 0, 5, 5, 0.9]])).toThrow("coco: detection 0 is of image 77, which is not among the 3 images");
    expect(() => figures([square], [], { id: [1, 2] })).toThrow('coco: truths: expected 1 numbers in column "id" for 1 rows, got 2');
    expect(() => figures([square], [], { images: [1, NaN] })).toThrow("coco: the list of image ids holds NaN at place 1");
  });
});

describe("cocoMetrics, by laws", () => {
  const side = fc.integer({ min: 0, max: 60 }), row = fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 2 }), side, side, side, side) as fc.Arbitrary<Row>;
  const truths = fc.array(row, { maxLength: 12 });
  /** Different scores, so that no order of equals decides. */
  const detections = fc.array(row, { maxLength: 20 }).map((rows) => rows.map((r, i): [...Row, number] => [...r, (i + 1) / 32]));
  const runs = { numRuns: 150, seed: 7 };

  test("every figure is -1 or between 0 and 1, and stricter is never better", () => {
    fc.assert(fc.property(truths, detections, (t, d) => {
      const got = cocoMetrics(set(t, d));
      for (const value of twelve(got)) expect(value === -1 || (value >= 0 && value <= 1)).toBe(true);
      expect(got.ap).toBeLessThanOrEqual(got.ap50);
      expect(got.ap75).toBeLessThanOrEqual(got.ap50);
      expect(got.ar1).toBeLessThanOrEqual(got.ar10);
      expect(got.ar10).toBeLessThanOrEqual(got.ar100);
    }), runs);
  });
  test("the order of detections does not matter where scores differ", () => {
    fc.assert(fc.property(truths, detections, fc.nat(), (t, d, turn) => {
      const k = d.length ? turn % d.length : 0;
      expect(figures(t, [...d.slice(k), ...d.slice(0, k)].reverse())).toEqual(figures(t, d));
    }), runs);
  });
  test("one more false alarm, the least sure of all, changes no figure", () => {
    fc.assert(fc.property(truths, detections, (t, d) => {
      expect(figures(t, [...d, [1, 1, 500, 500, 10, 10, 0.001]])).toEqual(figures(t, d));
    }), runs);
  });
  test("truths found as they are score 1", () => {
    const apart = fc.uniqueArray(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 8 }).map((places) => places.map((p): Row => [1 + p % 3, 1 + p % 2, 100 * p, 0, 50, 50]));
    fc.assert(fc.property(apart, (t) => {
      const { ap, ar100 } = cocoMetrics(set(t, t.map((r) => [...r, 0.5])));
      expect(ap).toBeCloseTo(1, 12);
      expect(ar100).toBe(1);
    }), runs);
  });
  test("detections inside a crowd cost nothing, and would without it", () => {
    const wanted: Row = [2, 1, 0, 0, 50, 50], crowd: Row = [1, 1, -10, -10, 200, 200], last: [...Row, number] = [...wanted, 0.001];
    fc.assert(fc.property(detections, (d) => {
      const inside = d.filter(([image, category, , , w, h]) => image === 1 && category === 1 && w > 0 && h > 0);
      expect(cocoMetrics(set([wanted, crowd], [...inside, last], { crowd: [0, 1] })).ap).toBeCloseTo(1, 12);
      expect(cocoMetrics(set([wanted], [...inside, last])).ap).toBeCloseTo(1 / (1 + inside.length), 12);
    }), runs);
  });
});

describe("cocoSet", () => {
  const instances = { images: [{ id: 1 }], categories: [{ id: 1 }], annotations: [{ id: 1, image_id: 1, category_id: 1, bbox: [0, 0, 40, 40], area: 1600, iscrowd: 0 }] };
  const results = [{ image_id: 1, category_id: 1, bbox: [0, 0, 40, 40], score: 0.5 }];

  test("reads both files", () => expect(cocoMetrics(cocoSet(instances, results)).ar100).toBe(1));
  test("an ignore key has no effect, as in the reference", () => {
    expect(cocoMetrics(cocoSet({ ...instances, annotations: [{ ...instances.annotations[0], ignore: 1 }] }, results)).ar100).toBe(1);
  });
  test.each<[string, unknown, unknown, string]>([
    ["results for instances", results, results, 'coco: instances: expected a list "annotations", got nothing; is this the file of annotations?'],
    ["instances for results", instances, instances, "coco: results: expected a list of { image_id, category_id, bbox, score }, got an object"],
    ["three numbers for a box", instances, [{ ...results[0], bbox: [1, 2, 3] }], "coco: result 0: expected bbox as four numbers [x, y, width, height], got a list of 3"],
    ["a score in words", instances, [{ ...results[0], score: "high" }], 'coco: result 0: expected a number "score", got a string'],
    ["no area", { ...instances, annotations: [{ ...instances.annotations[0], area: undefined }] }, results, 'coco: annotation 0: expected a number "area", got nothing'],
    ["null", null, results, 'coco: instances: expected a list "annotations", got nothing'],
  ])("refuses %s", (_, first, second, sentence) => {
    expect(() => cocoSet(first, second)).toThrow(sentence);
  });
});
