/** A thousand mutations of real files for each decoder: pixels or a BrokenImage that names the file, in time and memory, and the decoder still works afterwards. */
import { execFile, spawnSync } from "node:child_process";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { zlibSync } from "fflate";
import { BrokenImage, decodeImage, encodePng, type Decoder } from "../../datasets/image.ts";
import { Random } from "../../engine/random.ts";
import { mutated, originals, repaired } from "./image-mutants.ts";
import { apart, jpegOf, pattern } from "./pictures.ts";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 300_000 });

const ROOT = resolve(import.meta.dirname, "../.."), DECODERS = ["sharp", "wasm"] satisfies Decoder[];
const MUTANTS = 1000, LONGEST_MS = 1000, MB = 1 << 20;

describe.each(DECODERS)("a thousand mutated files, by %s,", (decoder) => {
  beforeAll(() => {
    const { status, stderr, stdout } = spawnSync(process.execPath, [join(ROOT, "cli/bootstrap.mjs"), "build"], { encoding: "utf8" });
    if (status !== 0) throw new Error(stdout + stderr);
  });

  test.each(["JPEG", "PNG", "WebP"])("of %s are pixels or broken, each in a second of the processor, all in 64 MB and 4 times the file, and whole files are still read", async (format) => {
    const { stdout } = await promisify(execFile)(process.execPath, ["--expose-gc", join(ROOT, "dist/tests/datasets/decode-mutants.js"), decoder, format, `${MUTANTS}`]);
    const { read, broken, longest, slowest, grown, largest, threw, still } = JSON.parse(stdout);
    expect(threw).toBeUndefined();
    expect(read + broken).toBe(MUTANTS);
    expect(Math.min(read, broken), "both kinds are met").toBeGreaterThan(20);
    expect(longest, `mutant ${slowest}`).toBeLessThan(LONGEST_MS);
    expect(grown).toBeLessThan(64 * MB + 4 * largest);
    expect(still).toBe(0);
  });
});

test("five hundred mutated PNGs are the same pixels to both decoders, or broken to both", async () => {
  const files = (await originals()).PNG, random = new Random(1, 2);
  let read = 0;
  for (let i = 0; i < 500; i++) {
    const bytes = mutated(files[i % files.length], random);
    const [a, b] = await Promise.all(DECODERS.map((decoder) => decodeImage(bytes, "mutant", { decoder }).catch((error: Error) => { if (error instanceof BrokenImage) return undefined; throw error; })));
    expect(a === undefined, `mutant ${i}`).toBe(b === undefined);
    if (a && b) expect(apart(a, b), `mutant ${i}`).toBe(0);
    if (a) read++;
  }
  expect(read).toBeGreaterThan(10);
});

