/**
 * Random variations of pictures and their boxes, each a pure function of the random stream it is given. In the order of the reference:
 *
 *   1. load      the longest side becomes that of the canvas
 *   2. lay out   four pictures as a mosaic of twice the side, or one with grey around it
 *   3. warp      rotation, scale, shear, perspective, translation, and the cut to the canvas
 *   4. tint      hue, saturation, value
 *   5. flip      upside down, then left to right
 *
 * `draw` makes the choices, `layOut` says from sizes alone where everything goes, and then pixels (`render`) and boxes (`placeBoxes`) go there
 * separately, so that they may do so on different threads.
 */
import type { Random } from "../engine/random.ts";
import { tint } from "./hsv.ts";
import { blank, clip, fit, overlay, PADDING, resize, type FitOptions } from "./letterbox.ts";
import { centreOf, cornersOf, TILES } from "./mosaic.ts";
import { matrixOf, warp, warpBoxes, type Matrix, type View } from "./perspective.ts";
import type { ObjectBox, Picture } from "./sample.ts";

/** What may vary, and how much. A field at 0 does nothing; a record of zeros is the plain letterbox. */
export interface Augment {
  /** Probability of four pictures in the place of one. */
  readonly mosaic: number;
  /** Rotation by U(-degrees, degrees). */
  readonly degrees: number;
  /** The centre moves by up to this share of the canvas, each way. */
  readonly translate: number;
  /** Size times U(1 - scale, 1 + scale). */
  readonly scale: number;
  /** Degrees of shear, each way. */
  readonly shear: number;
  /** The two lowest entries of the matrix, per pixel: 0.001 is a lot. */
  readonly perspective: number;
  /** Hue, saturation and value times U(1 - gain, 1 + gain). */
  readonly hue: number;
  readonly saturation: number;
  readonly value: number;
  /** Probability of left <-> right. */
  readonly flip: number;
  /** Probability of top <-> bottom. */
  readonly upsideDown: number;
}

const none: Augment = { mosaic: 0, degrees: 0, translate: 0, scale: 0, shear: 0, perspective: 0, hue: 0, saturation: 0, value: 0, flip: 0, upsideDown: 0 };

export const augmentations = {
  none,
  /** "Horizontal flip", which is all that the SNN-YOLOv3 paper names. */
  flip: { ...none, flip: 0.5 },
  /** default.yaml of SpikeYOLO. */
  spikeyolo: { ...none, mosaic: 1, translate: 0.1, scale: 0.5, hue: 0.015, saturation: 0.7, value: 0.4, flip: 0.5 },
} as const satisfies Record<string, Augment>;

/** The choices for one picture. */
export interface Variation {
  readonly view: View;
  /** Whether the picture is seen through the view at all: a mosaic always is. */
  readonly warped: boolean;
  /** Absent where no colour changes. */
  readonly gains?: readonly [hue: number, saturation: number, value: number];
  readonly flip: boolean;
  readonly upsideDown: boolean;
  /** Where the centre of the mosaic is, in shares of where it may be; absent: no mosaic. */
  readonly mosaic?: readonly [u: number, v: number];
}

/** Draws the same count of random numbers whatever the record says, so that one field does not change what the others do. */
export function draw({ mosaic, degrees, translate, scale, shear, perspective, hue, saturation, value, flip, upsideDown }: Augment, random: Random): Variation {
  const around = (gain: number): number => gain * random.uniform(-1, 1), chance = (share: number): boolean => random.uniform() < share;
  const zoom = 1 + around(scale), centre = [0.5 + around(translate), 0.5 + around(translate)] as const;
  const gains = [1 + around(hue), 1 + around(saturation), 1 + around(value)] as const;
  const mirrored = chance(flip), turned = chance(upsideDown);
  const view: View = { scale: zoom, centre, angle: around(degrees), shear: [around(shear), around(shear)], perspective: [around(perspective), around(perspective)] };
  const tiled = chance(mosaic), around4 = [random.uniform(), random.uniform()] as const;
  const warped = tiled || [degrees, translate, scale, shear, perspective].some((gain) => gain !== 0);
  return {
    view, warped, flip: mirrored, upsideDown: turned,
    ...(hue !== 0 || saturation !== 0 || value !== 0 ? { gains } : {}),
    ...(tiled ? { mosaic: around4 } : {}),
  };
}

/** How many pictures a variation takes. */
export const tilesIn = ({ mosaic }: Variation): number => (mosaic ? TILES : 1);

export interface Tile { readonly picture: Picture; readonly boxes: readonly ObjectBox[] }
export interface Size { readonly width: number; readonly height: number }

interface TilePlace {
  /** The size that the picture is resized to. */
  readonly loaded: Size;
  /** Its upper left corner on the sheet, in whole pixels, and where boxes go: x' = x scaleX + left. */
  readonly corner: readonly [x: number, y: number];
  readonly scaleX: number;
  readonly scaleY: number;
  readonly left: number;
  readonly top: number;
}

export interface Layout {
  readonly canvas: Size;
  readonly tiles: readonly TilePlace[];
  /** What the tiles lie on before the warp; without one it is the canvas. */
  readonly sheet: Size;
  readonly matrix?: Matrix;
  readonly variation: Variation;
}

