/**
 * Samples -> batches. Order and variations depend on (seed, epoch, index) only: not on what was read ahead, nor on how the
 * pictures before went.
 */
import { Random } from "../engine/random.ts";
import { augmentations, augmented, type Augment, type Placed } from "./augment.ts";
import { fit, type FitOptions } from "./letterbox.ts";
import type { Batch, DetectionSet, Origin, Sample } from "./sample.ts";

export interface BatchOptions {
  readonly batch: number;
  /** Side of the square canvas, or [height, width]. Default 640. */
  readonly imgsz?: number | readonly [height: number, width: number];
  readonly shuffle?: boolean;
  readonly seed?: number;
  readonly epoch?: number;
  readonly augment?: Augment;
  /** Leave out a last batch that is not full. */
  readonly dropLast?: boolean;
  /** Pictures that are decoded while the consumer works. Default 1. */
  readonly ahead?: number;
  readonly fit?: Omit<FitOptions, "stride">;
}

/** What one can loop over: `for await (const { images, boxes } of set.batches(8))`. */
export interface Batched {
  batches(options: number | BatchOptions): AsyncIterable<Batch>;
}

/** Streams of one seed. */
const ORDER = 1, VARIATION = 2;

/**
 * One epoch of a set. A broken sample is passed over and the next one takes its place, so only the last batch can be short.
 * An origin's scale, left and top describe the picture before a left-right flip.
 */
export async function* batches(set: DetectionSet, options: BatchOptions): AsyncGenerator<Batch, void, undefined> {
  const { batch, imgsz = 640, shuffle = false, seed = 0, epoch = 0, augment = augmentations.none, dropLast = false, ahead = 1, fit: fitting } = options;
  const canvas = typeof imgsz === "number" ? [imgsz, imgsz] as const : imgsz;
  for (const [name, value, least] of [["batch", batch, 1], ["imgsz", canvas[0], 1], ["imgsz", canvas[1], 1], ["ahead", ahead, 0]] as const) {
    if (!Number.isInteger(value) || value < least) throw new RangeError(`batches: ${name} must be a whole number of at least ${least}, got ${value}`);
  }

  const order = shuffle ? new Random(seed, ORDER, epoch).permutation(set.size) : Array.from({ length: set.size }, (_, i) => i);
  const basket = new Basket(Math.min(batch, set.size), canvas[0], canvas[1]);
  let good = 0;
  for await (const { index, sample } of readAhead(set, order, ahead)) {
    if (!sample) continue;
    good++;
    const placement = fit(sample.picture.width, sample.picture.height, canvas, fitting);
    basket.add(index, sample, augmented(sample, placement, augment, new Random(seed, VARIATION, epoch, index)));
    if (basket.count === batch) yield basket.empty();
  }
  if (good === 0) throw new Error(`batches: none of the ${set.size} pictures of ${set.name} can be read${set.problems.length > 0 ? ` (first problem: ${set.problems[0]})` : ""}`);
  if (basket.count > 0 && !dropLast) yield basket.empty();
}

/** Samples in the given order; while one is in use, `ahead` more are on their way. */
async function* readAhead(set: DetectionSet, order: readonly number[], ahead: number): AsyncGenerator<{ index: number; sample: Sample | undefined }, void, undefined> {
  const waiting: Promise<Sample | undefined>[] = [];
  for (let taken = 0, asked = 0; taken < order.length; taken++) {
    for (; asked < order.length && asked <= taken + ahead; asked++) {
      const sample = set.sample(order[asked]);
      sample.catch(() => {});                                                             // reported when its turn comes, or never if the consumer leaves
      waiting.push(sample);
    }
    yield { index: order[taken], sample: await waiting.shift() };
  }
}

/** Collects placed samples until they are a batch. */
class Basket {
  count = 0;
  private data: Float32Array | undefined;
  private origins: Origin[] = [];
  private readonly columns = { image: [] as number[], class: [] as number[], xywh: [] as number[] };

  constructor(private readonly room: number, private readonly H: number, private readonly W: number) {}

  add(index: number, { name, picture }: Sample, placed: Placed): void {
    const { H, W } = this, size = H * W * 3;
    const data = this.data ??= new Float32Array(this.room * size);
    const { pixels } = placed.picture;
    for (let i = 0, to = this.count * size; i < size; i++, to++) data[to] = pixels[i] / 255;
    for (const { class: c, x1, y1, x2, y2 } of placed.boxes) {
      this.columns.image.push(this.count);
      this.columns.class.push(c);
      this.columns.xywh.push((x1 + x2) / 2 / W, (y1 + y2) / 2 / H, (x2 - x1) / W, (y2 - y1) / H);
    }
    this.origins.push({ index, name, width: picture.width, height: picture.height, scale: placed.scale, left: placed.left, top: placed.top });
    this.count++;
  }

  empty(): Batch {
    const { count, H, W, columns } = this;
    const batch: Batch = {
      images: { shape: [count, H, W, 3], data: this.data!.subarray(0, count * H * W * 3) },
      boxes: { image: Int32Array.from(columns.image), class: Int32Array.from(columns.class), xywh: Float32Array.from(columns.xywh) },
      origins: this.origins,
    };
    this.count = 0;
    this.data = undefined;                                                                // the consumer's now
    this.origins = [];
    columns.image = []; columns.class = []; columns.xywh = [];
    return batch;
  }
}
