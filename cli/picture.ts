/** What a detector sees, to look at: pictures with the boxes it found in colours and the true ones in thin white. */
import { blank } from "../datasets/letterbox.ts";
import { colourOf, fill, label, overlay, rectangle, resize, textHeight, textWidth, write, type Colour, type Picture } from "../datasets/index.ts";
import type { Detection, Truth } from "../detection/index.ts";

/** One picture with what is in it and what was found; boxes in its own pixels. */
export interface Scene {
  readonly picture: Picture;
  readonly truths: readonly Truth[];
  readonly detections: readonly Detection[];
}

const GROUND: Colour = [24, 26, 31], INK: Colour = [232, 234, 238], FAINT: Colour = [150, 154, 163], WHITE: Colour = [255, 255, 255];

/** How often a picture of this side is enlarged so that a label can be read on it. */
export const zoomOf = (side: number): number => Math.max(1, Math.round(384 / side));

/** One scene, enlarged first. */
export function drawScene({ picture, truths, detections }: Scene, names: readonly string[], zoom: number): Picture {
  const { width, height } = picture, enlarged = resize(picture, width * zoom, height * zoom);
  const canvas: Picture = { ...enlarged, pixels: enlarged.pixels.slice() };
  const scaled = <B extends Omit<Truth, "class">>(box: B): B => ({ ...box, x1: zoom * box.x1, y1: zoom * box.y1, x2: zoom * box.x2, y2: zoom * box.y2 });
  for (const truth of truths) dashed(canvas, scaled(truth));
  const large = zoom > 1 || Math.max(width, height) >= 800, thickness = large ? 3 : 2, text = large ? 2 : 1;
  for (const detection of [...detections].reverse()) { // the most confident on top
    const box = scaled(detection), colour = colourOf(detection.class);
    rectangle(canvas, box, colour, thickness);
    label(canvas, `${names[detection.class] ?? detection.class} ${detection.score.toFixed(2)}`, Math.round(box.x1), Math.round(box.y1), colour, text);
  }
  return canvas;
}

/** A line of one pixel, white on dark dashes, so that it shows on any ground. */
function dashed(canvas: Picture, { x1, y1, x2, y2 }: Omit<Truth, "class">): void {
  const [left, top, right, bottom] = [x1, y1, x2, y2].map(Math.round), DASH = 5;
  const dash = (i: number): Colour => (Math.floor(i / DASH) % 2 === 0 ? WHITE : [40, 40, 40]);
  for (let x = left; x < right; x += DASH) {
    const end = Math.min(x + DASH, right);
    fill(canvas, { x1: x, y1: top, x2: end, y2: top + 1 }, dash(x - left));
    fill(canvas, { x1: x, y1: bottom - 1, x2: end, y2: bottom }, dash(x - left));
  }
  for (let y = top; y < bottom; y += DASH) {
    const end = Math.min(y + DASH, bottom);
    fill(canvas, { x1: left, y1: y, x2: left + 1, y2: end }, dash(y - top));
    fill(canvas, { x1: right - 1, y1: y, x2: right, y2: end }, dash(y - top));
  }
}

export interface SheetOptions {
  readonly names: readonly string[];
  readonly title: string;
  readonly footer: string;
  readonly columns?: number;
}

const GAP = 6, MARGIN = 12, TEXT = 2;

/** A sheet of scenes, all enlarged alike. */
export function drawSheet(scenes: readonly Scene[], options: SheetOptions): Picture {
  const zoom = zoomOf(scenes[0].picture.width);
  return layOut(scenes.map((scene) => drawScene(scene, options.names, zoom)), options, { trueBoxes: true });
}

/**
 *   title
 *   tile tile tile tile
 *   ...
 *   [] name [] name ...   true box
 *   footer
 */
export function layOut(tiles: readonly Picture[], { names, title, footer, columns = Math.ceil(Math.sqrt(tiles.length)) }: SheetOptions, { trueBoxes = false }: { trueBoxes?: boolean } = {}): Picture {
  const width = Math.max(...tiles.map((tile) => tile.width)), height = Math.max(...tiles.map((tile) => tile.height));
  const rows = Math.ceil(tiles.length / columns), line = textHeight(TEXT) + 2 * MARGIN;
  const inside = columns * width + (columns - 1) * GAP, legend = legendOf(names, inside, trueBoxes);
  const top = line, below = top + rows * (height + GAP) - GAP + MARGIN;
  const sheet = blank(inside + 2 * MARGIN, below + legend.height + line, 0);
  fill(sheet, { x1: 0, y1: 0, x2: sheet.width, y2: sheet.height }, GROUND);
  write(sheet, fitted(title, inside), MARGIN, MARGIN, INK, TEXT);
  tiles.forEach((tile, i) => overlay(sheet, tile, MARGIN + (i % columns) * (width + GAP), top + Math.floor(i / columns) * (height + GAP)));
  legend.draw(sheet, MARGIN, below);
  write(sheet, fitted(footer, inside), MARGIN, below + legend.height + 2, FAINT, TEXT);
  return sheet;
}

const fitted = (text: string, width: number): string => (textWidth(text, TEXT) <= width ? text : `${text.slice(0, Math.max(0, Math.floor(width / (6 * TEXT)) - 2))}..`);

/** A square of its colour before each class, then what the dashes mean if there are any; broken into lines where it must be. */
function legendOf(names: readonly string[], width: number, trueBoxes: boolean): { height: number; draw(sheet: Picture, x: number, y: number): void } {
  const square = textHeight(TEXT), line = square + 10, entries = [...names.map((name, c) => ({ name, colour: colourOf(c) })), ...(trueBoxes ? [{ name: "true box", colour: undefined }] : [])];
  let x = 0, y = 0;
  const placed = entries.map(({ name, colour }) => {
    const wide = square + 8 + textWidth(name, TEXT) + 28;
    if (x > 0 && x + wide > width) { x = 0; y += line; }
    const at = { name, colour, x, y };
    x += wide;
    return at;
  });
  return {
    height: y + line,
    draw(sheet, left, top) {
      for (const { name, colour, x, y } of placed) {
        const box = { x1: left + x, y1: top + y, x2: left + x + square, y2: top + y + square };
        if (colour) fill(sheet, box, colour); else dashed(sheet, box);
        write(sheet, name, left + x + square + 8, top + y, INK, TEXT);
      }
    },
  };
}
