import { describe, expect, test } from "vitest";
import { blank, fit, letterbox, paste, resize, roundHalfEven, toCanvas, toPicture } from "../../datasets/letterbox.ts";
import { fixture, pattern } from "./pictures.ts";

const table = fixture("letterbox.json");

describe("fit", () => {
  for (const { h, w, new_shape, auto, scaleup, resized_wh, pad_top_bottom_left_right: [top, bottom, left, right], out_hw } of table.letterbox) {
    test(`places ${w} x ${h} in ${new_shape[1]} x ${new_shape[0]} as the reference does${auto ? ", canvas shrunk to a multiple of 32" : ""}${scaleup ? "" : ", never larger"}`, () => {
      const f = fit(w, h, new_shape, { scaleUp: scaleup, stride: auto ? 32 : undefined });
      expect([f.width, f.height]).toEqual(resized_wh);
      expect([f.padTop, f.canvasHeight - f.height - f.padTop, f.padLeft, f.canvasWidth - f.width - f.padLeft]).toEqual([top, bottom, left, right]);
      expect([f.canvasHeight, f.canvasWidth]).toEqual(out_hw);
      expect([f.left, f.top], "labels move by the unrounded half").toEqual([(left + right) / 2, (top + bottom) / 2]);
    });
  }

  test("keeps the longest side at a limit below the canvas, as rectangular validation wants", () => {
    expect(fit(640, 480, [256, 352], { longest: 320 })).toMatchObject({ scale: 0.5, width: 320, height: 240, left: 16, top: 8 });
  });
});

describe("toPicture", () => {
  table.scale_boxes.forEach(({ img1_shape, img0_shape, ratio_pad, boxes_in, boxes_out }: any, k: number) => {
    test(`maps boxes from ${img1_shape.join(" x ")} back to ${img0_shape.join(" x ")} as scale_boxes does`, () => {
      const gain = Math.min(img1_shape[0] / img0_shape[0], img1_shape[1] / img0_shape[1]);
      // without ratio_pad, scale_boxes rounds the padding of the unrounded size
      const [left, top] = ratio_pad?.[1] ?? [1, 0].map((axis) => roundHalfEven((img1_shape[axis] - img0_shape[axis] * gain) / 2 - 0.1));
      boxes_in.forEach(([x1, y1, x2, y2]: number[], i: number) => {
        const box = toPicture({ x1, y1, x2, y2 }, { scale: gain, left, top, width: img0_shape[1], height: img0_shape[0] });
        const want = boxes_out[i];
        [box.x1, box.y1, box.x2, box.y2].forEach((value, c) => expect(value, `case ${k}, box ${i}, corner ${c}`).toBeCloseTo(want[c], 4));
      });
    });
  });

  test("undoes toCanvas", () => {
    const f = fit(305, 241, [320, 320]), box = { x1: 3.5, y1: 0, x2: 305, y2: 200.25 };
    const back = toPicture(toCanvas(box, f), { ...f, width: 305, height: 241 });
    for (const key of ["x1", "y1", "x2", "y2"] as const) expect(back[key]).toBeCloseTo(box[key], 9);
  });
});

describe("resize", () => {
  const { cases } = fixture("resize.json");
  for (const { from: [w, h], to: [W, H], pixels } of cases) {
    test(`gives OpenCV's bytes for ${w} x ${h} -> ${W} x ${H}`, () => {
      const source = Uint8Array.from({ length: w * h * 3 }, (_, i) => ((i * i * 31 + i * 17) >> 3) & 255);
      const { pixels: got } = resize({ width: w, height: h, pixels: source }, W, H);
      expect([...got]).toEqual([...Buffer.from(pixels, "base64")]);
    });
  }

  test("returns a picture of the right size untouched", () => {
    const picture = pattern(9, 5);
    expect(resize(picture, 9, 5)).toBe(picture);
  });
});

describe("paste", () => {
  test("at its own size and a whole place copies, at a hair from it interpolates to the same pixels", () => {
    const picture = pattern(9, 5);
    for (const [left, top] of [[0, 0], [3, 2], [-4, -1], [7, 4]]) {
      const copied = blank(12, 8, 114), drawn = blank(12, 8, 114), width = 9 + 1e-9;
      paste(picture, copied, { left, top, width: 9, height: 5 });
      paste(picture, drawn, { left, top, width, height: 5 });
      expect(copied).toEqual(drawn);
    }
  });
});

describe("letterbox", () => {
  test("pads with 114 on the sides that are left over, and only there", () => {
    const picture = { ...pattern(20, 10), pixels: new Uint8Array(600).fill(7) };
    const { width, height, pixels } = letterbox(picture, fit(20, 10, [17, 16]));   // 16 x 8, rows 4 above and 5 below
    expect([width, height]).toEqual([16, 17]);
    const rows = Array.from({ length: 17 }, (_, y) => [...new Set(pixels.subarray(y * 48, y * 48 + 48))]);
    expect(rows).toEqual([...Array(4).fill([114]), ...Array(8).fill([7]), ...Array(5).fill([114])]);
  });
});
