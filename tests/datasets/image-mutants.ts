/** Small real pictures of every format, and what a careless or hostile hand may do to them. */
import { createRequire } from "node:module";
import { encodePng } from "../../datasets/image.ts";
import type { Random } from "../../engine/random.ts";
import { jpegOf, pattern } from "./pictures.ts";

const sharp = createRequire(import.meta.url)("sharp") as typeof import("sharp").default;

export type ImageFormat = "JPEG" | "PNG" | "WebP";

export async function originals(): Promise<Record<ImageFormat, readonly Uint8Array[]>> {
  const picture = pattern(37, 29), raw = () => sharp(picture.pixels, { raw: { width: 37, height: 29, channels: 3 } });
  const bytes = async (image: ReturnType<typeof raw>) => new Uint8Array(await image.toBuffer());
  return {
    JPEG: [await jpegOf(picture), await jpegOf(picture, { progressive: true, orientation: 6 }), await jpegOf(picture, { grey: true })],
    PNG: [encodePng(picture), await bytes(raw().png({ palette: true })), await bytes(raw().png({ progressive: true }))],
    WebP: [await bytes(raw().webp()), await bytes(raw().webp({ lossless: true })), await bytes(raw().withMetadata({ orientation: 8 }).webp())],
  };
}

/** Bytes changed, fields of two or four bytes set to extremes, pieces cut out, doubled or swapped. Checksums of PNG are made right again for half, or nothing would come past them. */
export function mutated(bytes: Uint8Array, random: Random): Uint8Array {
  let out = bytes.slice();
  for (let n = random.integer(1, 4); n > 0; n--) {
    const at = random.integer(0, out.length), kind = random.integer(0, 6);
    if (kind <= 1) out[at] = random.integer(0, 256);
    else if (kind === 2) out[at] ^= 1 << random.integer(0, 8);
    else if (kind === 3) out.set([[0xff, 0xff, 0xff, 0xff], [0, 0, 0, 0], [0x7f, 0xff, 0xff, 0xff], [0, 0, 0, 1]][random.integer(0, 4)].slice(0, Math.min(random.integer(1, 5), out.length - at)), at);
    else if (kind === 4) out = Uint8Array.from([...out.subarray(0, at), ...out.subarray(Math.min(out.length, at + random.integer(1, 40)))]);
    else out = Uint8Array.from([...out.subarray(0, at), ...out.subarray(Math.max(0, at - random.integer(1, 40)))]);
    if (out.length === 0) break;
  }
  return random.uniform() < 0.5 ? repaired(out) : out;
}

export function repaired(bytes: Uint8Array): Uint8Array {
  if (bytes[0] !== 0x89) return bytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    if (at + 12 + length > bytes.length) break;
    view.setUint32(at + 8 + length, crc32(bytes.subarray(at + 4, at + 8 + length)));
    at += 12 + length;
  }
  return bytes;
}

function crc32(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let k = 0; k < 8; k++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
