import { describe, expect, test } from "vitest";
import { drawScene, drawSheet, zoomOf, type Scene } from "../../cli/picture.ts";
import { colourOf, type Picture } from "../../datasets/index.ts";

const grey = (width: number, height: number): Picture => ({ width, height, pixels: new Uint8Array(width * height * 3).fill(100) });
const pixel = ({ width, pixels }: Picture, x: number, y: number): number[] => [...pixels.subarray(3 * (y * width + x), 3 * (y * width + x) + 3)];

const scene: Scene = {
  picture: grey(64, 64),
  truths: [{ class: 0, x1: 40, y1: 40, x2: 60, y2: 60 }],
  detections: [{ class: 2, score: 0.9, x1: 8, y1: 20, x2: 30, y2: 36 }],
};

describe("a drawn scene", () => {
  test("is enlarged so that labels can be read", () => {
    expect([64, 128, 320, 640, 2000].map(zoomOf)).toEqual([6, 3, 1, 1, 1]);
    const drawn = drawScene(scene, ["a", "b", "c"], 6);
    expect([drawn.width, drawn.height]).toEqual([384, 384]);
  });

  test("has detections in the colour of their class, with a label above, and true boxes in white dashes", () => {
    const drawn = drawScene(scene, ["a", "b", "c"], 6), colour = [...colourOf(2)];
    for (const [x, y] of [[48, 160], [179, 160], [100, 120], [100, 215]]) expect(pixel(drawn, x, y)).toEqual(colour);
    expect(pixel(drawn, 48, 118)).toEqual(colour); // ground of the label
    expect(pixel(drawn, 240, 240)).toEqual([255, 255, 255]);
    expect(pixel(drawn, 245, 240)).toEqual([40, 40, 40]);
    expect(pixel(drawn, 300, 300)).toEqual([100, 100, 100]);
  });

  test("leaves the picture that it was drawn on as it was", () => {
    drawScene(scene, [], 1);
    expect(scene.picture.pixels.every((value) => value === 100)).toBe(true);
  });

  test("takes boxes that stick out, and classes without a name", () => {
    const wild = { ...scene, detections: [{ class: 77, score: 1, x1: -50, y1: -50, x2: 500, y2: 20 }] };
    expect(drawScene(wild, [], 2).width).toBe(128);
  });
});

describe("a sheet of scenes", () => {
  const options = { names: ["ball", "cube"], title: "title", footer: "footer" };

  test("is a grid with a title above and a legend below", () => {
    const sheet = drawSheet(Array.from({ length: 16 }, () => ({ ...scene, picture: grey(128, 128) })), options);
    expect(sheet.width).toBe(4 * 384 + 3 * 6 + 2 * 12);
    const colours = new Set<string>();
    for (let y = sheet.height - 62; y < sheet.height; y++) for (let x = 0; x < sheet.width; x++) colours.add(pixel(sheet, x, y).join());
    for (const c of [0, 1]) expect(colours.has(colourOf(c).join())).toBe(true);
    expect(colours.has(colourOf(2).join())).toBe(false);
  });

  test("breaks a long legend into lines, and cuts a title that does not fit", () => {
    const few = drawSheet([scene], options), many = drawSheet([scene], { ...options, names: Array.from({ length: 20 }, (_, i) => `a class of number ${i}`), title: "t".repeat(500) });
    expect(many.width).toBe(few.width);
    expect(many.height).toBeGreaterThan(few.height + 10 * 20);
  });
});
