import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { iou } from "../../detection/boxes.ts";
import { DetectionMetrics, fitness, iouThresholds, matchDetections, type Truth } from "../../detection/metrics.ts";
import type { Detection } from "../../detection/nms.ts";
import { Random } from "../../engine/random.ts";

const fixture = JSON.parse(readFileSync(new URL("../fixtures/average-precision.json", import.meta.url), "utf8"));

const detection = ([x1, y1, x2, y2, score, category]: number[]): Detection => ({ x1, y1, x2, y2, score, class: category });
const truth = ([category, x1, y1, x2, y2]: number[]): Truth => ({ class: category, x1, y1, x2, y2 });
const images = (Object.values(fixture.images) as { detections: number[][]; truths: number[][] }[])
  .map(({ detections, truths }) => ({ detections: detections.map((row) => detection(row.map(Math.fround))), truths: truths.map((row) => truth(row.map(Math.fround))) }));

/** Every number of a result. */
const numbers = (value: unknown): number[] => (typeof value === "number" ? [value] : typeof value === "string" ? [] : Object.values(value as object).flatMap(numbers));

describe("matchDetections", () => {
  const square = [0, 0, 0, 10, 10], better = [0, 0, 10, 10], worse = [0, 0, 10, 8]; // IoU 1 and 0.8

  test("the thresholds are those of the reference", () => {
    expect(iouThresholds).toEqual(fixture.thresholds);
  });
  test("agrees with the reference", () => {
    const got = images.flatMap(({ detections, truths }) => [...matchDetections(detections, truths, fixture.thresholds)]);
    expect(got.join("")).toBe(fixture.correct.join(""));
  });
  test("a truth takes the most confident detection, not the one that overlaps most", () => {
    const got = matchDetections([detection([...worse, 0.9, 0]), detection([...better, 0.8, 0])], [truth(square)], [0.5, 0.9]);
    expect([...got]).toEqual([1, 0, 0, 1]); // at 0.9 the confident one does not qualify
  });
  test("a detection whose best truth is taken gets no second choice", () => {
    const truths = [truth([0, 0, 0, 10, 10]), truth([0, 0, 0, 10, 13])];
    const got = matchDetections([detection([0, 0, 10, 10, 0.9, 0]), detection([0, 0, 10, 9.5, 0.8, 0])], truths, [0.5]);
    expect(iou(Float64Array.of(0, 0, 10, 9.5), 0, Float64Array.of(0, 0, 10, 13), 0)).toBeGreaterThan(0.5);
    expect([...got]).toEqual([1, 0]);
  });
  test("a detection stands for the truth that it overlaps most, the later of equals", () => {
    const truths = [truth([0, 0, 0, 10, 10]), truth([0, 10, 0, 20, 10])];
    const middle = detection([5, 0, 15, 10, 0.9, 0]), left = detection([0, 0, 10, 10, 0.8, 0]), rightish = detection([6, 0, 16, 10, 0.9, 0]);
    expect([...matchDetections([middle, left], truths, [0.3])]).toEqual([1, 1]); // middle took the right one
    expect([...matchDetections([middle, left], truths.toReversed(), [0.3])]).toEqual([1, 0]);
    expect([...matchDetections([rightish, left], truths, [0.2])]).toEqual([1, 1]);
    expect([...matchDetections([rightish, left], truths.toReversed(), [0.2])]).toEqual([1, 1]);
  });
  test("an IoU equal to the threshold matches, the next number above does not", () => {
    const shared = iou(Float64Array.from(square.slice(1)), 0, Float64Array.from(worse), 0);
    expect([...matchDetections([detection([...worse, 0.9, 0])], [truth(square)], [shared, shared + 2 ** -53])]).toEqual([1, 0]);
  });
  test("classes must agree", () => {
    expect([...matchDetections([detection([...better, 0.9, 1])], [truth(square)], [0.5])]).toEqual([0]);
  });
  test("boxes that do not touch never match", () => {
    expect([...matchDetections([detection([50, 50, 60, 60, 0.9, 0])], [truth(square)], [0.5])]).toEqual([0]);
    expect([...matchDetections([detection([NaN, 0, 10, 10, 0.9, 0])], [truth(square)], [0.5])]).toEqual([0]);
  });
  test("a score that is not a number is refused", () => {
    expect(() => matchDetections([detection([...better, NaN, 2])], [], [0.5])).toThrow("metrics: detection 0 of class 2 has score NaN, expected a number; predictions that are not numbers come from weights that are not");
  });
  test("detections out of order are refused", () => {
    expect(() => matchDetections([detection([...better, 0.3, 0]), detection([...better, 0.9, 0])], [], [0.5])).toThrow("metrics: expected detections by descending score, got 0.9 after 0.3");
  });
});

