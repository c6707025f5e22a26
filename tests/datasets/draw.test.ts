import { describe, expect, test } from "vitest";
import { drawBoxes, fill, grid, label, rectangle, textHeight, textWidth, write } from "../../datasets/draw.ts";
import { blank, overlay } from "../../datasets/letterbox.ts";
import type { Picture } from "../../datasets/sample.ts";

/** Red channel as rows of characters: "#" where something was drawn. */
const look = ({ width, height, pixels }: Picture): string[] =>
  Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => (pixels[3 * (y * width + x)] ? "#" : ".")).join(""));
const RED = [255, 0, 0] as const;

describe("rectangle", () => {
  test("draws its sides inwards, as thick as told", () => {
    const picture = blank(8, 6, 0);
    rectangle(picture, { x1: 1, y1: 1, x2: 7, y2: 5 }, RED);
    expect(look(picture)).toEqual(["........", ".######.", ".#....#.", ".#....#.", ".######.", "........"]);
    rectangle(picture, { x1: 1, y1: 1, x2: 7, y2: 5 }, RED, 2);
    expect(look(picture)).toEqual(["........", ".######.", ".######.", ".######.", ".######.", "........"]);
  });

  test("keeps to the picture, wherever the box is", () => {
    const picture = blank(4, 3, 0);
    rectangle(picture, { x1: -5, y1: 1, x2: 2, y2: 9 }, RED);
    expect(look(picture)).toEqual(["....", "##..", ".#.."]);
    rectangle(picture, { x1: 50, y1: 50, x2: 60, y2: 60 }, RED);
    rectangle(picture, { x1: -60, y1: -60, x2: -50, y2: -50 }, RED);
    expect(look(picture)).toEqual(["....", "##..", ".#.."]);
  });
});

describe("text", () => {
  const glyph = (character: string): string => { const picture = blank(5, 7, 0); write(picture, character, 0, 0, RED); return look(picture).join("\n"); };

  test("is legible: these are A, g and 5", () => {
    expect(glyph("A").split("\n")).toEqual([".###.", "#...#", "#...#", "#...#", "#####", "#...#", "#...#"]);
    expect(glyph("5").split("\n")).toEqual(["#####", "#....", "####.", "....#", "....#", "#...#", ".###."]);
    expect(glyph("g").split("\n")).toEqual([".....", ".####", "#...#", "#...#", ".####", "....#", ".###."]);
  });

  test("has a shape of its own for each character from ! to ~, none for the space, and ? for the rest", () => {
    const shapes = Array.from({ length: 94 }, (_, i) => glyph(String.fromCharCode(33 + i)));
    expect(new Set(shapes).size).toBe(94);
    expect(glyph(" ")).not.toContain("#");
    expect(glyph("é")).toBe(glyph("?"));
    expect(glyph("😀")).toBe(glyph("?"));
  });

  test("takes the room that textWidth and textHeight tell", () => {
    const picture = blank(60, 30, 0);
    write(picture, "M|M", 3, 4, RED, 2);
    const columns = look(picture).flatMap((row) => [...row].flatMap((c, x) => (c === "#" ? [x] : [])));
    expect([Math.min(...columns), Math.max(...columns) + 1]).toEqual([3, 3 + textWidth("M|M", 2)]);
    const rows = look(picture).flatMap((row, y) => (row.includes("#") ? [y] : []));
    expect([rows[0], rows.at(-1)! + 1]).toEqual([4, 4 + textHeight(2)]);
  });
});

describe("label", () => {
  test("stands above its point on a filled ground, and below where there is no room", () => {
    const picture = blank(20, 24, 0);
    label(picture, "I", 4, 20, [9, 9, 9]);
    expect(look(picture).map((row) => row.includes("#"))).toEqual(Array.from({ length: 24 }, (_, y) => y >= 11 && y < 20));
    const top = blank(20, 24, 0);
    label(top, "I", 4, 3, [9, 9, 9]);
    expect(look(top).findIndex((row) => row.includes("#"))).toBe(3);
  });

  test("writes dark on bright and bright on dark, and stays on the picture", () => {
    for (const [ground, ink] of [[250, 0], [10, 255]]) {
      const picture = blank(20, 12, 128);
      label(picture, "W", 19, 11, [ground, ground, ground]);
      const values = new Set(picture.pixels);
      expect(values).toEqual(new Set([128, ground, ink]));
    }
  });
});

describe("drawBoxes", () => {
  test("leaves the picture alone and returns one with boxes and names", () => {
    const picture = blank(60, 40, 0), copy = drawBoxes(picture, [{ class: 1, x1: 5, y1: 20, x2: 50, y2: 35, score: 0.876 }], { names: ["a", "b"] });
    expect(look(picture).join("")).not.toContain("#");
    const plain = drawBoxes(picture, [{ class: 1, x1: 5, y1: 20, x2: 50, y2: 35 }]);
    expect(copy.pixels).not.toEqual(plain.pixels);
    const expected = { ...plain, pixels: plain.pixels.slice() };
    label(expected, "b 0.88", 5, 20, [0, 194, 255]);
    expect(copy.pixels).toEqual(expected.pixels);
  });
});

describe("grid", () => {
  test("sets pictures row by row in cells of the largest, with gaps", () => {
    const white = blank(2, 1, 255), tall = blank(1, 2, 255);
    expect(look(grid([white, tall, white], { columns: 2, gap: 1, ground: 0 }))).toEqual(["#######".replaceAll("#", "."), ".##.#..", "....#..", ".......", ".##....", ".......", "......."]);
  });

  test("overlay cuts what sticks out on any side", () => {
    const canvas = blank(3, 3, 0), patch = blank(2, 2, 255);
    overlay(canvas, patch, -1, -1);
    overlay(canvas, patch, 2, 2);
    overlay(canvas, patch, 7, 0);
    expect(look(canvas)).toEqual(["#..", "...", "..#"]);
  });

  test("fill rounds its corners to whole pixels", () => {
    const picture = blank(4, 2, 0);
    fill(picture, { x1: 0.4, y1: -3, x2: 2.6, y2: 0.6 }, RED);
    expect(look(picture)).toEqual(["###.", "...."]);
  });
});
