/**
 * Samples -> batches. Order and variations depend on (seed, epoch, index) only: not on what was read ahead, by how many threads or from which
 * memory, nor on how the pictures before went.
 */
import { Random } from "../engine/random.ts";
import { augmentations, draw, layOut, originOf, placeBoxes, render, tilesIn, type Augment, type Size, type Variation } from "./augment.ts";
import { BrokenImage } from "./image.ts";
import { doJob, type Done, type Job, type Kept } from "./jobs.ts";
import type { FitOptions } from "./letterbox.ts";
import type { Batch, DetectionSet, ObjectBox, Origin, PictureFiles } from "./sample.ts";

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
  /** Number of the first batch: those before it are the same as ever, but not made. Default 0. */
  readonly from?: number;
  /** Pictures that are on their way while the consumer works. Default: 1, with workers two batches. */
  readonly ahead?: number;
  /** Threads that read and vary the pictures of sets that are files. Default 0: the caller's, between two batches. */
  readonly workers?: number;
  /** Bytes of memory for pictures of such sets, which then are decoded only once. Default 0. */
  readonly cache?: number;
  /** Throw at a broken file, instead of going on without it. */
  readonly strict?: boolean;
  readonly fit?: Omit<FitOptions, "stride">;
}

/** What one can loop over: `for await (const { images, boxes } of set.batches(8))`. */
export interface Batched {
  batches(options: number | BatchOptions): AsyncIterable<Batch>;
}

/** Streams of one seed. */
const ORDER = 1, VARIATION = 2, PARTNERS = 3;

/**
 * One epoch of a set. A broken sample is passed over and the next one takes its place, so only the last batch can be short.
 * An origin's scale, left and top describe the (first) picture before flips.
 */
export async function* batches(set: DetectionSet, options: BatchOptions): AsyncGenerator<Batch, void, undefined> {
  const { batch, imgsz = 640, shuffle = false, seed = 0, epoch = 0, augment = augmentations.none, dropLast = false, from = 0, workers = 0, cache = 0, strict = false, fit: fitting = {}, ahead = workers > 0 ? 2 * batch : 1 } = options;
  const canvas = typeof imgsz === "number" ? [imgsz, imgsz] as const : imgsz;
  for (const [name, value, least] of [["batch", batch, 1], ["imgsz", canvas[0], 1], ["imgsz", canvas[1], 1], ["ahead", ahead, 0], ["workers", workers, 0], ["from", from, 0], ["cache", cache, 0]] as const) {
    if (!Number.isInteger(value) || value < least) throw new RangeError(`batches: ${name} must be a whole number of at least ${least}, got ${value}`);
  }

  const order = shuffle ? new Random(seed, ORDER, epoch).permutation(set.size) : Array.from({ length: set.size }, (_, i) => i);
  const source = set.files ? await Files.of(set, set.files, workers, cache) : new Samples(set);
  const maker = new Maker(set, source, { augment, seed, epoch, strict, canvas: { width: canvas[1], height: canvas[0] }, fitting });
  const basket = new Basket(Math.min(batch, set.size), canvas[0], canvas[1]);
  let place = 0, good = 0;
  if (from > 0) for await (const taken of inTurn(order, ahead, (index) => maker.look(index))) {
    if (good === from * batch) break;
    maker.tell([taken]);
    place++;
    if (taken.tiles[0]) good++;
  }
  for await (const { taken, placed } of inTurn(order.slice(place), ahead, (index) => maker.make(index))) {
    maker.tell(taken);
    if (!placed) continue;
    good++;
    basket.add(placed);
    if (basket.count === batch) yield basket.empty();
  }
  if (good === 0) throw new Error(`batches: none of the ${set.size} pictures of ${set.name} can be read${set.problems.length > 0 ? ` (first problem: ${set.problems[0]})` : ""}`);
  if (basket.count > 0 && !dropLast) yield basket.empty();
}

/** What `run` gives for each index, in order; while one is in use, `ahead` more are on their way. */
export async function* inTurn<R>(order: readonly number[], ahead: number, run: (index: number) => Promise<R>): AsyncGenerator<R, void, undefined> {
  const waiting: Promise<R>[] = [];
  for (let taken = 0, asked = 0; taken < order.length; taken++) {
    for (; asked < order.length && asked <= taken + ahead; asked++) {
      const result = run(order[asked]);
      result.catch(() => {});                                                             // reported when its turn comes, or never if the consumer leaves
      waiting.push(result);
    }
    yield await waiting.shift()!;
  }
}

