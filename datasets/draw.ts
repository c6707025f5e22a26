/** Drawing on pictures, in place: boxes, text and sheets of pictures, for people who want to see what a detector saw. */
import { blank, overlay } from "./letterbox.ts";
import type { ObjectBox, Picture } from "./sample.ts";

export type Colour = readonly [r: number, g: number, b: number];

/** Colours that stay apart, one per class, then again from the start. */
const PALETTE: readonly Colour[] = [
  [255, 56, 56], [0, 194, 255], [255, 178, 29], [72, 249, 10], [132, 56, 255], [255, 149, 200],
  [0, 212, 187], [207, 210, 49], [52, 69, 147], [255, 112, 31], [146, 204, 23], [203, 56, 255],
];
export const colourOf = (index: number): Colour => PALETTE[index % PALETTE.length];

/** Fills the pixels of [x1, x2) x [y1, y2) that are on the picture. */
export function fill({ width, height, pixels }: Picture, { x1, y1, x2, y2 }: { x1: number; y1: number; x2: number; y2: number }, [r, g, b]: Colour): void {
  const left = Math.max(0, Math.round(x1)), right = Math.min(width, Math.round(x2)), bottom = Math.min(height, Math.round(y2));
  for (let y = Math.max(0, Math.round(y1)); y < bottom; y++) {
    for (let x = left, at = 3 * (y * width + left); x < right; x++, at += 3) {
      pixels[at] = r;
      pixels[at + 1] = g;
      pixels[at + 2] = b;
    }
  }
}

/** The four sides of a box, `thickness` pixels wide, grown inwards. */
export function rectangle(picture: Picture, { x1, y1, x2, y2 }: Pick<ObjectBox, "x1" | "y1" | "x2" | "y2">, colour: Colour, thickness = 1): void {
  fill(picture, { x1, y1, x2, y2: Math.min(y2, y1 + thickness) }, colour);
  fill(picture, { x1, y1: Math.max(y1, y2 - thickness), x2, y2 }, colour);
  fill(picture, { x1, y1, x2: Math.min(x2, x1 + thickness), y2 }, colour);
  fill(picture, { x1: Math.max(x1, x2 - thickness), y1, x2, y2 }, colour);
}

/** A character is 5 x 7 dots in a cell of 6 x 8, each dot `scale` pixels. */
export const textWidth = (text: string, scale = 1): number => Math.max(0, 6 * [...text].length - 1) * scale;
export const textHeight = (scale = 1): number => 7 * scale;

/** Text with its upper left corner at x, y; characters outside ASCII show as "?". */
export function write(picture: Picture, text: string, x: number, y: number, colour: Colour, scale = 1): void {
  [...text].forEach((character, i) => {
    const code = character.codePointAt(0)!;
    const glyph = 10 * ((code >= 32 && code < 127 ? code : 63) - 32);
    for (let column = 0; column < 5; column++) {
      const dots = parseInt(FONT.slice(glyph + 2 * column, glyph + 2 * column + 2), 16);
      for (let row = 0; row < 7; row++) {
        if (!(dots >> row & 1)) continue;
        const x1 = x + (6 * i + column) * scale, y1 = y + row * scale;
        fill(picture, { x1, y1, x2: x1 + scale, y2: y1 + scale }, colour);
      }
    }
  });
}

/** Text on a filled ground, black or white by what reads better; kept on the picture. Without `y` room above, it hangs below y. */
export function label(picture: Picture, text: string, x: number, y: number, ground: Colour, scale = 1): void {
  const width = textWidth(text, scale) + 2 * scale, height = textHeight(scale) + 2 * scale;
  const left = Math.max(0, Math.min(x, picture.width - width)), top = y - height >= 0 ? y - height : Math.max(0, y);
  fill(picture, { x1: left, y1: top, x2: left + width, y2: top + height }, ground);
  const bright = 0.299 * ground[0] + 0.587 * ground[1] + 0.114 * ground[2];
  write(picture, text, left + scale, top + scale, bright > 140 ? [0, 0, 0] : [255, 255, 255], scale);
}

