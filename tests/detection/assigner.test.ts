import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { assign, taskAligned, type Assignment, type AssignerInput, type Truths } from "../../detection/assigner.ts";
import { ciou, makeAnchors } from "../../detection/boxes.ts";
import { Random } from "../../engine/random.ts";

const fixture = JSON.parse(readFileSync(new URL("../fixtures/assigner.json", import.meta.url), "utf8"));

type Row = [image: number, category: number, x1: number, y1: number, x2: number, y2: number];
const columns = (rows: Row[]): Truths => ({
  image: Int32Array.from(rows, (row) => row[0]),
  class: Int32Array.from(rows, (row) => row[1]),
  xyxy: Float64Array.from(rows.flatMap((row) => row.slice(2))),
});

/** Anchors of an 8 x 8 grid of stride 8 that all predict the box around themselves with these half sides, and score 0.5 in every class. */
function grid(images = 1, classes = 2, half = 8): { points: Float64Array; boxes: Float64Array; scores: Float64Array; classes: number } {
  const points = makeAnchors([[8, 8]], [8]).points.map((x) => 8 * x);
  const boxes = Float64Array.from({ length: images * 64 * 4 }, (_, k) => points[(k >> 2) % 64 * 2 + (k & 1)] + (k % 4 < 2 ? -half : half));
  return { points, boxes, scores: new Float64Array(images * 64 * classes).fill(0.5), classes };
}

const anchorsOf = ({ position, truth }: Assignment, g: number): number[] => [...position].filter((_, n) => truth[n] === g);

