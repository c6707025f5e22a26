import { describe, expect, test } from "vitest";
import { tint } from "../../datasets/hsv.ts";
import { Random } from "../../engine/random.ts";

const tinted = (pixel: readonly number[], hue: number, saturation: number, value: number): number[] => {
  const picture = { width: 1, height: 1, pixels: Uint8Array.from(pixel) };
  tint(picture, hue, saturation, value);
  return [...picture.pixels];
};

describe("tint", () => {
  test("turns hue, saturation and value by their gains", () => {
    expect(tinted([0, 200, 0], 1.5, 1, 1), "green, 60 of 180, to cyan, 90").toEqual([0, 200, 200]);
    expect(tinted([200, 100, 100], 1, 0, 1)).toEqual([200, 200, 200]);
    expect(tinted([200, 100, 50], 1, 1, 0.5)).toEqual([100, 50, 25]);
    expect(tinted([255, 153, 51], 1, 1, 2), "value stops at 255").toEqual([255, 153, 51]);
    expect(tinted([70, 70, 70], 1.01, 1.7, 1.2)).toEqual([84, 84, 84]);
    expect(tinted([10, 10, 250], 1.1, 1, 1), "blue, 120, to 132: a fifth of the way to magenta, and two more").toEqual([106, 10, 250]);
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