/** Where pictures of these sizes go: one, or four where the variation is a mosaic. `fitting` is for pictures that are not moved. */
export function layOut(sizes: readonly Size[], canvas: Size, variation: Variation, fitting: FitOptions = {}): Layout {
  const { mosaic, view, warped } = variation;
  if (!warped) {
    const place = fit(sizes[0].width, sizes[0].height, [canvas.height, canvas.width], fitting), { scale, left, top } = place;
    return { canvas, sheet: canvas, variation, tiles: [{ loaded: { width: place.width, height: place.height }, corner: [place.padLeft, place.padTop], scaleX: scale, scaleY: scale, left, top }] };
  }
  const loaded = sizes.map((size) => loadedSize(size, canvas));
  const tile = (k: number, corner: readonly [number, number], left: number, top: number): TilePlace =>
    ({ loaded: loaded[k], corner, scaleX: loaded[k].width / sizes[k].width, scaleY: loaded[k].height / sizes[k].height, left, top });
  const sheet = mosaic ? { width: 2 * canvas.width, height: 2 * canvas.height } : canvas, matrix = matrixOf(view, sheet, canvas);
  if (mosaic) return { canvas, sheet, matrix, variation, tiles: cornersOf(loaded, centreOf(mosaic, canvas)).map(([x, y], k) => tile(k, [x, y], x, y)) };
  const { padLeft, padTop, left, top } = fit(loaded[0].width, loaded[0].height, [canvas.height, canvas.width]);
  return { canvas, sheet, matrix, variation, tiles: [tile(0, [padLeft, padTop], left, top)] };
}

/** ultralytics' load_image: the side that fills the canvas fills it exactly, the other is rounded up. */
function loadedSize({ width, height }: Size, canvas: Size): Size {
  const scale = Math.min(canvas.width / width, canvas.height / height);
  return { width: Math.min(Math.ceil(width * scale), canvas.width), height: Math.min(Math.ceil(height * scale), canvas.height) };
}

/** A new picture of the size of the canvas. Pictures may come resized already. */
export function render(pictures: readonly Picture[], { canvas, sheet, tiles, matrix, variation: { gains, flip, upsideDown } }: Layout): Picture {
  const laid = blank(sheet.width, sheet.height, PADDING);
  tiles.forEach(({ loaded, corner: [x, y] }, k) => overlay(laid, resize(pictures[k], loaded.width, loaded.height), x, y));
  const picture = matrix ? warp(laid, matrix, canvas, PADDING) : laid;
  if (gains) tint(picture, ...gains);
  if (upsideDown) turnOver(picture);
  if (flip) mirror(picture);
  return picture;
}

/** Boxes of each tile, in pixels of its picture -> boxes on the canvas. */
export function placeBoxes(boxes: readonly (readonly ObjectBox[])[], { canvas, sheet, tiles, matrix, variation: { view, flip, upsideDown } }: Layout): ObjectBox[] {
  const { width, height } = canvas;
  const laid = tiles.flatMap(({ scaleX, scaleY, left, top }, k) => boxes[k].map((box) => ({ ...box, x1: box.x1 * scaleX + left, y1: box.y1 * scaleY + top, x2: box.x2 * scaleX + left, y2: box.y2 * scaleY + top })));
  const onSheet = (tiles.length > 1 || !matrix ? laid.map((box) => clip(box, sheet.width, sheet.height)) : laid).filter(({ x1, y1, x2, y2 }) => x2 > x1 && y2 > y1);
  const placed = matrix ? warpBoxes(onSheet, matrix, view.scale, canvas) : onSheet;
  const turned = upsideDown ? placed.map((box) => ({ ...box, y1: height - box.y2, y2: height - box.y1 })) : placed;
  return flip ? turned.map((box) => ({ ...box, x1: width - box.x2, x2: width - box.x1 })) : turned;
}

/** One sample on its canvas, alone: all of the above, where there is nobody to share a mosaic with but itself. */
export function augmented({ picture, boxes }: Tile, canvas: Size, augment: Augment, random: Random): Tile & { origin: ReturnType<typeof originOf> } {
  const variation = draw(augment, random), tiles = Array.from({ length: tilesIn(variation) }, () => picture), layout = layOut(tiles, canvas, variation);
  return { picture: render(tiles, layout), boxes: placeBoxes(tiles.map(() => boxes), layout), origin: originOf(layout) };
}

/** Of the first picture, before flips: x on the canvas = x in the picture * scale + left, as far as rotation and the like leave that true. */
export function originOf({ tiles: [{ scaleX, left, top }], matrix, variation: { view } }: Layout): { scale: number; left: number; top: number } {
  if (!matrix) return { scale: scaleX, left, top };
  const [a, b, c, d, e, f, g, h, i] = matrix, z = g * left + h * top + i;
  return { scale: scaleX * view.scale, left: (a * left + b * top + c) / z, top: (d * left + e * top + f) / z };
}

function mirror({ width, height, pixels }: Picture): void {
  for (let y = 0; y < height; y++) {
    for (let left = 3 * y * width, right = left + 3 * (width - 1); left < right; left += 3, right -= 3) {
      for (let c = 0; c < 3; c++) { const kept = pixels[left + c]; pixels[left + c] = pixels[right + c]; pixels[right + c] = kept; }
    }
  }
}

function turnOver({ width, height, pixels }: Picture): void {
  const stride = 3 * width;
  for (let above = 0, below = height - 1; above < below; above++, below--) {
    const kept = pixels.slice(above * stride, (above + 1) * stride);
    pixels.copyWithin(above * stride, below * stride, (below + 1) * stride);
    pixels.set(kept, below * stride);
  }
}
