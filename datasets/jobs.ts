/** What threads do: one picture of a batch, from files (here), or one moment of a recording (moments.ts). What is asked, what comes back, and how it is done, on whichever thread. */
import { layOut, render, type Size, type Variation } from "./augment.ts";
import { readRegular } from "./file.ts";
import { BrokenImage, decodeImage, type Decoder } from "./image.ts";
import { resize, type FitOptions } from "./letterbox.ts";
import { doMoment, type MomentDone, type MomentJob } from "./moments.ts";
import type { Picture, PictureFile, PictureFiles, Sample } from "./sample.ts";

/** A picture that was decoded before: its pixels as they are needed, in memory that threads share, and the size that it had. */
export interface Kept { readonly size: Size; readonly picture: Picture }

export interface Job {
  readonly tiles: readonly (PictureFile | Kept)[];
  readonly decoder?: Decoder;
  readonly canvas: Size;
  readonly fitting: FitOptions;
  /** Absent: only find out whether the tiles can be read. */
  readonly variation?: Variation;
  /** Return tiles that were read here, to be kept. */
  readonly keep: boolean;
}

export interface Done {
  /** [canvas.height, canvas.width, 3]; absent where a tile is broken, or where none was asked for. */
  readonly pixels?: Uint8Array;
  readonly tiles: readonly TileDone[];
}

export interface TileDone {
  readonly size?: Size;
  /** Why the file cannot be used. */
  readonly broken?: string;
  readonly notices: readonly string[];
  readonly kept?: Kept;
}

/** Either kind. */
export const doAny = (job: Job | MomentJob): Promise<Done | MomentDone> => ("tiles" in job ? doJob(job) : doMoment(job));

/** Memory of a result that its thread has no more use for. */
export const buffersOf = (done: Done | MomentDone): ArrayBuffer[] =>
  ("tiles" in done ? [done.pixels] : [done.input, done.frames?.data]).flatMap((numbers) => (numbers ? [numbers.buffer as ArrayBuffer] : []));

export async function doJob({ tiles, decoder, canvas, fitting, variation, keep }: Job): Promise<Done> {
  const read = await Promise.all(tiles.map((tile) => ("picture" in tile ? { ...tile, notices: [] } : readTile(tile, decoder))));
  if (!variation || read.some((tile) => "broken" in tile)) return { tiles: read.map((tile) => ("broken" in tile ? tile : { size: tile.size, notices: tile.notices })) };
  const good = read as readonly (Kept & { notices: string[] })[];
  const layout = layOut(good.map(({ size }) => size), canvas, variation, fitting);
  const loaded = good.map(({ picture }, k) => resize(picture, layout.tiles[k].loaded.width, layout.tiles[k].loaded.height));
  const { pixels } = render(loaded, layout);
  return { pixels, tiles: good.map(({ size, notices }, k) => ({ size, notices, ...(keep && !("picture" in tiles[k]) ? { kept: { size, picture: shared(loaded[k]) } } : {}) })) };
}

/** A sample of a set whose pictures are files, read by this thread. */
export async function sampleOf(files: PictureFiles, index: number): Promise<Sample | undefined> {
  const file = files.file(index);
  if (!file) return undefined;
  const tile = await readTile(file, files.decoder);
  for (const sentence of tile.notices) files.notice(index, sentence);
  if ("broken" in tile) { files.broken(index, tile.broken); return undefined; }
  return { name: file.name, picture: tile.picture, boxes: files.boxes(index, tile.size) };
}

async function readTile({ path, title }: PictureFile, decoder: Decoder | undefined): Promise<(Kept & { notices: string[] }) | { broken: string; notices: string[] }> {
  const notices: string[] = [];
  try {
    const picture = await decodeImage(await readRegular(path, title), title, { decoder, warn: (sentence) => { notices.push(sentence); } });
    return { size: { width: picture.width, height: picture.height }, picture, notices };
  } catch (error) {
    if (!(error instanceof BrokenImage)) throw error;
    return { broken: error.message, notices };
  }
}

/** The same pixels in memory that every thread can read; where there is none of the kind, as they are. */
function shared({ width, height, pixels }: Picture): Picture {
  if (typeof SharedArrayBuffer !== "function") return { width, height, pixels };
  const copy = new Uint8Array(new SharedArrayBuffer(pixels.length));
  copy.set(pixels);
  return { width, height, pixels: copy };
}