/** One picture of a set that could be read. */
interface Tile { readonly index: number; readonly name: string; readonly size: Size; boxes(): readonly ObjectBox[] }

interface Taken {
  /** One for each index that was asked for; undefined: it is broken. */
  readonly tiles: readonly (Tile | undefined)[];
  /** All of them on the canvas, if nothing is broken. */
  readonly pixels?: Uint8Array;
  /** Why those that are broken are. */
  readonly reasons: readonly string[];
  /** Tells the set what was found out about its files. */
  tell(): void;
}

interface Order { readonly canvas: Size; readonly fitting: FitOptions; readonly variation: Variation }

/** Where pixels come from. Without an order it only finds out what is broken. */
interface Source { take(indices: readonly number[], order?: Order): Promise<Taken> }

/** A picture as it goes into a batch. */
interface Placed { readonly pixels: Uint8Array; readonly boxes: readonly ObjectBox[]; readonly origin: Origin }
interface Made { readonly taken: readonly Taken[]; readonly placed?: Placed }

/** Draws an index over and over in vain before a picture is its own partner: nearly everything is broken then. */
const MOST_DRAWS = 256;

/** Makes what goes into batches, one picture at a time and in any order. */
class Maker {
  private readonly broken = new Set<number>();
  constructor(private readonly set: DetectionSet, private readonly source: Source, private readonly how: Required<Pick<BatchOptions, "augment" | "seed" | "epoch" | "strict">> & { canvas: Size; fitting: FitOptions }) {}

  async make(index: number): Promise<Made> {
    const { augment, seed, epoch, canvas, fitting } = this.how;
    const variation = draw(augment, new Random(seed, VARIATION, epoch, index)), taken: Taken[] = [];
    for (;;) {
      const indices = [index, ...this.partners(index, tilesIn(variation) - 1)], found = await this.source.take(indices, { canvas, fitting, variation });
      taken.push(found);
      const { pixels } = found, tiles = found.tiles.filter((tile) => tile !== undefined);
      indices.forEach((one, k) => { if (!found.tiles[k]) this.broken.add(one); });
      if (!found.tiles[0]) return { taken };
      if (tiles.length < indices.length) continue;                                        // with other partners
      if (!pixels) throw new Error(`batches: ${tiles[0].name} of ${this.set.name} was read, but no pixels came back`);
      const layout = layOut(tiles.map(({ size }) => size), canvas, variation, fitting), [{ name, size }] = tiles;
      return { taken, placed: { pixels, boxes: placeBoxes(tiles.map((tile) => tile.boxes()), layout), origin: { index, name, ...size, ...originOf(layout) } } };
    }
  }

  /** The first so many of the picture's draws that are not broken, whenever that was found out. */
  private partners(index: number, count: number): number[] {
    if (count === 0) return [];
    const { seed, epoch } = this.how, random = new Random(seed, PARTNERS, epoch, index), found: number[] = [];
    for (let draws = 0; draws < MOST_DRAWS && found.length < count; draws++) {
      const one = random.integer(0, this.set.size);
      if (!this.broken.has(one)) found.push(one);
    }
    while (found.length < count) found.push(index);
    return found;
  }

  async look(index: number): Promise<Taken> { return this.source.take([index]); }

  tell(taken: readonly Taken[]): void {
    for (const one of taken) {
      one.tell();
      if (this.how.strict && one.reasons.length > 0) throw new BrokenImage(`${one.reasons[0]} (strict: the run ends at the first broken picture)`);
    }
  }
}

/** Sets that give whole samples. */
class Samples implements Source {
  constructor(private readonly set: DetectionSet) {}
  async take(indices: readonly number[], order?: Order): Promise<Taken> {
    const samples = await Promise.all(indices.map((index) => this.set.sample(index)));
    const good = samples.filter((sample) => sample !== undefined);
    const tiles = samples.map((sample, k) => sample && { index: indices[k], name: sample.name, size: sizeOf(sample.picture), boxes: () => sample.boxes });
    const reasons = good.length < samples.length ? [this.set.problems.at(-1) ?? `a picture of ${this.set.name} is broken`] : [];
    if (!order || good.length < samples.length) return { tiles, reasons, tell() {} };
    const pictures = good.map(({ picture }) => picture);
    return { tiles, reasons, tell() {}, pixels: render(pictures, layOut(pictures, order.canvas, order.variation, order.fitting)).pixels };
  }
}

