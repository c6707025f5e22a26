import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { nonMaxSuppression, predictionNms, validationNms, type Detection, type NmsOptions } from "../../detection/nms.ts";
import { Random } from "../../engine/random.ts";

const fixture = JSON.parse(readFileSync(new URL("../fixtures/nms.json", import.meta.url), "utf8"));

/** One image; rows are x, y, w, h, scores. */
const run = (rows: number[][], options: Partial<NmsOptions> = {}): Detection[] =>
  nonMaxSuppression(Float64Array.from(rows.flat()), [1, rows.length, rows[0].length], { confidence: 0.1, iou: 0.5, multiLabel: false, ...options })[0];

const row = ({ x1, y1, x2, y2, score, class: category }: Detection): number[] => [x1, y1, x2, y2, score, category];

describe("nonMaxSuppression", () => {
  test.each(["multiLabelAgnostic", "bestOfClass", "wantedClasses"])("keeps what the reference keeps, in its order: %s", (name) => {
    const { params, expected } = fixture[name];
    const data = Float32Array.from(fixture.predictions.flat());
    const [got] = nonMaxSuppression(data, [1, 120, 8], {
      confidence: params.conf_thres, iou: params.iou_thres, multiLabel: params.multi_label, agnostic: params.agnostic,
      classes: params.classes, maxDetections: params.max_det,
    });
    expect(got).toHaveLength(expected.length);
    for (const [n, want] of expected.entries()) for (const [k, value] of row(got[n]).entries()) expect(Math.abs(value - want[k])).toBeLessThan(1e-4);
  });

  test("a box goes when its IoU with a better one is above the threshold, and stays when it is equal", () => {
    const rows = [[5, 5, 10, 10, 0.9], [2.5, 5, 5, 10, 0.8]]; // IoU 1/2, exactly
    expect(run(rows, { iou: 0.5 })).toHaveLength(2);
    expect(run(rows, { iou: 0.4999999 })).toHaveLength(1);
  });

  test("a score equal to the confidence is no detection, also where float32 rounds the confidence up", () => {
    expect(run([[5, 5, 10, 10, 0.25]], { confidence: 0.25 })).toHaveLength(0);
    const rounded = Float32Array.of(5, 5, 10, 10, 0.001); // 0.00100000005
    expect(nonMaxSuppression(rounded, [1, 1, 5], { ...validationNms, confidence: 0.001 })[0]).toHaveLength(0);
    expect(nonMaxSuppression(rounded, [1, 1, 5], { ...validationNms, confidence: 0.00099 })[0]).toHaveLength(1);
  });

  test("a suppressed box suppresses nobody", () => {
    const rows = [[10, 10, 20, 20, 0.9], [16, 10, 20, 20, 0.8], [22, 10, 20, 20, 0.7]]; // neighbours 14/26, ends 8/32
    expect(run(rows).map((d) => d.score)).toEqual([0.9, 0.7]);
  });

  test("of boxes with equal scores the earlier wins", () => {
    const rows = [[10, 10, 20, 20, 0.5], [11, 10, 20, 20, 0.5]];
    expect(run(rows).map((d) => d.x1)).toEqual([0]);
    expect(run([rows[1], rows[0]]).map((d) => d.x1)).toEqual([1]);
    expect(run([[90, 10, 20, 20, 0.5], [10, 10, 20, 20, 0.5]]).map((d) => d.x1)).toEqual([80, 0]);
  });

  test("classes are suppressed apart unless agnostic", () => {
    const rows = [[10, 10, 20, 20, 0.9, 0], [10, 10, 20, 20, 0, 0.8]];
    expect(run(rows).map((d) => d.class)).toEqual([0, 1]);
    expect(run(rows, { agnostic: true }).map((d) => d.class)).toEqual([0]);
  });

  test("an anchor speaks for its best class, or for every confident class", () => {
    const rows = [[10, 10, 20, 20, 0.3, 0.05, 0.6]];
    expect(run(rows).map((d) => [d.class, d.score])).toEqual([[2, 0.6]]);
    expect(run(rows, { multiLabel: true }).map((d) => [d.class, d.score])).toEqual([[2, 0.6], [0, 0.3]]);
    expect(run([[10, 10, 20, 20, 0.4, 0.4]]).map((d) => d.class)).toEqual([0]);
  });

  test("unwanted classes are dropped after the best class is chosen", () => {
    const rows = [[10, 10, 20, 20, 0.3, 0.6]];
    expect(run(rows, { classes: [0] })).toEqual([]);
    expect(run(rows, { classes: [0], multiLabel: true }).map((d) => d.class)).toEqual([0]);
  });

  test("only the most confident candidates compete", () => {
    const rows = [[10, 10, 20, 20, 0.7], [50, 10, 20, 20, 0.3], [10, 10, 20, 20, 0.9], [10, 10, 20, 20, 0.8]];
    expect(run(rows, { maxCandidates: 3 }).map((d) => d.score)).toEqual([0.9]);
    expect(run(rows, { maxCandidates: 4 }).map((d) => d.score)).toEqual([0.9, 0.3]);
  });

  test("where the cut falls among equal scores the earlier survive", () => {
    const rows = [[10, 10, 20, 20, 0.5], [50, 10, 20, 20, 0.5], [90, 10, 20, 20, 0.5], [130, 10, 20, 20, 0.9]];
    expect(run(rows, { maxCandidates: 3 }).map((d) => d.x1)).toEqual([120, 0, 40]);
  });

  test("detections are capped", () => {
    const rows = Array.from({ length: 400 }, (_, k) => [30 * k, 10, 20, 20, 1 - k / 1000]);
    expect(run(rows)).toHaveLength(300);
    expect(run(rows, { maxDetections: 7 }).map((d) => d.score)).toEqual([1, 0.999, 0.998, 0.997, 0.996, 0.995, 0.994]);
  });

  test("boxes without area and scores that are no numbers do no harm", () => {
    expect(run([[10, 10, 0, 0, 0.9], [10, 10, 0, 0, 0.8], [10, 10, 20, 20, NaN]])).toHaveLength(2);
  });

  test("images are independent", () => {
    const one = [[10, 10, 20, 20, 0.9]], two = [[10, 10, 20, 20, 0.8]], none = [[10, 10, 20, 20, 0.01]];
    const got = nonMaxSuppression(Float64Array.from([one, none, two].flat(2)), [3, 1, 5], predictionNms);
    expect(got.map((image) => image.map((d) => d.score))).toEqual([[0.9], [], [0.8]]);
  });

  test("agrees with the definition on random boxes", () => {
    const random = new Random(11);
    for (let round = 0; round < 60; round++) {
      const classes = random.integer(1, 5), anchors = random.integer(1, 60);
      const rows = Array.from({ length: anchors }, () => [random.uniform(0, 60), random.uniform(0, 60), random.uniform(5, 40), random.uniform(5, 40),
        ...Array.from({ length: classes }, () => random.integer(0, 40) / 40)]); // many equal scores
      const options = { confidence: 0.2, iou: random.uniform(0.2, 0.8), multiLabel: round % 2 === 0, agnostic: round % 3 === 0, maxDetections: 12, maxCandidates: 50 };
      expect(run(rows, options)).toEqual(definition(rows, options));
    }
  });

  test("a shape that does not fit is named", () => {
    expect(() => nonMaxSuppression(new Float64Array(9), [1, 2, 5], predictionNms)).toThrow("nonMaxSuppression: expected [B, A, 4 + classes], got 9 numbers for shape [1, 2, 5]");
    expect(() => nonMaxSuppression(new Float64Array(8), [1, 2, 4], predictionNms)).toThrow("shape [1, 2, 4]");
  });
});

