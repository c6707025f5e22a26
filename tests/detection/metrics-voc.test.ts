/** VOC's average precision, Gen1's protocol and the confusion matrix, on examples that one can follow by hand. */
import { describe, expect, test } from "vitest";
import { ConfusionMatrix, gen1Metrics, gen1Rules, vocMetrics, vocRules, type Gen1Detections, type Truth, type VocMarks, type VocRule } from "../../detection/metrics.ts";
import type { Detection } from "../../detection/nms.ts";

describe("vocMetrics", () => {
  type Box = [image: number, x1: number, y1: number, x2: number, y2: number];
  const marks = (truths: Box[], detections: [...Box, score: number][], difficult?: number[]): VocMarks => ({
    classes: [0, 1],
    truths: { image: truths.map((t) => t[0]), class: truths.map(() => 0), box: truths.flatMap((t) => t.slice(1)), difficult },
    detections: { image: detections.map((d) => d[0]), class: detections.map(() => 0), box: detections.flatMap((d) => d.slice(1, 5)), score: detections.map((d) => d[5]) },
  });
  const ap = (rule: VocRule, ...given: Parameters<typeof marks>): number | null => vocMetrics(marks(...given), rule).perClass[0].ap;
  const box: Box = [1, 1, 1, 10, 10], half: Box = [1, 1, 1, 10, 5]; // 100 and 50 pixels, the last ones included

  test("an overlap of exactly one half matches in the devkit and not in py-faster-rcnn", () => {
    expect(ap(vocRules.voc12, [box], [[...half, 0.9]])).toBe(1);
    expect(ap(vocRules.fasterRcnn12, [box], [[...half, 0.9]])).toBe(0);
    expect(ap(vocRules.voc07, [box], [[...half, 0.9]])).toBeCloseTo(1, 12);
    expect(ap(vocRules.fasterRcnn07, [box], [[...half, 0.9]])).toBe(0);
  });
  test("a second detection of one object is wrong", () => {
    const { perClass: [{ precision, recall, truths, detections }] } = vocMetrics(marks([box, [2, 1, 1, 10, 10]], [[...box, 0.9], [...box, 0.8]]), vocRules.voc12);
    expect([[...precision], [...recall], truths, detections]).toEqual([[1, 0.5], [0.5, 0.5], 2, 2]);
  });
  test("a difficult object need not be found, and finding it costs nothing", () => {
    expect(ap(vocRules.voc12, [box, [2, 1, 1, 10, 10]], [[2, 1, 1, 10, 10, 0.9], [2, 1, 1, 10, 10, 0.8], [...box, 0.7]], [0, 1])).toBe(1);
    expect(ap(vocRules.voc12, [box, [2, 1, 1, 10, 10]], [[2, 1, 1, 10, 10, 0.9], [...box, 0.7]], [0, 0])).toBe(1);
  });
  test("a detection whose best truth is taken gets no second choice", () => {
    const shifted: Box = [1, 1, 1, 10, 12];
    expect(ap(vocRules.voc12, [box, shifted], [[...box, 0.9], [1, 1, 1, 10, 10, 0.8]])).toBe(0.5);
  });
  test("of objects that overlap equally the first is meant, even a difficult one", () => {
    expect(ap(vocRules.voc12, [box, box], [[...box, 0.9]], [1, 0])).toBe(0);
    expect(ap(vocRules.voc12, [box, box], [[...box, 0.9]], [0, 1])).toBe(1);
  });
  test("area and 11 points differ as they should on hit, miss, hit", () => {
    const given = [[box, [2, 1, 1, 10, 10]], [[...box, 0.9], [3, 1, 1, 10, 10, 0.8], [2, 1, 1, 10, 10, 0.7]]] as Parameters<typeof marks>;
    expect(ap(vocRules.voc12, ...given)).toBeCloseTo(0.5 + 0.5 * 2 / 3, 12);
    expect(ap(vocRules.voc07, ...given)).toBeCloseTo((6 + 5 * 2 / 3) / 11, 12);
  });
  test("a class without objects has no average and is left out of the mean; without detections it has 0", () => {
    const { map, perClass } = vocMetrics(marks([box], [[...box, 0.9]]), vocRules.voc12);
    expect([map, perClass[1].ap]).toEqual([1, null]);
    expect(vocMetrics(marks([], [[...box, 0.9]]), vocRules.voc07).map).toBe(null);
    expect(ap(vocRules.voc07, [box], [])).toBe(0);
    expect(ap(vocRules.voc12, [box], [[...box, 0.9]], [1])).toBe(null);
  });
  test("each rule has a name of its own", () => {
    const name = (rule: VocRule): string => vocMetrics(marks([], []), rule).protocol;
    expect(name(vocRules.voc07)).toBe("PASCAL VOC, 11 points (2007), IoU >= 0.5 (as the devkit)");
    expect(name({ ...vocRules.fasterRcnn07, tenths: "exact" })).toBe("PASCAL VOC, 11 points (2007) at exact tenths, IoU > 0.5 (as py-faster-rcnn)");
    expect(new Set(Object.values(vocRules).map(name)).size).toBe(4);
  });
  test("refuses numbers that are none", () => {
    expect(() => ap(vocRules.voc12, [box], [[...box, NaN]])).toThrow("voc: detection 0 (image 1) has score NaN, expected a finite number");
    expect(() => ap(vocRules.voc12, [[1, 1, 1, NaN, 10]], [])).toThrow("voc: truth 0 (image 1) has box NaN");
  });
});