const sizeOf = ({ width, height }: Size): Size => ({ width, height });

/** What is known of the files of a set from one epoch to the next. */
interface Shelf { readonly kept: Map<string, Kept>; readonly sizes: Map<number, Size>; bytes: number }
const shelves = new WeakMap<DetectionSet, Shelf>();

/** Sets whose pictures are files: read by threads, or by this one, or kept. */
class Files implements Source {
  private constructor(private readonly files: PictureFiles, private readonly run: (job: Job) => Promise<Done>, private readonly shelf: Shelf, private readonly room: number, private readonly news: () => string | undefined) {}

  static async of(set: DetectionSet, files: PictureFiles, workers: number, room: number): Promise<Files> {
    let shelf = shelves.get(set);
    if (!shelf) shelves.set(set, shelf = { kept: new Map(), sizes: new Map(), bytes: 0 });
    if (workers === 0) return new Files(files, doJob, shelf, room, () => undefined);
    const { decodeWorkers } = await import("./workers.ts"), threads = decodeWorkers(workers);
    return new Files(files, (job) => threads.do(job), shelf, room, () => threads.news);
  }

  async take(indices: readonly number[], order?: Order): Promise<Taken> {
    const { files, shelf } = this, found = indices.map((index) => files.file(index));
    const missing = indices.filter((_, k) => !found[k]);
    if (missing.length > 0 || (!order && indices.every((index) => shelf.sizes.has(index)))) {
      return { tiles: indices.map((index, k) => found[k] && this.tile(index, found[k].name, shelf.sizes.get(index) ?? { width: 0, height: 0 })), reasons: missing.map((index) => `picture ${index} has no file that can be used`), tell() {} };
    }
    const { canvas = { width: 0, height: 0 }, fitting = {}, variation } = order ?? {};
    const keys = indices.map((index) => `${index} ${canvas.width} ${canvas.height} ${variation?.warped} ${JSON.stringify(fitting)}`);
    const { pixels, tiles } = await this.run({
      tiles: found.map((file, k) => shelf.kept.get(keys[k]) ?? file!), decoder: files.decoder, canvas, fitting, variation, keep: shelf.bytes < this.room,
    });
    tiles.forEach(({ size, kept }, k) => {
      if (size) shelf.sizes.set(indices[k], size);
      if (kept && !shelf.kept.has(keys[k]) && shelf.bytes + kept.picture.pixels.length <= this.room) {
        shelf.kept.set(keys[k], kept);
        shelf.bytes += kept.picture.pixels.length;
      }
    });
    const news = this.news();
    return {
      pixels,
      tiles: tiles.map(({ size }, k) => size && this.tile(indices[k], found[k]!.name, size)),
      reasons: tiles.flatMap(({ broken }) => broken ?? []),
      tell() {
        if (news) files.notice(indices[0], news);
        tiles.forEach(({ broken, notices }, k) => {
          for (const sentence of notices) files.notice(indices[k], sentence);
          if (broken !== undefined) files.broken(indices[k], broken);
        });
      },
    };
  }

  private tile(index: number, name: string, size: Size): Tile { return { index, name, size, boxes: () => this.files.boxes(index, size) }; }
}

/** Pixels are divided by 255 through a table. */
const REALS = Float32Array.from({ length: 256 }, (_, level) => level / 255);

/** Collects placed samples until they are a batch. */
class Basket {
  count = 0;
  private data: Float32Array | undefined;
  private origins: Origin[] = [];
  private readonly columns = { image: [] as number[], class: [] as number[], xywh: [] as number[] };

  constructor(private readonly room: number, private readonly H: number, private readonly W: number) {}

  add({ pixels, boxes, origin }: Placed): void {
    const { H, W } = this, size = H * W * 3;
    const data = this.data ??= new Float32Array(this.room * size);
    for (let i = 0, to = this.count * size; i < size; i++, to++) data[to] = REALS[pixels[i]];
    for (const { class: c, x1, y1, x2, y2 } of boxes) {
      this.columns.image.push(this.count);
      this.columns.class.push(c);
      this.columns.xywh.push((x1 + x2) / 2 / W, (y1 + y2) / 2 / H, (x2 - x1) / W, (y2 - y1) / H);
    }
    this.origins.push(origin);
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
