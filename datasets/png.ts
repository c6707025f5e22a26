/**
 * PNG, both ways, on inflate and deflate alone: the same bytes on every host, and nothing that a damaged file could damage.
 * Reads every colour type, depth and interlacing to RGB: transparency is dropped, not blended; of 16 bits the high 8 remain.
 */
import { unzlibSync, zlibSync } from "fflate";
import { orientationOf, upright } from "./exif.ts";
import type { Picture } from "./sample.ts";

export const PNG_SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

/** Filter types of a row: 0 as is, 1 minus left, 2 minus above, 3 minus their mean, 4 minus Paeth's choice. */
const FILTERS = 5;
/** Bytes that one compressed byte can become: deflate copies 258 for two bits. */
const MOST_INFLATED = 1032;
const CHANNELS: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };

/** Adam7: the pixels [x0 + i dx, y0 + j dy] of each pass. */
const PASSES = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];
const WHOLE = [[0, 0, 1, 1]];

export interface PngHeader {
  readonly width: number;
  readonly height: number;
  readonly depth: number;
  readonly colour: number;
  readonly interlaced: boolean;
  readonly palette: Uint8Array;
  /** As EXIF numbers it. */
  readonly orientation: number;
  /** The compressed rows, in the pieces that the file has them in. */
  readonly data: readonly Uint8Array[];
}

/** Walks all chunks and checks their sums. Throws on a file that is cut, altered, or not a PNG of the standard. */
export function readPngHeader(bytes: Uint8Array): PngHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let header: Omit<PngHeader, "palette" | "orientation" | "data"> | undefined, orientation = 1;
  let palette = new Uint8Array(0);
  const data: Uint8Array[] = [];
  for (let at = PNG_SIGNATURE.length; ;) {
    const length = at + 12 <= bytes.length ? view.getUint32(at) : Infinity;
    if (at + 12 + length > bytes.length) throw new Error(`the PNG ends inside a chunk, before its end chunk, after ${bytes.length} bytes (truncated)`);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const body = bytes.subarray(at + 8, at + 8 + length);
    if (crc32(bytes.subarray(at + 4, at + 8 + length)) !== view.getUint32(at + 8 + length)) throw new Error(`chunk ${type} at byte ${at} has a wrong checksum`);
    if (!header) {
      if (type !== "IHDR" || length !== 13) throw new Error(`the first chunk is ${type} of ${length} bytes, expected IHDR of 13`);
      const [depth, colour, , , interlace] = body.subarray(8);
      if (!depthsOf(colour).includes(depth) || interlace > 1) throw new Error(`colour type ${colour} with ${depth} bits and interlacing ${interlace} is not in the standard`);
      header = { width: view.getUint32(at + 8), height: view.getUint32(at + 12), depth, colour, interlaced: interlace === 1 };
    }
    if (type === "PLTE") palette = body.slice();
    if (type === "IDAT") data.push(body);
    if (type === "eXIf") orientation = orientationOf(body);
    if (type === "IEND") {
      const { expected } = rowsOf(header.width, header.height, header.depth * CHANNELS[header.colour], header.interlaced), packed = data.reduce((sum, { length }) => sum + length, 0);
      if (expected > MOST_INFLATED * packed) throw new Error(`the rows take ${expected} bytes, which the ${packed} compressed ones cannot give`);
      return { ...header, palette, orientation, data };
    }
    at += 12 + length;
  }
}

const depthsOf = (colour: number): number[] => (({ 0: [1, 2, 4, 8, 16], 3: [1, 2, 4, 8], 2: [8, 16], 4: [8, 16], 6: [8, 16] }) as Record<number, number[]>)[colour] ?? [];

/** The passes that have pixels, and the bytes of all rows with their filters. */
function rowsOf(width: number, height: number, bits: number, interlaced: boolean) {
  const passes = (interlaced ? PASSES : WHOLE).map(([x0, y0, dx, dy]) => ({ x0, y0, dx, dy, columns: Math.ceil((width - x0) / dx), rows: Math.ceil((height - y0) / dy) }))
    .filter(({ columns, rows }) => columns > 0 && rows > 0);
  return { passes, expected: passes.reduce((sum, { columns, rows }) => sum + rows * (1 + Math.ceil(columns * bits / 8)), 0) };
}