describe("gen1Metrics", () => {
  type Box = [t: number, side: number, score?: number];
  const boxes = (...rows: Box[]): Gen1Detections => ({
    t: rows.map((r) => r[0]), x: rows.map(() => 20), y: rows.map(() => 20), w: rows.map((r) => r[1]), h: rows.map((r) => r[1]), class: rows.map(() => 0), score: rows.map((r) => r[2] ?? 0.5),
  });
  const measure = (truths: Gen1Detections, detections: Gen1Detections, rule = gen1Rules.gen1 as (typeof gen1Rules)[keyof typeof gen1Rules]) => gen1Metrics([{ truths, detections }], rule);

  test("the first half second and small boxes do not count, for truths and detections alike", () => {
    const got = measure(boxes([500_000, 40], [500_001, 40], [600_000, 21]), boxes([500_000, 40], [600_000, 40], [600_000, 21]));
    expect([got.keptTruths, got.keptDetections, got.images]).toEqual([[1], [1], 1]); // a square of 21 has a diagonal of 29.7
    expect(measure(boxes([500_000, 40], [600_000, 22]), boxes(), gen1Rules.toolbox).keptTruths).toEqual([2]);
    expect(measure(boxes([500_000, 40], [600_000, 1]), boxes(), gen1Rules.unfiltered).keptTruths).toEqual([2]);
  });
  test("a detection within 50 ms, both ends included, belongs to the frame, and may serve two", () => {
    const truths = boxes([600_000, 40], [700_000, 40]);
    expect(measure(truths, boxes([650_000, 40])).ar100).toBe(1);
    expect(measure(truths, boxes([649_999, 40])).ar100).toBe(0.5);
    expect(measure(truths, boxes([549_999, 40], [750_001, 40])).ar100).toBe(0);
  });
  test("false alarms where nothing true is are free", () => {
    expect(measure(boxes([600_000, 40]), boxes([600_000, 40, 0.5], [900_000, 40, 0.9])).ap).toBeCloseTo(1, 12);
  });
  test("names its rule, and no recordings give -1", () => {
    expect(gen1Metrics([]).protocol).toBe("Gen1 (skip 0.5 s, diagonal 30, side 10), then COCO boxes (as pycocotools)");
    expect([gen1Metrics([]).ap, gen1Metrics([]).images]).toEqual([-1, 0]);
    expect(measure(boxes(), boxes(), gen1Rules.toolbox).protocol).toMatch(/toolbox's script \(skip 0.1 s, diagonal 30, side 20\)/);
  });
  test("refuses times out of order and numbers that are none", () => {
    expect(() => measure(boxes([700_000, 40], [600_000, 40]), boxes())).toThrow("gen1: truth 1 of recording 0 is at 600000 us, the one before it at 700000 us; sort the boxes by time");
    expect(() => measure(boxes(), boxes([600_000, 40, NaN]))).toThrow("gen1: detection 0 of recording 0 has score NaN, expected a finite number");
    expect(() => measure(boxes(), { ...boxes([600_000, 40]), w: [] })).toThrow('gen1: detections of recording 0: expected 1 numbers in column "w"');
  });
});

describe("ConfusionMatrix", () => {
  const detection = (category: number, x: number, score: number, width = 10): Detection => ({ x1: x, y1: 0, x2: x + width, y2: 10, score, class: category });
  const truth = (category: number, x: number): Truth => ({ x1: x, y1: 0, x2: x + 10, y2: 10, class: category });
  const matrix = (...pictures: [Detection[], Truth[]][]): ConfusionMatrix => {
    const made = new ConfusionMatrix(2);
    for (const [detections, truths] of pictures) made.add(detections, truths);
    return made;
  };

  test("counts what is right, taken for another, invented and missed: detections down, truths across", () => {
    const { counts } = matrix([[detection(0, 0, 0.9), detection(1, 50, 0.8), detection(1, 90, 0.7)], [truth(0, 0), truth(0, 50), truth(1, 200)]]);
    expect([...counts]).toEqual([1, 0, 0, 1, 0, 1, 0, 1, 0]);
  });
  test("of detections of one object the one that overlaps more is paired, however sure", () => {
    const { counts } = matrix([[detection(1, 0, 0.9, 8), detection(0, 0, 0.3)], [truth(0, 0)]]);
    expect([...counts]).toEqual([1, 0, 0, 0, 0, 1, 0, 0, 0]);
  });
  test("a detection refused by its favourite truth does not try another", () => {
    const { counts } = matrix([[detection(0, 0, 0.9), detection(0, 1, 0.8)], [truth(0, 0), truth(0, 4)]]);
    expect([...counts]).toEqual([1, 0, 1, 0, 0, 0, 1, 0, 0]);
  });
  test("confidence and IoU must be above their thresholds", () => {
    expect(matrix([[detection(0, 0, 0.25)], []]).counts.some(Boolean)).toBe(false);
    expect(matrix([[detection(0, 0, 0.26, 4)], [truth(0, 0)]]).at(2, 0)).toBe(1); // 0.4
    expect(matrix([[detection(0, 0, 0.26, 5)], [truth(0, 0)]]).at(0, 0)).toBe(1); // 0.5
  });
  test("false alarms count in pictures without objects, and in those where nothing is paired", () => {
    expect(matrix([[detection(0, 0, 0.9)], []], [[detection(1, 300, 0.9)], [truth(0, 0)]]).counts).toEqual(Float64Array.of(0, 0, 1, 0, 0, 1, 1, 0, 0));
  });
  test("every truth and every sure detection is counted once", () => {
    const one = matrix([[detection(0, 0, 0.9), detection(1, 2, 0.9), detection(0, 50, 0.9)], [truth(0, 0), truth(1, 3), truth(1, 52)]]), side = [0, 1, 2];
    expect(side.flatMap((p) => [0, 1].map((t) => one.at(p, t))).reduce((a, b) => a + b)).toBe(3);
    expect(side.flatMap((t) => [0, 1].map((p) => one.at(p, t))).reduce((a, b) => a + b)).toBe(3);
  });
  test("shares are of each true class, and 0 where there is none", () => {
    expect([...matrix([[detection(0, 0, 0.9), detection(1, 50, 0.9)], [truth(0, 0), truth(0, 50)]]).shares()]).toEqual([0.5, 0, 0, 0.5, 0, 0, 0, 0, 0]);
  });
  test("refuses classes that it does not have", () => {
    expect(() => matrix([[detection(2, 0, 0.9)], []])).toThrow("confusion: detection 0 is of class 2, expected 0 to 1");
    expect(() => new ConfusionMatrix(0)).toThrow("confusion: expected at least one class, got 0");
  });
});