describe("assign", () => {
  test("agrees with the reference on a crowd of overlapping objects", () => {
    const { logits, boxes, classes, truths, foreground } = fixture;
    const result = assign({
      scores: Float64Array.from(logits.flat(), (x: number) => 1 / (1 + Math.exp(-x))),
      boxes: Float32Array.from(boxes.flat()),
      points: Float64Array.from([8, 16, 32].flatMap((s) => [...makeAnchors([[64 / s, 64 / s]], [s]).points].map((x) => x * s))),
      classes: 4,
    }, columns(truths.map((box: number[], g: number) => [0, classes[g], ...box])));
    expect([...result.position]).toEqual(foreground.anchor);
    expect([...result.truth]).toEqual(foreground.truth);
    expect([...result.class]).toEqual(foreground.class);
    for (const [n, want] of foreground.score.entries()) expect(Math.abs(result.score[n] / want - 1)).toBeLessThan(2e-5);
    expect([...result.xyxy]).toEqual(foreground.truth.flatMap((g: number) => [...Float64Array.from(truths[g])]));
    expect([...result.mask.entries()].filter(([, on]) => on).map(([a]) => a)).toEqual(foreground.anchor);
  });

  test("an anchor centre on the border of an object is not inside it", () => {
    const input = grid();
    expect(anchorsOf(assign(input, columns([[0, 0, 4, 4, 20, 20]])), 0)).toEqual([9]); // of 4, 12, 20 only 12 is inside
    expect(anchorsOf(assign(input, columns([[0, 0, 3.99, 3.99, 20.01, 12.01]])), 0)).toEqual([0, 1, 2, 8, 9, 10]);
  });

  test("an object gets its ten best anchors, the earlier of equals, and no more", () => {
    const input = grid();
    const result = assign(input, columns([[0, 1, 0, 0, 64, 64]]));
    const metrics = Array.from({ length: 64 }, (_, a) => [Math.max(ciou(Float64Array.of(0, 0, 64, 64), 0, input.boxes, a), 0), a])
      .sort(([p, a], [q, b]) => q - p || a - b); // equal scores: the order of metrics is that of overlaps
    expect(anchorsOf(result, 0)).toEqual(metrics.slice(0, 10).map(([, a]) => a).sort((a, b) => a - b));
    expect(metrics[9][0]).toBe(metrics[10][0]); // the tenth place is contested by equals
  });

  test("a better anchor that comes late displaces the latest of equals", () => {
    const input = grid(1, 1);
    input.scores[36] = 0.9; // anchors 27, 28, 35, 36 surround the centre of the object and are equal but for this
    expect(anchorsOf(assign(input, columns([[0, 0, 16, 16, 48, 48]]), { ...taskAligned, topK: 2 }), 0)).toEqual([27, 36]);
  });

  test("only the object's own class counts", () => {
    const input = grid(1, 2);
    for (let a = 0; a < 64; a++) input.scores[2 * a] = a === 27 ? 0.9 : 0.1; // class 0 favours anchor 27
    const recipe = { ...taskAligned, topK: 1 };
    expect(anchorsOf(assign(input, columns([[0, 0, 16, 16, 48, 48]]), recipe), 0)).toEqual([27]);
    input.scores.fill(0.5);
    for (let a = 0; a < 64; a++) input.scores[2 * a + 1] = a === 36 ? 0.9 : 0.1;
    expect(anchorsOf(assign(input, columns([[0, 1, 16, 16, 48, 48]]), recipe), 0)).toEqual([36]);
  });

  test("an anchor claimed twice goes to the object it overlaps most, even to one that did not claim it", () => {
    const input = grid(1, 3);
    input.boxes.set([16, 16, 32, 32], 4 * 18); // anchor 18, centre (20, 20), predicts this box; all three objects hold it
    for (let a = 0; a < 64; a++) for (let c = 0; c < 3; c++) input.scores[3 * a + c] = a === 18 ? 0.9 : 0.001;
    input.scores[3 * 18 + 2] = 1e-9; // class 2 does not believe in anchor 18
    const recipe = { ...taskAligned, topK: 1 };
    const [a, b, c]: Row[] = [[0, 0, 10, 10, 32, 32], [0, 1, 16, 16, 40, 40], [0, 2, 16, 16, 32, 33]];
    expect(anchorsOf(assign(input, columns([a]), recipe), 0)).toEqual([18]);
    expect(anchorsOf(assign(input, columns([b]), recipe), 0)).toEqual([18]);
    expect(anchorsOf(assign(input, columns([c]), recipe), 0)).not.toContain(18);
    const all = assign(input, columns([a, b, c]), recipe);
    expect(anchorsOf(all, 0)).toEqual([]);
    expect(anchorsOf(all, 1)).toEqual([]);
    expect(anchorsOf(all, 2)).toContain(18);
  });

  test("the best anchor of an object gets the object's best overlap as target score", () => {
    const input = grid();
    const result = assign(input, columns([[0, 0, 13, 13, 30, 30]]));
    const overlaps = anchorsOf(result, 0).map((a) => ciou(Float64Array.of(13, 13, 30, 30), 0, input.boxes, a));
    expect(Math.max(...result.score)).toBeCloseTo(Math.max(...overlaps), 6);
    expect(new Set(result.score).size).toBeGreaterThan(1);
  });

  test("images do not see each other's objects or predictions", () => {
    const input = grid(3);
    input.boxes.fill(NaN, 2 * 256); // image 2 predicts nothing usable
    const row: Row = [1, 1, 10, 10, 40, 30];
    const batch = assign(input, columns([row, [2, 0, 0, 0, 64, 64]]));
    const alone = assign(grid(1), columns([[0, ...row.slice(1)] as Row]));
    expect([...batch.position]).toEqual([...alone.position].map((a) => 64 + a));
    expect(batch.score).toEqual(alone.score);
    expect(batch.mask.subarray(0, 64).every((on) => on === 0)).toBe(true);
  });

  test("without objects there is no foreground", () => {
    const result = assign(grid(2), columns([]));
    expect(result.position).toHaveLength(0);
    expect(result.mask).toEqual(new Uint8Array(128));
  });

  test("padding rows own nothing", () => {
    const result = assign(grid(), columns([[0, 0, 0, 0, 0, 0], [0, 0, -30, -30, 30, 30], [0, 0, 8, 8, 32, 32]]));
    expect(new Set(result.truth)).toEqual(new Set([2]));
  });

  test("an image of fewer than ten anchors uses all of them", () => {
    const points = makeAnchors([[2, 2]], [32]).points.map((x) => 32 * x);
    const boxes = Float64Array.from({ length: 16 }, (_, k) => points[(k >> 2) * 2 + (k & 1)] + (k % 4 < 2 ? -20 : 20));
    const result = assign({ points, boxes, scores: new Float64Array(4).fill(0.3), classes: 1 }, columns([[0, 0, 2, 2, 62, 62]]));
    expect([...result.position]).toEqual([0, 1, 2, 3]);
  });

  test("predictions that are not numbers are never chosen", () => {
    const input = grid();
    const truths = columns([[0, 0, 8, 8, 40, 40]]);
    const [first] = assign(input, truths).position;
    input.scores[2 * first] = NaN;
    const after = assign(input, truths);
    expect([...after.position]).not.toContain(first);
    expect(after.score.every(Number.isFinite)).toBe(true);
    input.boxes.fill(NaN);
    expect(assign(input, truths).position).toHaveLength(0);
  });

  test("agrees with the definition over all anchors and objects at once", () => {
    const random = new Random(7);
    let contested = 0;
    for (let round = 0; round < 40; round++) {
      const images = random.integer(1, 4), classes = random.integer(1, 4), points = makeAnchors([[6, 6], [3, 3]], [8, 16]);
      const pixels = points.points.map((x, k) => x * points.strides[k >> 1]), anchors = points.strides.length;
      const boxes = Float64Array.from({ length: images * anchors * 4 }, (_, k) => pixels[(k >> 2) % anchors * 2 + (k & 1)] + (k % 4 < 2 ? -1 : 1) * random.uniform(2, 24));
      const scores = Float64Array.from({ length: images * anchors * classes }, () => random.uniform(0.01, 0.99));
      const truths = columns(Array.from({ length: random.integer(0, 25) }, (): Row => {
        const x = random.uniform(-4, 40), y = random.uniform(-4, 40);
        return [random.integer(0, images), random.integer(0, classes), x, y, x + random.uniform(4, 40), y + random.uniform(4, 40)];
      }));
      const input = { points: pixels, boxes, scores, classes }, got = assign(input, truths), want = definition(input, truths);
      contested += want.contested;
      expect([...got.position]).toEqual(want.position);
      expect([...got.truth]).toEqual(want.truth);
      for (const [n, score] of want.score.entries()) expect(got.score[n]).toBeCloseTo(score, 12);
    }
    expect(contested).toBeGreaterThan(100);
  });

  test("wrong shapes, images and classes are named", () => {
    const input = grid();
    expect(() => assign({ ...input, scores: new Float64Array(5) }, columns([]))).toThrow("assign: expected scores [B, A, 2] and boxes [B, A, 4] for points [64, 2], got 5 and 256 numbers");
    expect(() => assign(input, columns([[1, 0, 0, 0, 9, 9]]))).toThrow("assign: truth 0 is in image 1 of a batch of 1");
    expect(() => assign(input, columns([[0, 2, 0, 0, 9, 9]]))).toThrow("assign: truth 0 has class 2, the model knows 2");
    expect(() => assign(input, { ...columns([]), image: new Int32Array(1) })).toThrow("assign: expected truths in equal columns, got 1 images, 0 classes and 0 coordinates");
  });
});

