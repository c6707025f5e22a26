/**
 * A data set that needs no files: pictures of balls, cubes and rings among clutter, drawn when they are asked for.
 *
 * Picture `index` of a split is a pure function of (seed, split, index). In the order of painting:
 *
 *   1. things   2 to 6 solids, each 0.2 to 0.66 of the side, and 1 to 4 leaves or bars; the order of painting decides who is seen where
 *   2. cull     a solid of which less than 40 % shows loses the clutter before it, or goes: a box always has something to find in it
 *   3. ground   textured, out of focus or sharp
 *   4. light    Lambert + highlight + ambient from one direction, a soft shadow on everything behind
 *   5. camera   every pixel is the mean of samples at its four corners; then blur, a gradient of light, a colour cast and noise
 *
 * Boxes go around the silhouettes of whole things within the picture, hidden parts included, as people draw them.
 */
import { Random } from "../engine/random.ts";
import { expose, paintScene } from "./light.ts";
import { batches, type Batched, type BatchOptions } from "./loader.ts";
import type { Batch, DetectionSet, Picture } from "./sample.ts";
import { CLASSES, cull, FEWEST, placeThings, type Thing } from "./scene.ts";
import { drawPalette } from "./texture.ts";

export interface ShapesOptions {
  readonly split?: "train" | "val" | "test";
  /** How many pictures; they do not depend on it. Default 2000 for train, else 500. */
  readonly size?: number;
  /** Side of the square pictures in pixels. Default 128. */
  readonly imgsz?: number;
  readonly seed?: number;
}

const SPLITS = ["train", "val", "test"] as const;

/**
 *   for await (const { images, boxes } of shapes({ split: "train", imgsz: 128 }).batches(8)) ...
 *
 * `batches` takes the pictures at their own size unless told otherwise.
 */
export function shapes({ split = "train", size = split === "train" ? 2000 : 500, imgsz = 128, seed = 0 }: ShapesOptions = {}): DetectionSet & Batched {
  if (!SPLITS.includes(split)) throw new RangeError(`shapes: split must be one of ${SPLITS.join(", ")}, got "${split as string}"`);
  if (!Number.isInteger(size) || size < 1) throw new RangeError(`shapes: size must be a whole number of at least 1, got ${size}`);
  if (!Number.isInteger(imgsz) || imgsz < 32 || imgsz > 4096) throw new RangeError(`shapes: imgsz must be a whole number from 32 to 4096, got ${imgsz}`);
  const name = `shapes ${split}`;
  const set: DetectionSet & Batched = {
    name, classes: CLASSES, size, problems: [],
    async sample(index) {
      if (!Number.isInteger(index) || index < 0 || index >= size) throw new RangeError(`shapes: sample ${index} of split "${split}" was asked for, which has ${size}`);
      const { picture, things } = drawShapes(seed, split, index, imgsz);
      return { name: `${name} ${index}`, picture, boxes: things.map(({ box }) => box) };
    },
    batches(how: number | BatchOptions): AsyncIterable<Batch> {
      return batches(set, { imgsz, ...(typeof how === "number" ? { batch: how } : how) });
    },
  };
  return set;
}

/** One picture, and its solids from back to front with the share of each that shows. */
export function drawShapes(seed: number, split: (typeof SPLITS)[number], index: number, side: number): { picture: Picture; things: readonly (Thing & { visible: number })[] } {
  for (let attempt = 0; ; attempt++) {
    const random = new Random(seed, SPLITS.indexOf(split), index, attempt);
    const palette = drawPalette(random);
    const scene = cull(placeThings(random, palette, side), side);
    const things = scene.things.map((thing, k) => ({ ...thing, visible: scene.shown[k + 1] / thing.points })).filter((thing) => thing.class >= 0);
    if (things.length < FEWEST) continue;
    return { picture: expose(random, paintScene(random, palette, scene, side), side), things };
  }
}
