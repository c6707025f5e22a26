/** Labelled pictures on one sheet, to see at a glance whether boxes lie where they should. */
import { colourOf, label, rectangle, resize, toCanvas, type Picture, type Sample } from "../datasets/index.ts";
import { layOut } from "./picture.ts";

export interface ContactSheetOptions {
  readonly names: readonly string[];
  readonly title: string;
  readonly footer: string;
  /** Longest side of a picture on the sheet. Default 400. */
  readonly cell?: number;
}

/** The picture at the size of the sheet, its boxes in the colours of their classes, its name at the bottom. */
export function drawLabelled({ name, picture, boxes }: Sample, cell: number): Picture {
  const scale = cell / Math.max(picture.width, picture.height), side = (length: number) => Math.max(1, Math.round(length * scale));
  const small = resize(picture, side(picture.width), side(picture.height)), canvas = { ...small, pixels: small.pixels.slice() };
  for (const box of boxes) rectangle(canvas, toCanvas(box, { scale, left: 0, top: 0 }), colourOf(box.class), 2);
  label(canvas, name, 0, canvas.height, [24, 26, 31]);
  return canvas;
}

/** A grid of labelled pictures, with the colours of the classes below. */
export const drawContactSheet = (samples: readonly Sample[], { cell = 400, ...options }: ContactSheetOptions): Picture =>
  layOut(samples.map((sample) => drawLabelled(sample, cell)), options);
