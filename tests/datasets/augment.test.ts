import { describe, expect, test } from "vitest";
import { augmentations, augmented, draw, layOut, originOf, placeBoxes, render, type Augment } from "../../datasets/augment.ts";
import { fit } from "../../datasets/letterbox.ts";
import type { ObjectBox, Sample } from "../../datasets/sample.ts";
import { Random } from "../../engine/random.ts";

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
