import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import sharp from "sharp";
import { BrokenImage, decodeImage, encodePng, MAX_PIXELS, type Decoder } from "../../datasets/image.ts";
import type { Picture } from "../../datasets/sample.ts";
import { apart, beside, jpegOf, pattern } from "./pictures.ts";

const DECODERS: Decoder[] = ["sharp", "wasm"];
const failure = async (promise: Promise<unknown>): Promise<Error> => promise.then(() => { throw new Error("nothing was thrown"); }, (error: Error) => error);

describe("both decoders", () => {
  const kinds = { "4:2:0": {}, "4:4:4": { chromaSubsampling: "4:4:4" }, progressive: { progressive: true }, grey: { grey: true }, coarse: { quality: 20 } };
  for (const [kind, options] of Object.entries(kinds)) {
    test(`give the same pixels for a ${kind} JPEG of odd size`, async () => {
      const picture = pattern(101, 67), bytes = await jpegOf(picture, options);
      const [a, b] = await Promise.all(DECODERS.map((decoder) => decodeImage(bytes, "a.jpg", { decoder })));
      expect(apart(a, b)).toBe(0);
      if (kind === "4:4:4") expect(apart(a, picture), "and nearly those that were compressed, but for the hard corner").toBeLessThan(40);
    });
  }

  for (let orientation = 1; orientation <= 8; orientation++) {
    test(`turn a picture with EXIF orientation ${orientation} upright, alike`, async () => {
      const stored = pattern(40, 24), bytes = await jpegOf(stored, { orientation, chromaSubsampling: "4:4:4", quality: 100 });
      const [a, b] = await Promise.all(DECODERS.map((decoder) => decodeImage(bytes, "a.jpg", { decoder })));
      expect(apart(a, b)).toBe(0);
      expect(apart(a, upright(stored, orientation))).toBeLessThan(8);
    });
  }

  const webps = { lossy: {}, lossless: { lossless: true }, "nearly lossless": { nearLossless: true }, coarse: { quality: 20 } };
  for (const [kind, options] of Object.entries(webps)) {
    test(`give the same pixels for a ${kind} WebP of odd size`, async () => {
      const picture = pattern(101, 67), bytes = new Uint8Array(await sharp(picture.pixels, { raw: { width: 101, height: 67, channels: 3 } }).webp(options).toBuffer());
      const [a, b] = await Promise.all(DECODERS.map((decoder) => decodeImage(bytes, "a.webp", { decoder })));
      expect(apart(a, b)).toBe(0);
      if (kind === "lossless") expect(apart(a, picture)).toBe(0);
    });
  }

  test("drop the transparency of a WebP, and turn it and a PNG upright", async () => {
    const stored = pattern(40, 24), rgba = new Uint8Array(40 * 24 * 4).map((_, i) => (i % 4 === 3 ? 255 - (i >> 4) % 50 : stored.pixels[3 * (i >> 2) + i % 4]));
    const image = () => sharp(rgba, { raw: { width: 40, height: 24, channels: 4 } });
    const clear = new Uint8Array(await image().webp({ lossless: true }).toBuffer());
    for (const decoder of DECODERS) expect(apart(await decodeImage(clear, "a.webp", { decoder }), stored)).toBe(0);
    for (let orientation = 1; orientation <= 8; orientation++) for (const format of ["webp", "png"] as const) {
      const turned = new Uint8Array(await image().removeAlpha().withMetadata({ orientation }).toFormat(format, { lossless: true }).toBuffer());
      for (const decoder of DECODERS) expect(apart(await decodeImage(turned, `a.${format}`, { decoder }), upright(stored, orientation)), `${format}, orientation ${orientation}, by ${decoder}`).toBe(0);
    }
  });

  test("refuse a WebP that is cut or moves", async () => {
    const raw = () => sharp(pattern(40, 24).pixels, { raw: { width: 40, height: 24, channels: 3, pageHeight: 12 } as never });
    const bytes = new Uint8Array(await raw().webp().toBuffer());
    for (const decoder of DECODERS) {
      for (const share of [0.3, 0.6, 0.95]) expect((await failure(decodeImage(bytes.subarray(0, bytes.length * share), "cut.webp", { decoder }))).message).toMatch(/^image cut\.webp: .*\(truncated\); replace the file$/);
      expect((await failure(decodeImage(bytes, "moving.webp", { decoder }))).message).toBe("image moving.webp: the WebP is animated, expected one picture; replace the file");
    }
  });

  test("tell of four inks, and of nothing else", async () => {
    const told: string[] = [], warn = (sentence: string) => { told.push(sentence); };
    await decodeImage(await jpegOf(pattern(20, 10)), "rgb.jpg", { warn });
    await decodeImage(await jpegOf(pattern(20, 10), { cmyk: true }), "inks.jpg", { warn });
    expect(told).toEqual(["image inks.jpg: the JPEG is CMYK and was converted without its colour profile, so its colours may be off; save it as RGB"]);
  });

  const bccd = beside("data/bccd/JPEGImages");
  test.skipIf(!bccd)("give the same pixels for photographs", async () => {
    for (const name of readdirSync(bccd!).sort().slice(0, 12)) {
      const bytes = readFileSync(join(bccd!, name));
      const [a, b] = await Promise.all(DECODERS.map((decoder) => decodeImage(bytes, name, { decoder })));
      expect(apart(a, b), name).toBe(0);
    }
  });

  const odd = beside("oracle/datasets");
  test.skipIf(!odd)("read the PNG variants exactly", async () => {
    const { images } = JSON.parse(readFileSync(join(odd!, "png/expected.json"), "utf8"));
    const want = tensors(join(odd!, "png/pixels.safetensors"));
    for (const { file, width, height } of images) {
      for (const decoder of DECODERS) {
        const got = await decodeImage(readFileSync(join(odd!, "png", file)), file, { decoder });
        expect(apart(got, { width, height, pixels: want(file) }), `${file} by ${decoder}`).toBe(0);
      }
    }
  });

  test.skipIf(!odd)("read progressive, grey, turned and restarted JPEGs as the reference did, and CMYK where they can", async () => {
    const { images } = JSON.parse(readFileSync(join(odd!, "voc-mini/expected.json"), "utf8"));
    const want = tensors(join(odd!, "voc-mini/pixels.safetensors"));
    for (const { file, width, height, mode, mean_rgb } of images) {
      for (const decoder of DECODERS) {
        if (mode === "CMYK" && decoder === "wasm") continue;
        const got = await decodeImage(readFileSync(join(odd!, "voc-mini/VOCdevkit/VOC2007/JPEGImages", file)), file, { decoder });
        expect([got.width, got.height], file).toEqual([width, height]);
        const pixels = want(file.replace(".jpg", ""));
        let sum = 0;
        for (let i = 0; i < pixels.length; i++) sum += Math.abs(pixels[i] - got.pixels[i]);
        expect(sum / pixels.length, `${file} by ${decoder}`).toBeLessThan(2);
        const means = [0, 1, 2].map((c) => got.pixels.filter((_, i) => i % 3 === c).reduce((a, b) => a + b, 0) / (width * height));
        means.forEach((mean, c) => expect(Math.abs(mean - mean_rgb[c]), `mean of channel ${c} of ${file} by ${decoder}`).toBeLessThan(1));
      }
    }
  });
});

