/** What a data set gives: pictures as bytes with boxes in pixels, and batches of them as a detector wants them. */

/** RGB, row-major [height, width, 3]. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint8Array;
}

/** An object: corners in pixels of its picture, x to the right, y down; half-open, so that width = x2 - x1. */
export interface ObjectBox {
  readonly class: number;
  readonly x1: number;
  readonly y1: number;
  readonly x2: number;
  readonly y2: number;
  /** VOC's "difficult": kept for the metrics that ignore such objects. */
  readonly difficult?: boolean;
}

export interface Sample {
  /** What a person would call this picture: a file name, or "shapes 17". */
  readonly name: string;
  readonly picture: Picture;
  readonly boxes: readonly ObjectBox[];
}

/** One split of a data set, by index. Reading an index twice gives the same sample. */
export interface DetectionSet {
  readonly name: string;
  readonly classes: readonly string[];
  readonly size: number;
  /** The sample, or undefined if its files are broken (the problem is then in `problems`). */
  sample(index: number): Promise<Sample | undefined>;
  /** Where pictures are files that anyone can read by path. */
  readonly files?: PictureFiles;
  /** Everything that was found wrong so far, one sentence each, with file and remedy; each problem once. */
  readonly problems: readonly string[];
}

export interface PictureFile {
  readonly path: string;
  /** What a person would call the picture. */
  readonly name: string;
  /** What a sentence about the file calls it, where that is more. */
  readonly title: string;
}

/** The halves of `sample`, for those who read pictures themselves, on threads of their own. */
export interface PictureFiles {
  /** Undefined if it is known that there is nothing to read; `problems` says why. */
  file(index: number): PictureFile | undefined;
  /** Objects of a picture whose size is known now. */
  boxes(index: number, picture: { readonly width: number; readonly height: number }): readonly ObjectBox[];
  /** The file turned out to be broken: `reason` says so and names it. */
  broken(index: number, reason: string): void;
  /** Something that a person may want to know about a file that was read nevertheless. */
  notice(index: number, sentence: string): void;
  readonly decoder?: "sharp" | "wasm" | "browser";
}

/** The objects of a batch as columns: `image` says to which picture of the batch each belongs; boxes are centre x, centre y, width, height over the picture's sides. */
export interface BoxColumns {
  readonly image: Int32Array;
  readonly class: Int32Array;
  /** [n, 4], 0..1 */
  readonly xywh: Float32Array;
}

export interface Batch {
  /** Pixels / 255, [B, H, W, 3] */
  readonly images: { readonly shape: readonly [number, number, number, number]; readonly data: Float32Array };
  readonly boxes: BoxColumns;
  /** Where each picture came from, and how it was fitted into H x W. */
  readonly origins: readonly Origin[];
}

export interface Origin {
  readonly index: number;
  readonly name: string;
  readonly width: number;
  readonly height: number;
  /** x in the batch = x in the picture * scale + left (the unrounded shift, as the reference maps labels). */
  readonly scale: number;
  readonly left: number;
  readonly top: number;
}
