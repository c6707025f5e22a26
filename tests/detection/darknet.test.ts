import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { DarknetError, loadDarknet, readDarknetConfig, readDarknetHeader, type DarknetCell } from "../../detection/darknet.ts";
import { loadKernels, Random } from "../../engine/index.ts";
import { BatchNorm2d, Conv2d } from "../../nn/layers.ts";

beforeAll(async () => { await loadKernels(); });

const text = readFileSync(fileURLToPath(new URL("../fixtures/snn-yolov3/darknet/mini3.cfg", import.meta.url)), "utf8");

describe("a darknet cfg", () => {
  it("is a list of layers with their shapes", () => {
    const { input, layers } = readDarknetConfig(text);
    expect(input).toEqual([3, 32, 48]);
    expect(layers.map(({ type }) => type).join(" ")).toBe("convolutional convolutional convolutional convolutional shortcut convolutional convolutional convolutional shortcut convolutional yolo route convolutional upsample route convolutional convolutional yolo");
    expect(layers.at(-2)).toMatchObject({ index: 16, input: [12, 16, 24], output: [21, 16, 24], norm: false });
    expect(layers[14]).toMatchObject({ from: [13, 4], output: [18, 16, 24] });
    expect(layers[17]).toMatchObject({ mask: [0, 1, 2], classes: 2, anchors: [[4, 5], [7, 9], [10, 7], [12, 20], [18, 14], [20, 30]] });
  });

  it("drops blanks anywhere, takes the first of two equal keys, and reads lines from Windows", () => {
    const { layers } = readDarknetConfig("[ne t]\r\nwi dth = 4 8\r\nheight=32\r\nchannels=3\r\n;x\r\n# y\r\n[convolutional]\r\nfilters= 1 2\r\nfilters=5\r\nsize=3\r\npad=1\r\nwhatever=..\r\n");
    expect(layers[0]).toMatchObject({ filters: 12, padding: 1, output: [12, 32, 48], activation: "logistic", norm: false });
  });

  const net = "[net]\nwidth=32\nheight=32\nchannels=3\n";
  it.each([
    ["", /a cfg begins with \[net\], this with nothing/],
    ["[convolutional]\n", /begins with \[net\], this with \[convolutional\]/],
    ["width=3\n[net]\n", /line 1: width stands before the first \[section\]/],
    ["[net]\nwidth\n", /line 2: expected \[section\], key=value or a comment, got "width"/],
    ["[net]\nwidth=32\nheight=32\n", /line 1: \[net\] channels must be a whole number from 1 to 65536, got none/],
    ["[net]\nwidth=1e9\nheight=32\nchannels=3\n", /width must be a whole number from 1 to 8192, got "1e9"/],
    [`${net}[lstm]\n`, /line 5: \[lstm\] is not of YOLOv3/],
    [`${net}[convolutional]\nfilters=999999999\n`, /filters must be a whole number from 1 to 65536/],
    [`${net}[convolutional]\nsize=15\nstride=2\n[convolutional]\nsize=15\n`, /a window of 15 does not fit into \[1, 9, 9\]/],
    [`${net}[route]\nlayers=0\n`, /layer 0 reads layer 0, which is none of the 0 before it/],
    [`${net}[convolutional]\n[route]\nlayers=-1,x\n`, /layers must be numbers with commas between, got "-1,x"/],
    [`${net}[convolutional]\n[convolutional]\nfilters=2\n[shortcut]\nfrom=-2\n`, /adds layer 0 \[1, 32, 32\] to \[2, 32, 32\]; expected equal shapes/],
    [`${net}[convolutional]\n[upsample]\n[route]\nlayers=0,1\n`, /joins layer 1 \[1, 64, 64\] to \[1, 32, 32\]/],
    [`${net}${"[upsample]\nstride=16\n".repeat(3)}`, /makes \[3, 8192, 8192\] larger than 8192/],
    [`${net}[yolo]\nmask=0\nanchors=1,2\nclasses=2\n`, /1 anchors and 2 classes expect 7 channels, got 3/],
    [`${net}[yolo]\nmask=1\nanchors=1,2\nclasses=2\n`, /mask names anchor 1, there are 1/],
    [net + "[upsample]\nstride=1\n".repeat(1000), /at most 1000 sections/],
    ["#".repeat((1 << 20) + 1), /a darknet cfg has some kilobytes/],
  ])("is refused in one sentence: %#", (cfg, sentence) => {
    expect(() => readDarknetConfig(cfg, "x.cfg")).toThrow(sentence);
    expect(() => readDarknetConfig(cfg, "x.cfg")).toThrow(DarknetError);
  });

  it("with bytes changed is read or refused, never anything else", () => {
    const random = new Random(5), bytes = new TextEncoder().encode(text);
    let refused = 0;
    for (let i = 0; i < 1000; i++) {
      try { readDarknetConfig(new TextDecoder().decode(mutated(bytes, random))); } catch (error) { expect(error).toBeInstanceOf(DarknetError); refused++; }
    }
    expect(refused).toBeGreaterThan(100);
    expect(refused).toBeLessThan(1000);
  });
});

