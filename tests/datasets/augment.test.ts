import { describe, expect, test } from "vitest";
import { augmentations, augmented, draw, layOut, placeBoxes, render, type Augment } from "../../datasets/augment.ts";
import { blank, fit, overlay } from "../../datasets/letterbox.ts";
import { matrixOf, warp } from "../../datasets/perspective.ts";
import type { ObjectBox, Sample } from "../../datasets/sample.ts";
import { Random } from "../../engine/random.ts";
import { apart, pattern } from "./pictures.ts";

describe("augmented", () => {
  /** A white rectangle on black, with its box. */
  const W = 60, H = 40, box = { class: 0, x1: 15, y1: 10, x2: 40, y2: 22 };
  const sample: Sample = { name: "rectangle", picture: { width: W, height: H, pixels: new Uint8Array(W * H * 3) }, boxes: [box] };
  for (let y = box.y1; y < box.y2; y++) sample.picture.pixels.fill(255, 3 * (y * W + box.x1), 3 * (y * W + box.x2));

  test("moves boxes with their pixels, whatever flip, scale and translation do", () => {
    const place = { width: 96, height: 80 };
    let mirrored = 0;
    for (let seed = 0; seed < 60; seed++) {
      const { picture, boxes } = augmented(sample, place, { ...augmentations.spikeyolo, mosaic: 0, hue: 0, saturation: 0, value: 0 }, new Random(seed));
      let [x1, y1, x2, y2] = [Infinity, Infinity, -Infinity, -Infinity];
      for (let y = 0; y < 80; y++) for (let x = 0; x < 96; x++) if (picture.pixels[3 * (y * 96 + x)] > 127) [x1, y1, x2, y2] = [Math.min(x1, x), Math.min(y1, y), Math.max(x2, x + 1), Math.max(y2, y + 1)];
      expect(boxes.length).toBe(1);
      for (const [got, want] of [[boxes[0].x1, x1], [boxes[0].y1, y1], [boxes[0].x2, x2], [boxes[0].y2, y2]]) expect(Math.abs(got - want), `seed ${seed}`).toBeLessThanOrEqual(1);
      if (picture.pixels.some((value, i) => value === 0 && i % 3 === 0)) mirrored++;
    }
    expect(mirrored).toBe(60);
  });

  test("flips about half of the pictures, and a flip alone is exact", () => {
    const place = { width: 60, height: 40 };
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
    const place = { width: 60, height: 60 }, jitter: Augment = { ...augmentations.none, scale: 0.5, translate: 0.1 };
    const zooms: number[] = [];
    for (let seed = 0; seed < 200; seed++) {
      const { origin: { scale, left, top }, picture } = augmented(sample, place, jitter, new Random(seed));
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
      augmented({ ...sample, boxes: [{ class: 0, x1, y1, x2, y2 }] }, { width: 60, height: 40 }, still, new Random(0)).boxes.length === 1;
    expect(kept(-90, 0, 11, 40)).toBe(true);                                              // 11 of 101 columns
    expect(kept(-90, 0, 9, 40)).toBe(false);                                              // 9 of 99
    expect(kept(10, 10, 12, 30)).toBe(false);
    expect(kept(10, 10, 12.1, 30)).toBe(true);
    expect(kept(70, 0, 90, 40)).toBe(false);
  });

  test("without variations is the letterbox, box for box", () => {
    const place = fit(W, H, [33, 47]), { boxes, origin: { scale, left, top } } = augmented(sample, { width: 47, height: 33 }, augmentations.none, new Random(0));
    expect({ scale, left, top }).toEqual({ scale: place.scale, left: place.left, top: place.top });
    expect(boxes).toEqual([{ class: 0, x1: 15 * scale + left, y1: 10 * scale + top, x2: 40 * scale + left, y2: 22 * scale + top }]);
  });
});

describe("a view", () => {
  const W = 96, H = 80, canvas = { width: W, height: H }, box: ObjectBox = { class: 1, x1: 30, y1: 24, x2: 60, y2: 50 };
  const picture = blank(W, H, 114);
  for (let y = box.y1; y < box.y2; y++) picture.pixels.fill(255, 3 * (y * W + box.x1), 3 * (y * W + box.x2));

  const bright = ({ width, height, pixels }: { width: number; height: number; pixels: Uint8Array }): number[] => {
    let [x1, y1, x2, y2] = [Infinity, Infinity, -Infinity, -Infinity];
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) if (pixels[3 * (y * width + x)] > 184) [x1, y1, x2, y2] = [Math.min(x1, x), Math.min(y1, y), Math.max(x2, x + 1), Math.max(y2, y + 1)];
    return [x1, y1, x2, y2];
  };

  const kinds: Record<string, Partial<Augment>> = { "rotation": { degrees: 45 }, "shear": { shear: 15 }, "perspective": { perspective: 0.001 }, "all of them, and both flips": { degrees: 20, shear: 8, perspective: 0.0005, scale: 0.2, translate: 0.05, flip: 0.5, upsideDown: 0.5 } };
  for (const [kind, fields] of Object.entries(kinds)) {
    test(`with ${kind} moves the corners of a box with its pixels`, () => {
      for (let seed = 0; seed < 25; seed++) {
        const got = augmented({ picture, boxes: [box] }, canvas, { ...augmentations.none, ...fields }, new Random(seed));
        const seen = bright(got.picture), [{ x1, y1, x2, y2 }] = got.boxes;
        [x1, y1, x2, y2].forEach((value, i) => expect(Math.abs(value - seen[i]), `seed ${seed}: ${[x1, y1, x2, y2]} around ${seen}`).toBeLessThanOrEqual(2));
      }
    });
  }

  test("with one corner of a box left in the place of another would be noticed", () => {
    const view = draw({ ...augmentations.none, degrees: 45 }, new Random(3)), layout = layOut([canvas], canvas, view), seen = bright(render([picture], layout));
    const [wrong] = placeBoxes([[{ ...box, x1: box.x1 + 6 }]], layout);
    expect(Math.max(...[wrong.x1, wrong.y1, wrong.x2, wrong.y2].map((value, i) => Math.abs(value - seen[i])))).toBeGreaterThan(2);
  });

  test("turns anticlockwise by positive degrees, as OpenCV does", () => {
    const m = matrixOf({ angle: 90, scale: 2, shear: [0, 0], perspective: [0, 0], centre: [0.5, 0.5] }, canvas, canvas);
    const at = (x: number, y: number) => [m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5]].map((value) => Math.round(value * 1e9) / 1e9);
    expect(at(48, 40)).toEqual([48, 40]);
    expect(at(58, 40), "ten to the right of the centre goes twenty up").toEqual([48, 20]);
    expect(at(48, 50)).toEqual([68, 40]);
  });

  test("shears x by y and y by x, by the tangent", () => {
    const m = matrixOf({ angle: 0, scale: 1, shear: [45, 0], perspective: [0, 0], centre: [0.5, 0.5] }, canvas, canvas);
    expect(m[0] * 48 + m[1] * 50 + m[2]).toBeCloseTo(58, 9);
    const n = matrixOf({ angle: 0, scale: 1, shear: [0, 45], perspective: [0, 0], centre: [0.5, 0.5] }, canvas, canvas);
    expect(n[3] * 58 + n[4] * 40 + n[5]).toBeCloseTo(50, 9);
  });
});