/** Take the best box, strike out all that overlap it, repeat. */
function definition(rows: number[][], { confidence, iou, multiLabel, agnostic, maxDetections, maxCandidates }: Required<Omit<NmsOptions, "classes">>): Detection[] {
  let left: Detection[] = rows.flatMap(([x, y, w, h, ...scores]) => scores
    .map((score, c) => ({ x1: x - w / 2, y1: y - h / 2, x2: x + w / 2, y2: y + h / 2, score, class: c }))
    .filter((d) => d.score > confidence && (multiLabel || d.class === scores.indexOf(Math.max(...scores)))));
  left = left.sort((a, b) => b.score - a.score).slice(0, maxCandidates);
  const out: Detection[] = [];
  while (left.length > 0 && out.length < maxDetections) {
    const [best, ...others] = left;
    out.push(best);
    left = others.filter((d) => {
      const w = Math.max(0, Math.min(best.x2, d.x2) - Math.max(best.x1, d.x1)), h = Math.max(0, Math.min(best.y2, d.y2) - Math.max(best.y1, d.y1));
      const union = (best.x2 - best.x1) * (best.y2 - best.y1) + (d.x2 - d.x1) * (d.y2 - d.y1) - w * h;
      return (!agnostic && d.class !== best.class) || w * h / union <= iou;
    });
  }
  return out;
}