/** A copy with all boxes and, where `names` has them, their names (and scores) above. */
export function drawBoxes(picture: Picture, boxes: readonly (ObjectBox & { readonly score?: number })[], { names, thickness = 1, scale = 1 }: { names?: readonly string[]; thickness?: number; scale?: number } = {}): Picture {
  const copy = { ...picture, pixels: picture.pixels.slice() };
  for (const box of boxes) rectangle(copy, box, colourOf(box.class), thickness);
  if (names) {
    for (const box of boxes) {
      const name = names[box.class] ?? `class ${box.class}`;
      label(copy, box.score === undefined ? name : `${name} ${box.score.toFixed(2)}`, box.x1, box.y1, colourOf(box.class), scale);
    }
  }
  return copy;
}

/** A sheet of pictures, row by row, in cells as large as the largest. */
export function grid(pictures: readonly Picture[], { columns = Math.ceil(Math.sqrt(pictures.length)), gap = 2, ground = 255 }: { columns?: number; gap?: number; ground?: number } = {}): Picture {
  const width = Math.max(0, ...pictures.map((picture) => picture.width)), height = Math.max(0, ...pictures.map((picture) => picture.height));
  const rows = Math.ceil(pictures.length / columns);
  const sheet = blank(columns * (width + gap) + gap, rows * (height + gap) + gap, ground);
  pictures.forEach((picture, i) => overlay(sheet, picture, gap + (i % columns) * (width + gap), gap + Math.floor(i / columns) * (height + gap)));
  return sheet;
}

/** ASCII 32..126: per character five columns of two hexadecimal digits, top dot in the lowest bit. */
const FONT =
  "0000000000" + "00005f0000" + "0007000700" + "147f147f14" + "242a7f2a12" + "2313086462" + "3649562050" + "0005030000" +   //  !"#$%&'
  "001c224100" + "0041221c00" + "14083e0814" + "08083e0808" + "0050300000" + "0808080808" + "0060600000" + "2010080402" +   // ()*+,-./
  "3e5149453e" + "00427f4000" + "4261514946" + "2141454b31" + "1814127f10" + "2745454539" + "3c4a494930" + "0171090503" +   // 01234567
  "3649494936" + "064949291e" + "0036360000" + "0056360000" + "0814224100" + "1414141414" + "0041221408" + "0201510906" +   // 89:;<=>?
  "324979413e" + "7e1111117e" + "7f49494936" + "3e41414122" + "7f4141221c" + "7f49494941" + "7f09090901" + "3e4149497a" +   // @ABCDEFG
  "7f0808087f" + "00417f4100" + "2040413f01" + "7f08142241" + "7f40404040" + "7f020c027f" + "7f0408107f" + "3e4141413e" +   // HIJKLMNO
  "7f09090906" + "3e4151215e" + "7f09192946" + "4649494931" + "01017f0101" + "3f4040403f" + "1f2040201f" + "3f4038403f" +   // PQRSTUVW
  "6314081463" + "0708700807" + "6151494543" + "007f414100" + "0204081020" + "0041417f00" + "0402010204" + "4040404040" +   // XYZ[\]^_
  "0001020400" + "2054545478" + "7f48444438" + "3844444420" + "384444487f" + "3854545418" + "087e090102" + "0c5252523e" +   // `abcdefg
  "7f08040478" + "00447d4000" + "2040443d00" + "7f10284400" + "00417f4000" + "7c04180478" + "7c08040478" + "3844444438" +   // hijklmno
  "7c14141408" + "081414187c" + "7c08040408" + "4854545420" + "043f444020" + "3c4040207c" + "1c2040201c" + "3c4030403c" +   // pqrstuvw
  "4428102844" + "0c5050503c" + "4464544c44" + "0008364100" + "00007f0000" + "0041360800" + "0804081008";                  // xyz{|}~