describe("warp", () => {
  const picture = pattern(41, 33), shift = (x: number, y: number) => [1, 0, x, 0, 1, y, 0, 0, 1];

  test("by nothing is a copy, by whole pixels a moved one with grey around", () => {
    expect(warp(picture, shift(0, 0), picture, 114)).toEqual(picture);
    const moved = blank(41, 33, 114);
    overlay(moved, picture, 5, -3);
    expect(warp(picture, shift(5, -3), picture, 114)).toEqual(moved);
  });

  test("gives the same bytes through the code for perspective as through the affine one, to a level", () => {
    const m = [0.9, 0.2, 3.1, -0.15, 1.1, 2.7, 0, 0, 1], bent = [...m];
    bent[6] = 1e-12;
    expect(apart(warp(picture, m, picture, 114), warp(picture, bent, picture, 114))).toBeLessThanOrEqual(6);
  });

  test("is bilinear between pixel centres, border included, to the fineness of a 32nd of a pixel", () => {
    const m = [0.8, 0.25, 2.3, -0.2, 1.15, -1.6, 0, 0, 1], got = warp(picture, m, { width: 50, height: 40 }, 114), D = m[0] * m[4] - m[1] * m[3];
    const value = (x: number, y: number, k: number) => (x < 0 || y < 0 || x >= 41 || y >= 33 ? 114 : picture.pixels[3 * (y * 41 + x) + k]);
    let worst = 0;
    for (let y = 0; y < 40; y++) for (let x = 0; x < 50; x++) for (let k = 0; k < 3; k++) {
      const u = (m[4] * (x - m[2]) - m[1] * (y - m[5])) / D, v = (m[0] * (y - m[5]) - m[3] * (x - m[2])) / D, i = Math.floor(u), j = Math.floor(v), a = u - i, b = v - j;
      const want = (1 - b) * ((1 - a) * value(i, j, k) + a * value(i + 1, j, k)) + b * ((1 - a) * value(i, j + 1, k) + a * value(i + 1, j + 1, k));
      worst = Math.max(worst, Math.abs(got.pixels[3 * (y * 50 + x) + k] - want));
    }
    expect(worst).toBeLessThan(2 * 141 / 64 + 0.6);                                       // both ways half a 32nd of the hardest edge, and rounding
  });
});

