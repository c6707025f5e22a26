/** The outside of a WebP file: its size, whether it is whole, and which way is up. What is inside is a decoder's business. */
import { orientationOf } from "./exif.ts";

export interface WebpHeader {
  readonly width: number;
  readonly height: number;
  readonly orientation: number;
  /** Pixels that its bytes can give. */
  readonly most: number;
}

/**
 * Lossy: a macroblock of 16 x 16 takes some three bits at least (561 pixels per byte for one colour all over). Lossless: one colour takes none, so
 * that any number is possible, and what is likely is the limit (encoders give one colour all over 19,000 pixels per byte).
 */
const LOSSY_PIXELS_PER_BYTE = 1024, SMALL = 1 << 16, LOSSLESS_PIXELS_PER_BYTE = 4096, LOSSLESS_PIXELS = 4_000_000;

const ANIMATED = 2;

export const isWebp = (bytes: Uint8Array): boolean => nameAt(bytes, 0) === "RIFF" && nameAt(bytes, 8) === "WEBP";

const nameAt = (bytes: Uint8Array, at: number): string => String.fromCharCode(...bytes.subarray(at, at + 4));

/**
 * Walks all chunks. Throws on a file that is cut, that moves, or that says two different sizes.
 *
 *   "RIFF" size[4] "WEBP" | name[4] size[4] body (a byte more where size is odd) | ...
 */
export function readWebpHeader(bytes: Uint8Array): WebpHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes.length < 12 ? Infinity : 8 + view.getUint32(4, true);
  if (end > bytes.length) throw new Error(`the WebP says that it has ${end} bytes, but the file ends after ${bytes.length} (truncated)`);
  let canvas: { width: number; height: number } | undefined, frame: typeof canvas, orientation = 1, most = 0;
  for (let at = 12; at + 8 <= end;) {
    const name = nameAt(bytes, at), size = view.getUint32(at + 4, true), body = at + 8;
    if (body + size > end) throw new Error(`chunk ${JSON.stringify(name)} at byte ${at} of the WebP has ${size} bytes, but only ${end - body} are left (truncated)`);
    const expect = (least: number): void => { if (size < least) throw new Error(`chunk ${JSON.stringify(name)} at byte ${at} of the WebP has ${size} bytes, expected at least ${least}`); };
    if (name === "VP8X") {
      expect(10);
      if (bytes[body] & ANIMATED) throw new Error("the WebP is animated, expected one picture");
      canvas = { width: 1 + (view.getUint32(body + 3, true) >>> 8), height: 1 + (view.getUint32(body + 6, true) >>> 8) };
    } else if (name === "VP8 " && !frame) {
      expect(10);
      frame = { width: view.getUint16(body + 6, true) & 0x3fff, height: view.getUint16(body + 8, true) & 0x3fff };
      most = SMALL + LOSSY_PIXELS_PER_BYTE * size;
    } else if (name === "VP8L" && !frame) {
      expect(5);
      const bits = view.getUint32(body + 1, true);
      frame = { width: 1 + (bits & 0x3fff), height: 1 + ((bits >>> 14) & 0x3fff) };
      most = LOSSLESS_PIXELS + LOSSLESS_PIXELS_PER_BYTE * size;
    } else if (name === "EXIF") orientation = orientationOf(bytes.subarray(body, body + size));
    at = body + size + (size & 1);
  }
  if (!frame) throw new Error("the WebP holds no picture");
  if (canvas && (canvas.width !== frame.width || canvas.height !== frame.height)) throw new Error(`the WebP says ${canvas.width} x ${canvas.height} pixels outside and ${frame.width} x ${frame.height} inside`);
  return { ...frame, orientation, most };
}
