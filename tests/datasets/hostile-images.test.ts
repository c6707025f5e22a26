/** A thousand mutations of real files for each decoder: pixels or a BrokenImage that names the file, in time, and the decoder still works afterwards. */
import { describe, expect, test, vi } from "vitest";
import sharp from "sharp";
import { BrokenImage, decodeImage, encodePng, type Decoder } from "../../datasets/image.ts";
import { Random } from "../../engine/random.ts";
import { apart, jpegOf, pattern } from "./pictures.ts";

vi.setConfig({ testTimeout: 120_000 });

const MUTANTS = 1000, LONGEST_MS = 5000; // one second alone on a machine; tests share theirs

async function files(): Promise<Record<string, readonly Uint8Array[]>> {
  const picture = pattern(37, 29), raw = () => sharp(picture.pixels, { raw: { width: 37, height: 29, channels: 3 } });
  const bytes = async (image: ReturnType<typeof raw>) => new Uint8Array(await image.toBuffer());
  return {
    JPEG: [await jpegOf(picture), await jpegOf(picture, { progressive: true, orientation: 6 }), await jpegOf(picture, { grey: true })],
    PNG: [encodePng(picture), await bytes(raw().png({ palette: true })), await bytes(raw().png({ progressive: true }))],
    WebP: [await bytes(raw().webp()), await bytes(raw().webp({ lossless: true })), await bytes(raw().withMetadata({ orientation: 8 }).webp())],
  };
}

/** Bytes changed, fields of two or four bytes set to extremes, pieces cut out, doubled or swapped. Checksums of PNG are made right again for half, or nothing would come past them. */
function mutated(bytes: Uint8Array, random: Random): Uint8Array {
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

function repaired(bytes: Uint8Array): Uint8Array {
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

describe.each(["sharp", "wasm"] satisfies Decoder[])("a thousand mutated files, by %s,", (decoder) => {
  test.each(["JPEG", "PNG", "WebP"])("of %s are pixels or broken, in time, and whole files are still read", async (format) => {
    const originals = (await files())[format], random = new Random(7, format.length, decoder.length), before = process.memoryUsage().rss;
    const want = await Promise.all(originals.map((bytes) => decodeImage(bytes, "whole", { decoder })));
    let read = 0, broken = 0, longest = 0;
    for (let i = 0; i < MUTANTS; i++) {
      const bytes = mutated(originals[i % originals.length], random), name = `mutant-${i}`, start = performance.now();
      try {
        const { width, height, pixels } = await decodeImage(bytes, name, { decoder });
        expect(pixels.length).toBe(3 * width * height);
        read++;
      } catch (error) {
        if (!(error instanceof BrokenImage)) throw error;
        expect(error.message.startsWith(`image ${name}: `), error.message).toBe(true);
        broken++;
      }
      longest = Math.max(longest, performance.now() - start);
    }
    expect(read + broken).toBe(MUTANTS);
    expect(Math.min(read, broken), "both kinds are met").toBeGreaterThan(20);
    expect(longest).toBeLessThan(LONGEST_MS);
    expect(process.memoryUsage().rss - before, "nothing piles up").toBeLessThan(600e6);
    for (const [k, bytes] of originals.entries()) expect(apart(await decodeImage(bytes, "whole", { decoder }), want[k])).toBe(0);
  });
});

describe("bombs", () => {
  const refusal = async (bytes: Uint8Array): Promise<string> => {
    const start = performance.now(), message = await decodeImage(bytes, "bomb").then(() => "nothing was refused", (error: Error) => (error instanceof BrokenImage ? error.message : String(error)));
    expect(performance.now() - start).toBeLessThan(LONGEST_MS);
    return message;
  };
  test("of 60 million pixels in some hundred bytes are refused before anything is allocated", async () => {
    const jpeg = (await jpegOf(pattern(20, 10))).slice(), frame = jpeg.findIndex((byte, i) => byte === 0xff && jpeg[i + 1] === 0xc0);
    jpeg.set([7500 >> 8, 7500 & 255, 8000 >> 8, 8000 & 255], frame + 5);
    expect(await refusal(jpeg)).toBe(`image bomb: the header says 8000 x 7500 pixels, which a file of ${jpeg.length} bytes does not hold; replace the file`);
    const png = encodePng(pattern(20, 10)).slice();
    new DataView(png.buffer).setUint32(16, 3900);
    new DataView(png.buffer).setUint32(20, 3900);
    expect(await refusal(repaired(png))).toMatch(/^image bomb: the rows take 45633900 bytes, which the \d+ compressed ones cannot give; replace the file$/);
  });
  test("of hundreds of scans are refused", async () => {
    const jpeg = await jpegOf(pattern(20, 10), { progressive: true }), scan = jpeg.findLastIndex((byte, i) => byte === 0xff && jpeg[i + 1] === 0xda), one = jpeg.subarray(scan, -2);
    const bomb = Buffer.concat([jpeg.subarray(0, scan), ...Array.from({ length: 300 }, () => one), jpeg.subarray(-2)]);
    expect(await refusal(bomb)).toBe("image bomb: the JPEG has more than 128 scans; replace the file");
  });
});