describe.each(DECODERS)("a PNG, by %s,", (decoder) => {
  const picture = pattern(40, 30), raw = Uint8Array.from({ length: 30 * 121 }, (_, i) => (i % 121 === 0 ? 0 : picture.pixels[3 * 40 * Math.floor(i / 121) + (i % 121) - 1]));
  const chunk = (type: string, body: Uint8Array): Uint8Array => { const out = new Uint8Array(12 + body.length); new DataView(out.buffer).setUint32(0, body.length); out.set(new TextEncoder().encode(type), 4); out.set(body, 8); return out; };
  /** Whole chunks with right sums, whatever the compressed rows are. */
  const png = (packed: Uint8Array): Uint8Array => repaired(Buffer.concat([encodePng(picture).subarray(0, 33), chunk("IDAT", packed), chunk("IEND", new Uint8Array(0))]));
  const refusal = (packed: Uint8Array): Promise<string> => decodeImage(png(packed), "cut", { decoder }).then(() => "nothing was refused", (error: Error) => (error instanceof BrokenImage ? error.message : String(error)));

  test("of whole rows is read", async () => {
    expect((await decodeImage(png(zlibSync(raw)), "whole", { decoder })).pixels).toEqual(picture.pixels);
  });
  test("whose rows end early, in chunks that are whole, is refused", async () => {
    for (const rows of [0, 1, 15, 29]) expect(await refusal(zlibSync(raw.subarray(0, 121 * rows))), `${rows} rows`).toMatch(/^image cut: cannot be decoded \(.*\); replace the file$/);
    const packed = zlibSync(raw);
    for (const bytes of [20, packed.length >> 1, packed.length - 20]) expect(await refusal(packed.subarray(0, bytes)), `${bytes} bytes`).toMatch(/^image cut: /);
  });
  test("whose rows are not those of their checksum is refused", async () => {
    const packed = zlibSync(raw);
    packed[packed.length - 1] ^= 1;
    expect(await refusal(packed)).toMatch(/^image cut: cannot be decoded /);
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
  test("that claim what only their other bytes would hold, or a WebP more than its own, are refused", async () => {
    const jpeg = await jpegOf(pattern(20, 10)), stuffed = Buffer.concat([jpeg.subarray(0, 2), ...Array.from({ length: 8 }, () => [Buffer.from([0xff, 0xe5, 0xff, 0xff]), Buffer.alloc(65533)]).flat(), jpeg.subarray(2)]);
    expect((await decodeImage(stuffed, "stuffed")).width).toBe(20);
    const frame = stuffed.findIndex((byte, i) => byte === 0xff && stuffed[i + 1] === 0xc0);
    stuffed.set([4000 >> 8, 4000 & 255, 4000 >> 8, 4000 & 255], frame + 5);
    expect(await refusal(stuffed)).toMatch(/^image bomb: the header says 4000 x 4000 pixels, which a file of \d+ bytes does not hold; replace the file$/);
    const { default: sharp } = await import("sharp"), raw = () => sharp(pattern(20, 10).pixels, { raw: { width: 20, height: 10, channels: 3 } });
    for (const [options, name] of [[{}, "VP8 "], [{ lossless: true }, "VP8L"]] as const) {
      const webp = new Uint8Array(await raw().webp(options).toBuffer()), body = Buffer.from(webp).indexOf(name) + 8, view = new DataView(webp.buffer);
      if (name === "VP8 ") { view.setUint16(body + 6, 4000, true); view.setUint16(body + 8, 4000, true); }
      else view.setUint32(body + 1, (view.getUint32(body + 1, true) & ~0xfffffff) | 3999 | 3999 << 14, true);
      expect(await refusal(webp), name).toMatch(/^image bomb: the header says 4000 x 4000 pixels, which a file of \d+ bytes does not hold; replace the file$/);
    }
  });
  test("of hundreds of scans are refused", async () => {
    const jpeg = await jpegOf(pattern(20, 10), { progressive: true }), scan = jpeg.findLastIndex((byte, i) => byte === 0xff && jpeg[i + 1] === 0xda), one = jpeg.subarray(scan, -2);
    const bomb = Buffer.concat([jpeg.subarray(0, scan), ...Array.from({ length: 300 }, () => one), jpeg.subarray(-2)]);
    expect(await refusal(bomb)).toBe("image bomb: the JPEG has more than 128 scans; replace the file");
    const large = (await jpegOf(pattern(20, 10), { progressive: true })).slice(), frame = large.findIndex((byte, i) => byte === 0xff && large[i + 1] === 0xc2), last = large.findLastIndex((byte, i) => byte === 0xff && large[i + 1] === 0xda);
    large.set([7500 >> 8, 7500 & 255, 8000 >> 8, 8000 & 255], frame + 5);
    const scans = Buffer.concat([large.subarray(0, -2), ...Array.from({ length: 100 }, () => large.subarray(last, -2)), large.subarray(-2)]);
    expect(await refusal(scans)).toMatch(/^image bomb: the JPEG has 110 scans of 8000 x 7500 pixels, which its \d+ coded bytes do not fill; replace the file$/);
  });
});