/** Some bytes changed, cut off or repeated. */
function mutated(bytes: Uint8Array, random: Random): Uint8Array {
  const out = bytes.slice(0, random.uniform(0, 1) < 0.3 ? Math.floor(random.uniform(0, bytes.length)) : bytes.length);
  for (let k = 0; k < 3 && out.length; k++) out[Math.floor(random.uniform(0, out.length))] = Math.floor(random.uniform(0, 128));
  return out;
}

describe("darknet weights", () => {
  const cells = (): DarknetCell[] => [{ index: 0, conv: new Conv2d(2, 3, 3), norm: new BatchNorm2d(3) }, { index: 2, conv: new Conv2d(3, 2, 1, { bias: true }) }];
  const SIZES = [3 * 4 + 54, 2 + 6], ALL = SIZES[0] + SIZES[1];

  /** A file of these values after a header of this version. */
  function file(values: ArrayLike<number>, { major = 0, minor = 2, seen = 7 } = {}): Uint8Array {
    const size = major * 10 + minor >= 2 ? 20 : 16, view = new DataView(new ArrayBuffer(size + 4 * values.length));
    view.setInt32(0, major, true);
    view.setInt32(4, minor, true);
    if (size === 20) view.setBigUint64(12, BigInt(seen), true); else view.setUint32(12, seen, true);
    for (let i = 0; i < values.length; i++) view.setFloat32(size + 4 * i, values[i], true);
    return new Uint8Array(view.buffer);
  }
  const counted = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);

  it.each([[2, 5_000_000_123], [1, 32_013_312]])("of version 0.%i are read: shift, scale, mean, variance, then [out][in][kh][kw]", (minor, seen) => {
    const [first, second] = cells(), { norm } = first;
    expect(loadDarknet([first, second], file(counted(ALL), { minor, seen }))).toMatchObject({ minor, seen, layers: 2 });
    expect([...norm!.bias.data, ...norm!.weight.data, ...norm!.runningMean.data, ...norm!.runningVariance.data]).toEqual(counted(12));
    for (const [o, i, y, x] of [[0, 0, 0, 0], [0, 1, 0, 0], [2, 1, 2, 1]]) expect(first.conv.weight.data[((o * 3 + y) * 3 + x) * 2 + i]).toBe(13 + ((o * 2 + i) * 3 + y) * 3 + x);
    expect([...second.conv.bias!.data]).toEqual([67, 68]);
  });

  it("may end behind a layer where that is asked for, and nowhere else", () => {
    expect(loadDarknet(cells(), file(counted(SIZES[0])), { partial: true }).layers).toBe(1);
    expect(() => loadDarknet(cells(), file(counted(SIZES[0])), { file: "a.weights" })).toThrow("a.weights: ends after 1 of 2 convolutions; expected 296 bytes after the header, got 264 (a backbone alone is read with partial)");
    for (const partial of [true, false]) {
      expect(() => loadDarknet(cells(), file(counted(ALL - 1)), { partial })).toThrow(/ends in layer 2, 28 bytes into its 32/);
      expect(() => loadDarknet(cells(), file(counted(ALL + 1)), { partial })).toThrow(/takes 296 bytes after the header, the file has 300/);
      expect(() => loadDarknet(cells(), file(counted(ALL)).slice(0, -1), { partial })).toThrow(/ends in layer 2/);
    }
  });

  it("write nothing where anything is wrong: NaN, infinities, variances below zero", () => {
    for (const [at, value, sentence] of [[70, NaN, /value 70 is NaN/], [3, Infinity, /value 3 is Infinity/], [10, -1, /a variance of layer 0 is below 0/]] as const) {
      const given = cells(), before = [...given[0].conv.weight.data, ...given[0].norm!.bias.data];
      expect(() => loadDarknet(given, file(counted(ALL).with(at, value)))).toThrow(sentence);
      expect([...given[0].conv.weight.data, ...given[0].norm!.bias.data]).toEqual(before);
    }
  });

  it("have a header, and a version of darknet", () => {
    expect(() => readDarknetHeader(new Uint8Array(15))).toThrow(/a header has at least 16 bytes, the file has 15/);
    expect(() => readDarknetHeader(file([], { minor: 2 }).slice(0, 18))).toThrow(/version 0.2 has 20 bytes, the file has 18/);
    expect(() => readDarknetHeader(new TextEncoder().encode("PK\x03\x04 this is a zip of something else"))).toThrow(/none of darknet's convolutional networks/);
  });

  it("with darknet's norm divide by what darknet divides by", () => {
    const [first] = cells(), variance = 0.04;
    loadDarknet([first], file(counted(SIZES[0]).fill(variance, 9, 12)), { sameNorm: true });
    const { norm } = first;
    expect(Math.sqrt(norm!.runningVariance.data[0] + norm!.options.eps)).toBeCloseTo(Math.sqrt(Math.fround(variance)) + 1e-6, 8);
  });
});
