/**
 * JPEG, PNG and WebP files -> RGB pixels, turned upright by EXIF.
 *
 * Decoders with one face: sharp (native, optional), WASM and TypeScript where it is missing, createImageBitmap in browsers. Before any of them
 * runs, the file is walked marker by marker, because all decode the first half of a picture without a word: a cut file is a `BrokenImage`,
 * never half grey. Other formats are refused, so that a data set means the same with and without native code.
 */
import { byWasm, withoutAlpha } from "./codecs.ts";
import { decodePng, PNG_SIGNATURE, readPngHeader, type PngHeader } from "./png.ts";
import type { Picture } from "./sample.ts";
import { isWebp, readWebpHeader } from "./webp.ts";

export { encodePng } from "./png.ts";

export type Decoder = "sharp" | "wasm" | "browser";

/** A file that does not hold a whole picture. Data sets skip it and say so; every other error is somebody's mistake and passes through. */
export class BrokenImage extends Error {}

/** Refused before anything is allocated: a few bytes may claim gigabytes. */
export const MAX_PIXELS = 64_000_000;

/**
 * Pixels that a coded byte of a JPEG can give: each block takes at least a bit of the first scan, and sampling makes a block stand for 114 pixels at
 * most, so 910; one colour all over takes encoders a byte for 340. Whatever is SMALL costs nothing to try.
 */
const JPEG_PIXELS_PER_BYTE = 1024, SMALL = 1 << 16;
/** Passes over the picture that a progressive JPEG may make; encoders make about ten, and each one costs as much as a whole picture. */
const MAX_SCANS = 128, SCANNED_PIXELS = 128_000_000, SCANNED_PER_BYTE = 4096;

export interface DecodeOptions {
  /** Default: the browser's own in a browser, else sharp where it is installed. */
  readonly decoder?: Decoder;
  /** Told what is not wrong with a file but may be unexpected, in one sentence. */
  readonly warn?: (sentence: string) => void;
}

/** Pixels of a JPEG, PNG or WebP. */
export async function decodeImage(bytes: Uint8Array, name: string, { decoder = defaultDecoder(), warn }: DecodeOptions = {}): Promise<Picture> {
  const header = measure(bytes, name), { kind, width, height, components, most } = header, pixels = width * height;
  if (pixels === 0) throw new BrokenImage(`image ${name}: the header says ${width} x ${height} pixels, so there is nothing to decode`);
  if (pixels > MAX_PIXELS) throw new BrokenImage(`image ${name}: ${width} x ${height} pixels exceed the limit of ${MAX_PIXELS}; scale the file down`);
  if (pixels > most) throw new BrokenImage(`image ${name}: the header says ${width} x ${height} pixels, which a file of ${bytes.length} bytes does not hold; replace the file`);

  const sharp = decoder === "sharp" || decoder === undefined ? await loadSharp() : undefined;
  if (decoder === "sharp" && !sharp) throw new Error(`image ${name}: decoder "sharp" is not installed here; npm install sharp, or leave the choice to decodeImage`);
  try {
    if (components === 4 && kind === "jpeg") {
      if (!sharp) throw new Error("CMYK needs sharp: npm install sharp");
      warn?.(`image ${name}: the JPEG is CMYK and was converted without its colour profile, so its colours may be off; save it as RGB`);
    }
    const picture = sharp ? await bySharp(sharp, bytes, kind, components) : header.png ? decodePng(header.png) : decoder === "browser" ? await byBrowser(bytes, kind) : await byWasm(kind, bytes, header.orientation);
    if (picture.width * picture.height !== pixels || picture.pixels.length !== 3 * pixels) throw new Error(`the header says ${width} x ${height} pixels, decoded were ${picture.width} x ${picture.height}`);
    return picture;
  } catch (error) {
    throw new BrokenImage(`image ${name}: cannot be decoded (${(error as Error).message.trim()}); replace the file`, { cause: error });
  }
}

/** Undefined: sharp if there is one, else WASM. */
const defaultDecoder = (): Decoder | undefined => (typeof createImageBitmap === "function" && typeof OffscreenCanvas === "function" ? "browser" : undefined);

type Kind = "jpeg" | "png" | "webp";
interface Header {
  readonly kind: Kind;
  /** As stored, before EXIF turns it. */
  readonly width: number;
  readonly height: number;
  readonly components: number;
  /** Pixels that its bytes can give. */
  readonly most: number;
  /** For decoders that do not look it up themselves. */
  readonly orientation: number;
  readonly png?: PngHeader;
}