describe("a mosaic", () => {
  const canvas = { width: 40, height: 40 }, levels = [10, 80, 150, 220];
  const sizes = [[40, 20], [20, 40], [40, 40], [13, 7]], tiles = sizes.map(([width, height], k) => blank(width, height, levels[k]));
  const whole = tiles.map(({ width, height }, k): ObjectBox[] => [{ class: k, x1: 0, y1: 0, x2: width, y2: height }]);

  test("has its four pictures, each as large as the canvas lets it be, around its centre", () => {
    for (let seed = 0; seed < 40; seed++) {
      const variation = draw({ ...augmentations.none, mosaic: 1 }, new Random(seed)), layout = layOut(tiles, canvas, variation), { pixels } = render(tiles, layout);
      const [x, y] = [layout.tiles[3].left, layout.tiles[3].top];
      expect(layout.tiles.map(({ loaded }) => [loaded.width, loaded.height])).toEqual([[40, 20], [20, 40], [40, 40], [40, 22]]); // 7 x 40 / 13 = 21.5, rounded up
      for (const at of [x, y]) { expect(at).toBeGreaterThanOrEqual(20); expect(at).toBeLessThan(60); }
      const seen = (u: number, v: number) => (u - 20 < 0 || v - 20 < 0 || u - 20 >= 40 || v - 20 >= 40 ? undefined : pixels[3 * ((v - 20) * 40 + u - 20)]);
      const corners = [seen(x - 1, y - 1), seen(x, y - 1), seen(x - 1, y), seen(x, y)];
      corners.forEach((value, k) => { if (value !== undefined) expect(value, `seed ${seed}, tile ${k}`).toBe(levels[k]); });
      expect(corners.filter((value) => value !== undefined).length).toBeGreaterThan(0);
      for (const box of placeBoxes(whole, layout)) {
        const inside = pixels[3 * (Math.floor((box.y1 + box.y2) / 2) * 40 + Math.floor((box.x1 + box.x2) / 2))];
        expect(inside, `the middle of box ${box.class}`).toBe(levels[box.class]);
      }
    }
  });

  test("is taken as often as the record says, and otherwise leaves every other choice as it was", () => {
    let taken = 0;
    for (let seed = 0; seed < 400; seed++) {
      const { mosaic, warped, ...some } = draw({ ...augmentations.spikeyolo, mosaic: 0.25 }, new Random(seed)), { mosaic: no, warped: alsoWarped, ...rest } = draw({ ...augmentations.spikeyolo, mosaic: 0 }, new Random(seed));
      if (mosaic) taken++;
      expect(no).toBeUndefined();
      expect(some).toEqual(rest);
    }
    expect(taken).toBeGreaterThan(70);
    expect(taken).toBeLessThan(130);
  });
});