describe("a broken file", () => {
  for (const decoder of DECODERS) {
    test(`cut anywhere is a BrokenImage that says so (${decoder})`, async () => {
      const bytes = await jpegOf(pattern(80, 60));
      for (const share of [0.02, 0.2, 0.5, 0.9]) {
        const cut = bytes.subarray(0, Math.round(bytes.length * share));
        const error = await failure(decodeImage(cut, "cut.jpg", { decoder }));
        expect(error).toBeInstanceOf(BrokenImage);
        expect(error.message).toBe(`image cut.jpg: the JPEG has no end-of-image marker within its ${cut.length} bytes (truncated); replace the file`);
      }
      expect(await failure(decodeImage(bytes.subarray(0, -1), "cut.jpg", { decoder }))).toBeInstanceOf(BrokenImage);
    });

    test(`is not excused by the end marker of a thumbnail inside it (${decoder})`, async () => {
      const bytes = await jpegOf(pattern(80, 60));
      const thumbnail = [0xff, 0xe1, 0x00, 0x08, 0xff, 0xd8, 0x11, 0x22, 0xff, 0xd9];
      const whole = Uint8Array.from([...bytes.subarray(0, 2), ...thumbnail, ...bytes.subarray(2)]);
      expect(await decodeImage(whole, "a.jpg", { decoder })).toMatchObject({ width: 80, height: 60 });
      expect((await failure(decodeImage(whole.subarray(0, whole.length - 9), "a.jpg", { decoder }))).message).toContain("truncated");
    });

    test(`with bytes behind its end is not broken (${decoder})`, async () => {
      const bytes = await jpegOf(pattern(20, 10));
      expect(await decodeImage(Uint8Array.from([...bytes, 0, 0xff, 1, 2, 3]), "a.jpg", { decoder })).toMatchObject({ width: 20, height: 10 });
    });

    test(`cut or altered as a PNG is a BrokenImage (${decoder})`, async () => {
      const bytes = encodePng(pattern(30, 20));
      expect((await failure(decodeImage(bytes.subarray(0, 300), "a.png", { decoder }))).message).toBe("image a.png: the PNG ends inside a chunk, before its end chunk, after 300 bytes (truncated); replace the file");
      const altered = bytes.slice();
      altered[200] ^= 4;
      expect((await failure(decodeImage(altered, "a.png", { decoder }))).message).toBe("image a.png: chunk IDAT at byte 33 has a wrong checksum; replace the file");
    });

    test(`that claims more pixels than the limit is refused unread (${decoder})`, async () => {
      const bytes = (await jpegOf(pattern(20, 10))).slice();
      const frame = bytes.findIndex((byte, i) => byte === 0xff && bytes[i + 1] === 0xc0);
      bytes.set([0xff, 0xff, 0xff, 0xff], frame + 5);
      expect((await failure(decodeImage(bytes, "big.jpg", { decoder }))).message).toBe(`image big.jpg: 65535 x 65535 pixels exceed the limit of ${MAX_PIXELS}; scale the file down`);
    });
  }

  test("of another kind, or none, is named by its first bytes", async () => {
    expect((await failure(decodeImage(Uint8Array.of(0x47, 0x49, 0x46, 0x38, 0x39), "a.gif"))).message).toBe("image a.gif: expected a JPEG (ff d8), a PNG (89 50 4e 47) or a WebP (RIFF), got a file that starts with 47 49 46 38; convert it");
    expect((await failure(decodeImage(new Uint8Array(0), "a.jpg"))).message).toBe("image a.jpg: expected a JPEG (ff d8), a PNG (89 50 4e 47) or a WebP (RIFF), got an empty file; convert it");
  });

  test("of four inks needs sharp, and the fallback says so", async () => {
    const bytes = await jpegOf(pattern(20, 10), { cmyk: true });
    expect(await decodeImage(bytes, "a.jpg", { decoder: "sharp" })).toMatchObject({ width: 20, height: 10 });
    expect((await failure(decodeImage(bytes, "a.jpg", { decoder: "wasm" }))).message).toContain("CMYK needs sharp: npm install sharp");
  });

  test("does not spoil the fallback for the files after it, however many there are", async () => {
    const picture = pattern(32, 24), good = await jpegOf(picture), bad = good.slice();
    const frame = bad.findIndex((byte, i) => byte === 0xff && bad[i + 1] === 0xc0);
    bad[frame + 11] = 0x00;                                                               // a component without a sampling factor
    for (let i = 0; i < 150; i++) expect(await failure(decodeImage(bad, "bad.jpg", { decoder: "wasm" }))).toBeInstanceOf(BrokenImage);
    expect(apart(await decodeImage(good, "good.jpg", { decoder: "wasm" }), await decodeImage(good, "good.jpg", { decoder: "sharp" }))).toBe(0);
  }, 60_000);
});

