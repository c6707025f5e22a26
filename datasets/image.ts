/**
 * JPEG and PNG files -> RGB pixels, turned upright by EXIF.
 *
 * Two decoders with one face: sharp (native, optional) and a plain WASM / TypeScript pair. Before either runs, the file is walked
 * marker by marker, because both decode the first half of a picture without a word: a cut file is a `BrokenImage`, never half grey.
 * Other formats are refused, so that a data set means the same with and without native code.
 */
import { decodePng, PNG_SIGNATURE, readPngHeader, type PngHeader } from "./png.ts";
import type { Picture } from "./sample.ts";

export { encodePng } from "./png.ts";

export type Decoder = "sharp" | "wasm";

/** A file that does not hold a whole picture. Data sets skip it and say so; every other error is somebody's mistake and passes through. */
export class BrokenImage extends Error {}

/** Refused before anything is allocated: a few bytes may claim gigabytes. */
export const MAX_PIXELS = 64_000_000;

/** Pixels of a JPEG or PNG. `decoder` defaults to sharp where it is installed. */
export async function decodeImage(bytes: Uint8Array, name: string, { decoder }: { decoder?: Decoder } = {}): Promise<Picture> {
  const header = measure(bytes, name);
  const pixels = header.width * header.height;
  if (pixels === 0) throw new BrokenImage(`image ${name}: the header says ${header.width} x ${header.height} pixels, so there is nothing to decode`);
  if (pixels > MAX_PIXELS) throw new BrokenImage(`image ${name}: ${header.width} x ${header.height} pixels exceed the limit of ${MAX_PIXELS}; scale the file down`);

  const sharp = decoder === "wasm" ? undefined : await loadSharp();
  if (decoder === "sharp" && !sharp) throw new Error(`image ${name}: decoder "sharp" is not installed here; npm install sharp, or leave the choice to decodeImage`);
  try {
    if (sharp) return await bySharp(sharp, bytes, header.components);
    return header.png ? decodePng(header.png) : await byWasm(bytes, header.components);
  } catch (error) {
    throw new BrokenImage(`image ${name}: cannot be decoded (${(error as Error).message}); replace the file`, { cause: error });
  }
}

interface Header {
  /** As stored, before EXIF turns it. */
  readonly width: number;
  readonly height: number;
  readonly components: number;
  readonly png?: PngHeader;
}

function measure(bytes: Uint8Array, name: string): Header {
  try {
    if (bytes[0] === 0xff && bytes[1] === 0xd8) return readJpegHeader(bytes);
    if (PNG_SIGNATURE.every((byte, i) => bytes[i] === byte)) {
      const png = readPngHeader(bytes);
      return { width: png.width, height: png.height, components: 3, png };
    }
  } catch (error) {
    throw new BrokenImage(`image ${name}: ${(error as Error).message}; replace the file`, { cause: error });
  }
  const start = [...bytes.subarray(0, 4)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  throw new BrokenImage(`image ${name}: expected a JPEG (ff d8) or a PNG (89 50 4e 47), got ${bytes.length === 0 ? "an empty file" : `a file that starts with ${start}`}; convert it`);
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
  let header: Header | undefined;
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
    if (frame && !header) header = { height: u16(at + 3), width: u16(at + 5), components: bytes[at + 7] };
    at += length;
  }
  if (!header) throw new Error("the JPEG has no frame header");
  return header;
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

async function bySharp(sharp: Sharp, bytes: Uint8Array, components: number): Promise<Picture> {
  const upright = sharp(bytes, { limitInputPixels: MAX_PIXELS, failOn: "none" }).autoOrient();
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

/** Decodes after which the WASM instance is replaced even if all went well. */
const RECYCLE = 500;
let decodes = 0;
let jpegModule: Promise<WebAssembly.Module> | undefined;

/** @jsquash/jpeg. A failed decode damages the instance, so after any failure the next call makes a new one (13 ms). */
async function byWasm(bytes: Uint8Array, components: number): Promise<Picture> {
  if (components === 4) throw new Error("CMYK needs sharp: npm install sharp");
  const { default: decode, init } = await import("@jsquash/jpeg/decode.js");
  jpegModule ??= compileJpegDecoder();
  const compiled = await jpegModule;
  if (decodes++ % RECYCLE === 0) await (init as unknown as (module: WebAssembly.Module, options: object) => Promise<void>)(compiled, { printErr: () => {} });
  try {
    const { width, height, data } = await decode(new Uint8Array(bytes).buffer, { preserveOrientation: true });
    const pixels = new Uint8Array(width * height * 3);
    for (let i = 0, from = 0; i < pixels.length; i += 3, from += 4) {
      pixels[i] = data[from];
      pixels[i + 1] = data[from + 1];
      pixels[i + 2] = data[from + 2];
    }
    return { width, height, pixels };
  } catch (error) {
    decodes = 0;
    throw error;
  }
}

async function compileJpegDecoder(): Promise<WebAssembly.Module> {
  const [{ createRequire }, { readFile }] = await Promise.all([import("node:module"), import("node:fs/promises")]);
  return WebAssembly.compile(await readFile(createRequire(import.meta.url).resolve("@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm")));
}