function measure(bytes: Uint8Array, name: string): Header {
  try {
    if (bytes[0] === 0xff && bytes[1] === 0xd8) return readJpegHeader(bytes);
    if (PNG_SIGNATURE.every((byte, i) => bytes[i] === byte)) {
      const png = readPngHeader(bytes);
      return { kind: "png", width: png.width, height: png.height, components: 3, most: Infinity, orientation: 1, png };
    }
    if (isWebp(bytes)) return { kind: "webp", components: 3, ...readWebpHeader(bytes) };
  } catch (error) {
    throw new BrokenImage(`image ${name}: ${(error as Error).message}; replace the file`, { cause: error });
  }
  const start = [...bytes.subarray(0, 4)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  throw new BrokenImage(`image ${name}: expected a JPEG (ff d8), a PNG (89 50 4e 47) or a WebP (RIFF), got ${bytes.length === 0 ? "an empty file" : `a file that starts with ${start}`}; convert it`);
}

/**
 * Walks the segments of a JPEG to its end-of-image marker. Looking for the last two bytes would not do: thumbnails carry markers of
 * their own, and cameras append data behind the picture.
 *
 *   ff d8 | ff MM length[2] body ... | ff da length[2] body  entropy-coded bytes (ff is written ff 00) ... | ff d9
 */
function readJpegHeader(bytes: Uint8Array): Header {
  const truncated = () => new Error(`the JPEG has no end-of-image marker within its ${bytes.length} bytes (truncated)`);
  const u16 = (at: number) => (bytes[at] << 8) | bytes[at + 1];
  let header: Header | undefined, scans = 0, segments = 0;
  for (let at = 2; ;) {
    at = bytes.indexOf(0xff, at);
    if (at < 0 || at + 1 >= bytes.length) throw truncated();
    const marker = bytes[at + 1];
    if (marker === 0xff) { at++; continue; }                                              // fill byte
    if (marker === 0xd9) break;
    at += 2;
    if (marker <= 0x01 || (marker >= 0xd0 && marker <= 0xd7)) continue;                   // escaped ff, or a restart: no length follows
    const length = u16(at);
    if (at + length > bytes.length || length < 2) throw truncated();
    const frame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
    if (frame && !header) header = { kind: "jpeg", height: u16(at + 3), width: u16(at + 5), components: bytes[at + 7], most: Infinity, orientation: 1 };
    if (marker === 0xda && ++scans > MAX_SCANS) throw new Error(`the JPEG has more than ${MAX_SCANS} scans`);
    at += length;
    segments += 2 + length;
  }
  if (!header) throw new Error("the JPEG has no frame header");
  const coded = bytes.length - segments, { width, height } = header;
  if (scans > 1 && scans * width * height > SCANNED_PIXELS + SCANNED_PER_BYTE * coded) throw new Error(`the JPEG has ${scans} scans of ${width} x ${height} pixels, which its ${coded} coded bytes do not fill`);
  return { ...header, most: SMALL + JPEG_PIXELS_PER_BYTE * coded };
}

type Sharp = typeof import("sharp").default;
let sharpLoading: Promise<Sharp | undefined> | undefined;

/** sharp, or undefined where it is not installed or does not run (browsers). */
function loadSharp(): Promise<Sharp | undefined> {
  const name = "sharp";                                                                   // a literal would make bundlers for browsers look for it
  sharpLoading ??= (import(/* @vite-ignore */ name) as Promise<typeof import("sharp")>).then(({ default: sharp }) => {
    sharp.cache(false);
    sharp.concurrency(1);                                                                 // parallel by picture, not within one
    return sharp;
  }, () => undefined);
  return sharpLoading;
}

async function bySharp(sharp: Sharp, bytes: Uint8Array, kind: Kind, components: number): Promise<Picture> {
  // its decoder of JPEG, told so, would refuse more than the one in WASM does; of PNG, rows that end early are grey unless it is
  const upright = sharp(bytes, { limitInputPixels: MAX_PIXELS, failOn: kind === "png" ? "truncated" : "none" }).autoOrient();
  const image = components === 4 ? upright.pipelineColourspace("cmyk").toColourspace("cmyk") : upright.toColourspace("srgb").removeAlpha();
  const { data, info: { width, height, channels } } = await image.raw().toBuffer({ resolveWithObject: true });
  if (channels !== (components === 4 ? 4 : 3)) throw new Error(`got ${channels} channels`);
  return { width, height, pixels: components === 4 ? inksToRgb(data) : new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
}

/** r = (1 - c) (1 - k), without colour profiles: what Pillow and OpenCV do, and so what detectors were trained on. */
function inksToRgb(cmyk: Uint8Array): Uint8Array {
  const pixels = new Uint8Array(cmyk.length / 4 * 3);
  for (let i = 0, from = 0; i < pixels.length; i += 3, from += 4) {
    for (let c = 0; c < 3; c++) pixels[i + c] = (255 - cmyk[from + c]) * (255 - cmyk[from + 3]) / 255 + 0.5;
  }
  return pixels;
}

/** By the browser: turned by EXIF, without colour profiles. A WebP with transparency loses up to a level or so to the canvas. */
async function byBrowser(bytes: Uint8Array, kind: Kind): Promise<Picture> {
  const bitmap = await createImageBitmap(new Blob([bytes.slice()], { type: `image/${kind}` }), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  try {
    const { width, height } = bitmap, context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("the browser gives no canvas");
    context.drawImage(bitmap, 0, 0);
    return { width, height, pixels: withoutAlpha(context.getImageData(0, 0, width, height).data) };
  } finally {
    bitmap.close();
  }
}