/** The pixels behind a header that was read (and whose size was judged) before. */
export function decodePng({ width, height, depth, colour, interlaced, palette, orientation, data }: PngHeader): Picture {
  const channels = CHANNELS[colour], bits = depth * channels;
  const step = Math.max(1, bits >> 3);                                                    // bytes from a pixel to its left neighbour
  const { passes, expected } = rowsOf(width, height, bits, interlaced);
  const packed = join(data), raw = unzlibSync(packed, { out: new Uint8Array(expected + 1) }); // never writes past it
  if (raw.length < expected) throw new Error(`the rows end after ${raw.length} of ${expected} bytes (truncated)`);
  if (raw.length === expected && !holds(packed, adler32(raw))) throw new Error("the rows have a wrong checksum");

  const pixels = new Uint8Array(width * height * 3);
  let at = 0;
  for (const { x0, y0, dx, dy, columns, rows } of passes) {
    const stride = (columns * bits + 7) >> 3;
    let above: Uint8Array = new Uint8Array(stride);
    for (let j = 0; j < rows; j++, at += 1 + stride) {
      const row = raw.subarray(at + 1, at + 1 + stride);
      unfilter(raw[at], row, above, step);
      for (let i = 0; i < columns; i++) {
        const to = 3 * ((y0 + j * dy) * width + x0 + i * dx);
        if (colour === 2 || colour === 6) {
          const from = i * step, next = depth >> 3;
          for (let c = 0; c < 3; c++) pixels[to + c] = row[from + c * next];
        } else if (colour === 3) {
          const entry = 3 * level(row, i, depth);
          if (entry + 3 > palette.length) throw new Error(`a pixel names palette entry ${entry / 3} of ${palette.length / 3}`);
          for (let c = 0; c < 3; c++) pixels[to + c] = palette[entry + c];
        } else {
          const grey = depth >= 8 ? row[i * step] : level(row, i, depth) * 255 / ((1 << depth) - 1);
          pixels[to] = pixels[to + 1] = pixels[to + 2] = grey;
        }
      }
      above = row;
    }
  }
  return upright({ width, height, pixels }, orientation);
}

/** Whether four bytes are in the compressed rows: the last ones, or somewhere before what an encoder left behind them. */
function holds(packed: Uint8Array, sum: number): boolean {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  for (let at = packed.length - 4; at >= 2; at--) if (view.getUint32(at) === sum) return true;
  return false;
}

/** Of what was compressed (RFC 1950). */
function adler32(bytes: Uint8Array): number {
  let a = 1, b = 0;
  for (let i = 0; i < bytes.length;) {
    for (const end = Math.min(i + 3800, bytes.length); i < end; i++) { a += bytes[i]; b += a; }
    a %= 65521;
    b %= 65521;
  }
  return (b << 16 | a) >>> 0;
}

/** Value i of a row packed with `depth` <= 8 bits per value, first value in the high bits. */
function level(row: Uint8Array, i: number, depth: number): number {
  const bit = i * depth;
  return (row[bit >> 3] >> (8 - depth - (bit & 7))) & ((1 << depth) - 1);
}

function unfilter(type: number, row: Uint8Array, above: Uint8Array, step: number): void {
  if (type >= FILTERS) throw new Error(`a row has filter ${type}, expected 0..4`);
  if (type === 0) return;
  for (let i = 0; i < row.length; i++) {
    const left = i < step ? 0 : row[i - step];
    row[i] += predict(type, left, above[i], i < step ? 0 : above[i - step]);
  }
}

function predict(type: number, left: number, up: number, corner: number): number {
  if (type === 1) return left;
  if (type === 2) return up;
  if (type === 3) return (left + up) >> 1;
  const a = Math.abs(up - corner), b = Math.abs(left - corner), c = Math.abs(left + up - 2 * corner);
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

/** An RGB PNG. Each row takes the filter whose output is smallest in absolute sum, as the standard advises. */
export function encodePng({ width, height, pixels }: Picture): Uint8Array {
  const stride = width * 3;
  if (pixels.length !== stride * height) throw new Error(`encodePng: expected ${height} x ${width} x 3 = ${stride * height} bytes, got ${pixels.length}`);
  const raw = new Uint8Array(height * (1 + stride));
  const tries = Array.from({ length: FILTERS }, () => new Uint8Array(stride));
  let above: Uint8Array = new Uint8Array(stride);
  for (let j = 0; j < height; j++) {
    const row = pixels.subarray(j * stride, (j + 1) * stride);
    let best = 0, least = Infinity;
    for (const type of [0, 1, 2, 4]) {
      let sum = 0;
      for (let i = 0; i < stride; i++) {
        const filtered = type === 0 ? row[i] : (row[i] - predict(type, i < 3 ? 0 : row[i - 3], above[i], i < 3 ? 0 : above[i - 3])) & 255;
        tries[type][i] = filtered;
        sum += filtered < 128 ? filtered : 256 - filtered;
      }
      if (sum < least) { least = sum; best = type; }
    }
    raw[j * (1 + stride)] = best;
    raw.set(tries[best], j * (1 + stride) + 1);
    above = row;
  }
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, 2], 8);                                                                  // 8 bits, RGB
  return join([Uint8Array.from(PNG_SIGNATURE), chunk("IHDR", header), chunk("IDAT", zlibSync(raw)), chunk("IEND", new Uint8Array(0))]);
}

/** length, type, body, checksum of type and body */
function chunk(type: string, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(12 + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, body.length);
  for (let i = 0; i < 4; i++) bytes[4 + i] = type.charCodeAt(i);
  bytes.set(body, 8);
  view.setUint32(8 + body.length, crc32(bytes.subarray(4, 8 + body.length)));
  return bytes;
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) { whole.set(part, at); at += part.length; }
  return whole;
}

const CRC = Uint32Array.from({ length: 256 }, (_, i) => {
  for (let k = 0; k < 8; k++) i = i & 1 ? 0xedb88320 ^ (i >>> 1) : i >>> 1;
  return i;
});

function crc32(bytes: Uint8Array): number {
  let crc = ~0;
  for (let i = 0; i < bytes.length; i++) crc = CRC[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}