describe("DetectionMetrics", () => {
  test("agrees with the reference: every AP, and precision, recall and F1 where F1 is best", () => {
    const metrics = new DetectionMetrics();
    for (const { detections, truths } of images) metrics.add(detections, truths);
    const result = metrics.result();
    expect(result.perClass.map((row) => row.class)).toEqual(fixture.classes);
    for (const [c, row] of result.perClass.entries()) {
      for (const [t, ap] of row.ap.entries()) expect(ap).toBeCloseTo(fixture.ap[c][t], 9);
      expect(row.precision).toBeCloseTo(fixture.p[c], 9);
      expect(row.recall).toBeCloseTo(fixture.r[c], 9);
      expect(row.f1).toBeCloseTo(fixture.f1[c], 9);
      expect(row.ap50).toBe(row.ap[0]);
    }
    expect(result.map50).toBeCloseTo(fixture.map50, 9);
    expect(result.map).toBeCloseTo(fixture.map, 9);
    expect(result.fitness).toBeCloseTo(0.1 * fixture.map50 + 0.9 * fixture.map, 9);
    expect([result.images, result.detections, result.truths]).toEqual([6, 57, 15]);
  });

  test("hit, miss, hit on two truths has the average precision one works out by hand", () => {
    const metrics = new DetectionMetrics([0.5]);
    metrics.add([[0, 0, 10, 10, 0.9, 0], [50, 50, 60, 60, 0.8, 0], [20, 0, 30, 10, 0.7, 0]].map(detection), [[0, 0, 0, 10, 10], [0, 20, 0, 30, 10]].map(truth));
    // Envelope: 1 below recall 1/2, 2/3 from there on, 0 at recall 1; trapezoids of width 0.01.
    const byHand = 0.49 + 0.01 * (1 + 2 / 3) / 2 + 0.49 * 2 / 3 + 0.01 * (2 / 3) / 2;
    expect(metrics.result().map50).toBeCloseTo(byHand, 12);
  });

  test("perfect detections score 0.995, because the curve is closed at recall 1 with precision 0", () => {
    const metrics = new DetectionMetrics();
    metrics.add([detection([0, 0, 10, 10, 0.9, 0])], [truth([0, 0, 0, 10, 10])]);
    const { map, map50, precision, recall, confidence } = metrics.result();
    expect(map50).toBeCloseTo(0.995, 12);
    expect(map).toBeCloseTo(0.995, 12);
    expect([precision, recall, confidence]).toEqual([1, 1, 0]);
  });

  test("the operating point lies where F1 is best", () => {
    const metrics = new DetectionMetrics([0.5]);
    const hits = Array.from({ length: 20 }, (_, k) => [20 * k, 0, 20 * k + 10, 10]);
    metrics.add([...hits.map((box, k) => detection([...box, 0.9 - 0.005 * k, 0])), ...hits.map((_, k) => detection([20 * k, 500, 20 * k + 10, 510, 0.4 - 0.005 * k, 0]))],
      hits.map((box) => truth([0, ...box])));
    const { confidence, precision, recall, f1 } = metrics.result();
    expect(confidence).toBeGreaterThan(0.4);
    expect(confidence).toBeLessThan(0.805);
    expect(recall).toBe(1);
    expect(precision).toBeGreaterThan(0.99); // on the way from 1 at the last hit, 0.805, to 20/21 at the first miss, 0.4
    expect(precision).toBeLessThan(1);
    expect(f1).toBeCloseTo(2 * precision / (precision + 1), 12);
  });

  test("above its most confident detection a class has precision 1 and recall 0", () => {
    const metrics = new DetectionMetrics([0.5]);
    const boxes = Array.from({ length: 10 }, (_, k) => [20 * k, 0, 20 * k + 10, 10]), alarms = Array.from({ length: 200 }, (_, k) => detection([20 * k, 500, 20 * k + 10, 510, 0.4, 0]));
    metrics.add([...boxes.map((box) => detection([...box, 0.9, 0])), ...alarms, detection([...boxes[0], 0.1, 1])], [0, 1].flatMap((category) => boxes.map((box) => truth([category, ...box]))));
    const { confidence, perClass: [, timid] } = metrics.result();
    expect(confidence).toBeGreaterThan(0.4);
    expect([timid.precision, timid.recall, timid.f1]).toEqual([1, 0, 0]);
  });

  test("nothing at all gives zeros", () => {
    const result = new DetectionMetrics().result();
    expect(numbers(result)).toEqual(new Array(numbers(result).length).fill(0));
  });
  test("truths without detections give zeros, per class too", () => {
    const metrics = new DetectionMetrics();
    metrics.add([], [truth([3, 0, 0, 10, 10])]);
    const { map, map50, fitness, precision, recall, f1, perClass } = metrics.result();
    expect([map, map50, fitness, precision, recall, f1]).toEqual([0, 0, 0, 0, 0, 0]);
    expect(perClass).toEqual([{ class: 3, truths: 1, detections: 0, ap: new Array(10).fill(0), ap50: 0, map: 0, precision: 0, recall: 0, f1: 0 }]);
  });
  test("detections without truths give zeros", () => {
    const metrics = new DetectionMetrics();
    metrics.add([detection([0, 0, 10, 10, 0.9, 0])], []);
    const result = metrics.result();
    expect([result.map, result.map50, result.f1, result.detections, result.perClass.length]).toEqual([0, 0, 0, 1, 0]);
  });
  test("detections that all miss give zeros", () => {
    const metrics = new DetectionMetrics();
    metrics.add([detection([50, 50, 60, 60, 0.9, 0])], [truth([0, 0, 0, 10, 10])]);
    expect(numbers(metrics.result()).every(Number.isFinite)).toBe(true);
    expect(metrics.result().map50).toBe(0);
  });
  test("false alarms on a picture without truths cost precision", () => {
    const metrics = new DetectionMetrics([0.5]);
    metrics.add([], []);
    metrics.add([detection([0, 0, 10, 10, 0.9, 0])], []);
    metrics.add([detection([0, 0, 10, 10, 0.8, 0])], [truth([0, 0, 0, 10, 10])]);
    expect(metrics.result().map50).toBeCloseTo(0.995 / 2, 12);
  });
  test("a class counts in the means when it has truths, and only then", () => {
    const metrics = new DetectionMetrics();
    metrics.add([[0, 0, 10, 10, 0.9, 0], [50, 50, 60, 60, 0.8, 7]].map(detection), [[0, 0, 0, 10, 10], [4, 30, 30, 40, 40]].map(truth));
    const { perClass, map50 } = metrics.result();
    expect(perClass.map((row) => row.class)).toEqual([0, 4]);
    expect(map50).toBeCloseTo(0.995 / 2, 12);
  });
  test("the order of pictures does not matter", () => {
    const forward = new DetectionMetrics(), shuffled = new DetectionMetrics();
    for (const { detections, truths } of images) forward.add(detections, truths);
    for (const i of new Random(5).permutation(images.length)) shuffled.add(images[i].detections, images[i].truths);
    expect(shuffled.result()).toEqual(forward.result());
  });
  test("a result may be asked for before the end", () => {
    const metrics = new DetectionMetrics(), first = new DetectionMetrics();
    metrics.add(images[0].detections, images[0].truths);
    first.add(images[0].detections, images[0].truths);
    const early = metrics.result();
    for (const { detections, truths } of images.slice(1)) metrics.add(detections, truths);
    expect(early).toEqual(first.result());
    expect(metrics.result().map).toBeCloseTo(fixture.map, 9);
  });
  test("thresholds must be there, and fit in 32 bits", () => {
    expect(() => new DetectionMetrics([])).toThrow("metrics: expected 1 to 32 IoU thresholds, got 0");
    const metrics = new DetectionMetrics(Array.from({ length: 32 }, (_, i) => (i + 1) / 33));
    metrics.add([detection([0, 0, 10, 5, 0.9, 0])], [truth([0, 0, 0, 10, 10])]);
    expect(metrics.result().perClass[0].ap.map((ap) => ap > 0.99)).toEqual(Array.from({ length: 32 }, (_, i) => (i + 1) / 33 < 0.5));
  });
  test("the curves are those behind the result", () => {
    const metrics = new DetectionMetrics();
    for (const { detections, truths } of images) metrics.add(detections, truths);
    const { perClass, confidence, protocol } = metrics.result(), curves = metrics.curves(), best = curves.at.indexOf(confidence);
    expect(protocol).toBe("ultralytics (the trainer's own mAP)");
    expect([curves.at[0], curves.at[999], curves.at.length]).toEqual([0, 1, 1000]);
    expect(curves.perClass.map((curve) => curve.class)).toEqual(perClass.map((row) => row.class));
    for (const [c, { precision, recall, f1, precisionOverRecall }] of curves.perClass.entries()) {
      expect([precision[best], recall[best], f1[best]]).toEqual([perClass[c].precision, perClass[c].recall, perClass[c].f1]);
      expect(precisionOverRecall.every((p, k) => k === 0 || p <= precisionOverRecall[k - 1])).toBe(true);
      expect(precisionOverRecall.reduce((sum, p) => sum + p, 0) / 1000).toBeCloseTo(perClass[c].ap50, 1); // the area under it, by a coarser rule
    }
  });
  test("fitness is mostly mAP", () => {
    expect(fitness({ map50: 1, map: 0 })).toBe(0.1);
    expect(fitness({ map50: 0, map: 1 })).toBe(0.9);
  });
});