describe("encodePng", () => {
  test("writes what both decoders read back, at awkward sizes", async () => {
    for (const [width, height] of [[1, 1], [3, 1], [1, 5], [17, 8], [101, 67]]) {
      const picture = pattern(width, height), bytes = encodePng(picture);
      for (const decoder of DECODERS) expect(apart(await decodeImage(bytes, "a.png", { decoder }), picture), `${width} x ${height} by ${decoder}`).toBe(0);
    }
  });

  test("compresses a smooth picture about as well as sharp", async () => {
    const picture = pattern(200, 150);
    const theirs = await sharp(picture.pixels, { raw: { width: 200, height: 150, channels: 3 } }).png().toBuffer();
    expect(encodePng(picture).length).toBeLessThan(1.5 * theirs.length);
  });

  test("refuses pixels that are not width x height", () => {
    expect(() => encodePng({ width: 4, height: 3, pixels: new Uint8Array(35) })).toThrow("encodePng: expected 3 x 4 x 3 = 36 bytes, got 35");
  });
});

/** What EXIF orientation 1..8 makes of a stored picture: [x, y] of the upright one comes from here. */
function upright({ width: w, height: h, pixels }: Picture, orientation: number): Picture {
  const turned = orientation > 4, width = turned ? h : w, height = turned ? w : h;
  const from: Record<number, (x: number, y: number) => [number, number]> = {
    1: (x, y) => [x, y], 2: (x, y) => [w - 1 - x, y], 3: (x, y) => [w - 1 - x, h - 1 - y], 4: (x, y) => [x, h - 1 - y],
    5: (x, y) => [y, x], 6: (x, y) => [y, h - 1 - x], 7: (x, y) => [w - 1 - y, h - 1 - x], 8: (x, y) => [w - 1 - y, x],
  };
  const out = new Uint8Array(w * h * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [i, j] = from[orientation](x, y);
      for (let c = 0; c < 3; c++) out[3 * (y * width + x) + c] = pixels[3 * (j * w + i) + c];
    }
  }
  return { width, height, pixels: out };
}

/** Byte tensors of a safetensors file, by name. */
function tensors(path: string): (name: string) => Uint8Array {
  const bytes = readFileSync(path), length = Number(bytes.readBigUInt64LE(0)), header = JSON.parse(bytes.subarray(8, 8 + length).toString());
  return (name) => {
    const { dtype, data_offsets: [from, to] } = header[name];
    if (dtype !== "U8") throw new Error(`${name} is ${dtype}, expected U8`);
    return bytes.subarray(8 + length + from, 8 + length + to);
  };
}

