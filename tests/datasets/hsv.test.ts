import { describe, expect, test } from "vitest";
import { tint } from "../../datasets/hsv.ts";
import { Random } from "../../engine/random.ts";

const tinted = (pixel: readonly number[], hue: number, saturation: number, value: number): number[] => {
  const picture = { width: 1, height: 1, pixels: Uint8Array.from(pixel) };
  tint(picture, hue, saturation, value);
  return [...picture.pixels];
};

describe("tint", () => {
  test("turns hue, saturation and value by their gains, to the level that cutting costs", () => {
    const rows: readonly (readonly [what: string, pixel: number[], gains: readonly [number, number, number], want: number[]])[] = [
      ["green, 60 of 180, to cyan, 90", [0, 200, 0], [1.5, 1, 1], [0, 200, 200]],
      ["grey has no hue", [200, 100, 100], [1, 0, 1], [200, 200, 200]],
      ["half as bright", [200, 100, 50], [1, 1, 0.5], [100, 50, 25]],
      ["value stops at 255", [255, 153, 51], [1, 1, 2], [255, 153, 51]],
      ["grey", [70, 70, 70], [1.01, 1.7, 1.2], [84, 84, 84]],
      ["blue, 120, to 132, two fifths of the way to magenta", [10, 10, 250], [1.1, 1, 1], [106, 10, 250]],
    ];
    for (const [what, pixel, gains, want] of rows) tinted(pixel, ...gains).forEach((value, k) => expect(want[k] - value === 0 || want[k] - value === 1, `${what}: ${value} for ${want[k]}`).toBe(true));
  });

  test("gives OpenCV's own bytes", () => {
    // cv2.cvtColor there and back with the tables of augment_hsv between, OpenCV 4.6
    for (const [pixel, want] of [[[128, 0, 0], [164, 55, 55]], [[128, 0, 7], [164, 55, 59]], [[128, 0, 39], [164, 55, 84]], [[128, 0, 71], [164, 55, 113]], [[128, 0, 87], [164, 55, 124]]]) {
      expect(tinted(pixel, 1.00966, 0.661, 1.288)).toEqual(want);
    }
  });

  test("goes around the circle: a hue past 179 begins again", () => {
    expect(tinted([255, 0, 128], 1.03, 1, 1)[1], "a red that was nearly magenta").toBe(0);
    const [r, g, b] = tinted([255, 0, 4], 1.02, 1, 1);
    expect([r, b]).toEqual([255, 0]);
    expect(g, "orange by a hair").toBeLessThan(30);
  });

  test("at gains of 1 moves a pixel by no more than the two degrees and 255 steps of 8-bit HSV do", () => {
    const random = new Random(1);
    for (let i = 0; i < 2000; i++) {
      const pixel = [0, 1, 2].map(() => random.integer(0, 256));
      tinted(pixel, 1, 1, 1).forEach((value, c) => expect(Math.abs(value - pixel[c]), `${pixel}`).toBeLessThanOrEqual(5));
    }
  });
});
