import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { bbox2dist, ciou, dist2bbox, iou, makeAnchors, overlap, pairwiseIou, xywhToXyxy, xyxyToXywh } from "../../detection/boxes.ts";

const fixture = JSON.parse(readFileSync(new URL("../fixtures/boxes.json", import.meta.url), "utf8"));
const flat = (rows: number[][]): Float32Array => Float32Array.from(rows.flat());

/** |got - want| <= atol + rtol max|want|, as the reference values promise. */
function expectClose(got: ArrayLike<number>, want: ArrayLike<number>, rtol = 1e-6, atol = 1e-6): void {
  expect(got.length).toBe(want.length);
  const scale = Math.max(...Array.from(want, Math.abs));
  for (let i = 0; i < want.length; i++) expect(Math.abs(got[i] - want[i]), `element ${i}: ${got[i]}, not ${want[i]}`).toBeLessThanOrEqual(atol + rtol * scale);
}

describe("conversions", () => {
  const { boxes, xywh2xyxy, xyxy2xywh } = fixture.conversions;
  test("centre and size become corners, and corners centre and size, as in the reference", () => {
    expectClose(xywhToXyxy(flat(boxes)), xywh2xyxy.flat());
    expectClose(xyxyToXywh(flat(boxes)), xyxy2xywh.flat());
  });
  test("each undoes the other", () => {
    const corners = Float64Array.of(1, 2, 6, 4, -8, 0, -3, 0.5);
    expect(xywhToXyxy(xyxyToXywh(corners))).toEqual(corners);
  });
});

describe("overlap", () => {
  const { "inputs/box1": a, "inputs/box2": b } = fixture.overlap;
  test.each(["iou", "giou", "diou", "ciou"] as const)("%s agrees with the reference, degenerate boxes included", (kind) => {
    const got = a.map((_: unknown, i: number) => overlap(kind, flat(a), i, flat(b), i));
    expectClose(got, fixture.overlap[`outputs/${kind}`]);
  });
  test("the eps of heights is not given to widths", () => {
    const flatBox = Float64Array.of(0, 0, 1, 0), thinBox = Float64Array.of(0, 0, 0, 1);
    expect(overlap("giou", flatBox, 0, flatBox, 0)).toBeCloseTo(2, 6); // U = 3 eps, H = eps
    expect(overlap("giou", thinBox, 0, thinBox, 0)).toBe(0); // U = H = eps
  });
  test("ciou is 1 for equal boxes, negative for distant ones, and below diou where shapes differ", () => {
    const boxes = Float64Array.of(0, 0, 10, 10, 90, 90, 99, 99, 0, 0, 20, 5);
    expect(ciou(boxes, 0, boxes, 0)).toBeCloseTo(1, 6);
    expect(ciou(boxes, 0, boxes, 1)).toBeLessThan(-0.5);
    expect(ciou(boxes, 0, boxes, 2)).toBeLessThan(overlap("diou", boxes, 0, boxes, 2) - 0.01);
  });
  test("rows choose the boxes that are compared", () => {
    const boxes = Float64Array.of(0, 0, 2, 2, 1, 0, 3, 2, 5, 5, 6, 6);
    expect(iou(boxes, 0, boxes, 1)).toBeCloseTo(1 / 3, 6);
    expect(iou(boxes, 1, boxes, 2)).toBe(0);
  });
  test("pairwise IoU agrees with the reference", () => {
    const { a, b, iou } = fixture.pairwise;
    expectClose(pairwiseIou(flat(a), flat(b)), iou.flat());
  });
  test("pairwise IoU of two empty boxes is 0 and not NaN", () => {
    expect(pairwiseIou(new Float64Array(4), new Float64Array(4))).toEqual(Float64Array.of(0));
  });
});

describe("anchors", () => {
  const { feature_sizes, strides, points, strides_of_points, dist, bbox, xyxy, xywh, dist_back } = fixture.distances;
  test("are cell centres, x first, row by row and level after level", () => {
    const anchors = makeAnchors([[2, 3], [1, 1]], [8, 16]);
    expect([...anchors.points]).toEqual([0.5, 0.5, 1.5, 0.5, 2.5, 0.5, 0.5, 1.5, 1.5, 1.5, 2.5, 1.5, 0.5, 0.5]);
    expect([...anchors.strides]).toEqual([8, 8, 8, 8, 8, 8, 16]);
  });
  test("agree with the reference", () => {
    const anchors = makeAnchors(feature_sizes, strides);
    expect([...anchors.points]).toEqual(points.flat());
    expect([...anchors.strides]).toEqual(strides_of_points);
  });
  test("need a stride for every level", () => {
    expect(() => makeAnchors([[2, 2], [1, 1]], [8])).toThrow("makeAnchors: expected one stride per level, got 2 levels and 1 strides");
  });
  test("distances become boxes in both formats as in the reference", () => {
    expectClose(dist2bbox(flat(dist), flat(points), "xyxy"), xyxy.flat());
    expectClose(dist2bbox(flat(dist), flat(points), "xywh"), xywh.flat());
  });
  test("boxes become distances as in the reference", () => {
    expectClose(bbox2dist(flat(bbox), flat(points)), dist_back.flat());
  });
  test("distances are clamped to 0 and to one hundredth below the last bin", () => {
    const point = Float64Array.of(10, 10);
    expect([...bbox2dist(Float64Array.of(12, -90, 13, 25), point)]).toEqual([0, 14.99, 3, 14.99]);
    expect([...bbox2dist(Float64Array.of(3, 4, 20, 11), point, 8)]).toEqual([6.99, 6, 6.99, 1]);
  });
  test("a batch shares its points", () => {
    const one = dist2bbox(flat(dist), flat(points), "xyxy"), two = dist2bbox(flat([...dist, ...dist]), flat(points), "xyxy");
    expect([...two]).toEqual([...one, ...one]);
    expect([...bbox2dist(two, flat(points))]).toEqual([...bbox2dist(one, flat(points)), ...bbox2dist(one, flat(points))]);
  });
  test("boxes that do not fit the points are refused", () => {
    expect(() => dist2bbox(new Float64Array(12), new Float64Array(4), "xyxy")).toThrow("dist2bbox: expected four numbers for each of 2 points, any number of times, got 12 numbers");
    expect(() => bbox2dist(new Float64Array(4), new Float64Array(0))).toThrow("bbox2dist: expected four numbers for each of 0 points");
    expect(dist2bbox(new Float64Array(0), new Float64Array(0), "xyxy")).toHaveLength(0);
  });
});