/** The same by whole matrices, one image at a time: overlaps and metrics of every object with every anchor, then the rules one after the other. */
function definition({ scores, boxes, points, classes }: AssignerInput, truths: Truths): { position: number[]; truth: number[]; score: number[]; contested: number } {
  const anchors = points.length / 2, images = boxes.length / 4 / anchors;
  const out = { position: [] as number[], truth: [] as number[], score: [] as number[], contested: 0 };
  for (let image = 0; image < images; image++) {
    const rows = [...truths.image.keys()].filter((g) => truths.image[g] === image);
    const overlaps = rows.map((g) => Array.from({ length: anchors }, (_, a) => {
      const [x1, y1, x2, y2] = truths.xyxy.subarray(4 * g), x = points[2 * a], y = points[2 * a + 1];
      return Math.min(x - x1, y - y1, x2 - x, y2 - y) > 1e-9 ? Math.max(ciou(truths.xyxy, g, boxes, image * anchors + a), 0) : 0;
    }));
    const metrics = overlaps.map((line, r) => line.map((o, a) => Math.sqrt(scores[(image * anchors + a) * classes + truths.class[rows[r]]]) * o ** 6));
    const positive = metrics.map((line) => {
      const best = [...line.keys()].sort((a, b) => line[b] - line[a] || a - b).slice(0, 10);
      return line.map((m, a) => m > 0 && best.includes(a));
    });
    for (let a = 0; a < anchors; a++) {
      if (positive.filter((line) => line[a]).length < 2) continue;
      out.contested++;
      const most = Math.max(...overlaps.map((line) => line[a])), winner = overlaps.findIndex((line) => line[a] === most);
      for (const [r, line] of positive.entries()) line[a] = r === winner;
    }
    for (let a = 0; a < anchors; a++) for (const [r, g] of rows.entries()) {
      if (!positive[r][a]) continue;
      const own = [...positive[r].keys()].filter((k) => positive[r][k]);
      out.position.push(image * anchors + a);
      out.truth.push(g);
      out.score.push(metrics[r][a] * Math.max(...own.map((k) => overlaps[r][k])) / (Math.max(...own.map((k) => metrics[r][k])) + 1e-9));
    }
  }
  return out;
}
