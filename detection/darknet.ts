/**
 * darknet's files: `.cfg`, a list of sections, and `.weights`, one header and then float32 after float32. Both are read strictly: darknet itself checks no length,
 * leaves the rest of a network as it was where a file ends early, and ignores what is left over.
 */
import { show } from "../engine/index.ts";
import type { BatchNorm2d, Conv2d } from "../nn/layers.ts";
import { theirPositions } from "./weights.ts";

export class DarknetError extends Error { override readonly name = "DarknetError"; }

// ── .cfg ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** [channels, height, width] */
export type DarknetShape = readonly [channels: number, height: number, width: number];

/** One section after [net], with what goes in and what comes out. `from` are the numbers of the layers that it reads beside or in place of the one before. */
export type DarknetLayer = { readonly index: number; readonly input: DarknetShape; readonly output: DarknetShape } & (
  | { readonly type: "convolutional"; readonly filters: number; readonly size: number; readonly stride: number; readonly padding: number; readonly norm: boolean; readonly activation: string }
  | { readonly type: "shortcut" | "route"; readonly from: readonly number[] }
  | { readonly type: "upsample"; readonly stride: number }
  | { readonly type: "maxpool"; readonly size: number; readonly stride: number; readonly padding: number }
  | { readonly type: "yolo"; readonly mask: readonly number[]; readonly anchors: readonly (readonly [number, number])[]; readonly classes: number });

export interface DarknetConfig { readonly input: DarknetShape; readonly layers: readonly DarknetLayer[] }

/** More than any network of darknet has: what lies beyond is no network. */
const MOST_TEXT = 1 << 20, MOST_LAYERS = 1000, MOST_SIDE = 8192, MOST_CHANNELS = 1 << 16;

/** One [section] of the file, which says where it stands in whatever is wrong with it. */
class Section {
  private readonly values = new Map<string, string>();
  constructor(readonly type: string, readonly line: number, private readonly file: string) {}

  /** The first of several counts. */
  set(key: string, value: string): void { if (!this.values.has(key)) this.values.set(key, value); }

  whole(key: string, fallback: number | undefined, least: number, most: number): number {
    const text = this.values.get(key);
    if (text === undefined && fallback !== undefined) return fallback;
    const value = Number(text);
    if (!text || !/^[+-]?\d+$/.test(text) || value < least || value > most) throw this.wrong(`${key} must be a whole number from ${least} to ${most}, got ${text === undefined ? "none" : JSON.stringify(text)}`);
    return value;
  }

  list(key: string): number[] {
    const numbers = (this.values.get(key) ?? "").split(",").filter((text) => text !== "").map(Number);
    if (numbers.length === 0 || numbers.length > MOST_LAYERS || numbers.some((n) => !Number.isFinite(n))) throw this.wrong(`${key} must be numbers with commas between, got ${JSON.stringify(this.values.get(key) ?? "")}`);
    return numbers;
  }

  text(key: string, fallback: string): string { return this.values.get(key) ?? fallback; }
  wrong(what: string): DarknetError { return new DarknetError(`${this.file}, line ${this.line}: [${this.type}] ${what}`); }
}

function sectionsOf(text: string, file: string): Section[] {
  if (text.length > MOST_TEXT) throw new DarknetError(`${file}: a darknet cfg has some kilobytes, this has ${text.length} characters`);
  const sections: Section[] = [];
  text.split("\n").forEach((raw, i) => {
    const line = raw.replace(/[ \t\r]/g, ""), at = line.indexOf("=");
    if (line === "" || line.startsWith("#") || line.startsWith(";")) return;
    const head = /^\[([^\]]*)\]$/.exec(line), last = sections.at(-1);
    if (head) sections.push(new Section(head[1], i + 1, file));
    else if (at < 1) throw new DarknetError(`${file}, line ${i + 1}: expected [section], key=value or a comment, got ${JSON.stringify(line.slice(0, 60))}`);
    else if (!last) throw new DarknetError(`${file}, line ${i + 1}: ${line.slice(0, at)} stands before the first [section]; a cfg begins with [net]`);
    else last.set(line.slice(0, at), line.slice(at + 1));
  });
  if (sections.length === 0 || (sections[0].type !== "net" && sections[0].type !== "network")) throw new DarknetError(`${file}: a cfg begins with [net], this with ${sections.length ? `[${sections[0].type}]` : "nothing"}`);
  if (sections.length > MOST_LAYERS) throw new DarknetError(`${file}: expected at most ${MOST_LAYERS} sections, got ${sections.length}`);
  return sections;
}

/** The layers of a cfg with their shapes. Keys that do not shape the network are left alone; a section that is not of YOLOv3 is refused. */
export function readDarknetConfig(text: string, file = "cfg"): DarknetConfig {
  const [net, ...sections] = sectionsOf(text, file), side = (key: string, most: number): number => net.whole(key, undefined, 1, most);
  const input: DarknetShape = [side("channels", MOST_CHANNELS), side("height", MOST_SIDE), side("width", MOST_SIDE)], layers: DarknetLayer[] = [];
  for (const section of sections) layers.push(layerOf(section, layers, layers.at(-1)?.output ?? input));
  return { input, layers };
}

function layerOf(section: Section, layers: readonly DarknetLayer[], input: DarknetShape): DarknetLayer {
  const index = layers.length, [C, H, W] = input, common = { index, input };
  const from = (n: number): number => {
    const layer = n < 0 ? index + n : n;
    if (!(Number.isInteger(layer) && layer >= 0 && layer < index)) throw section.wrong(`layer ${index} reads layer ${n}, which is none of the ${index} before it`);
    return layer;
  };
  const windows = (size: number, stride: number, padding: number): readonly [number, number] => {
    const [h, w] = [H, W].map((n) => Math.floor((n + padding - size) / stride) + 1);
    if (h < 1 || w < 1) throw section.wrong(`a window of ${size} does not fit into ${show(input)}`);
    return [h, w];
  };
  switch (section.type) {
    case "convolutional": {
      const filters = section.whole("filters", 1, 1, MOST_CHANNELS), size = section.whole("size", 1, 1, 15), stride = section.whole("stride", 1, 1, 16);
      const padding = section.whole("pad", 0, 0, 1) ? size >> 1 : section.whole("padding", 0, 0, 15);
      if (section.whole("groups", 1, 1, MOST_CHANNELS) !== 1) throw section.wrong("in groups is not of YOLOv3; expected groups=1");
      const norm = section.whole("batch_normalize", 0, 0, 1) === 1, activation = section.text("activation", "logistic");
      return { ...common, type: "convolutional", filters, size, stride, padding, norm, activation, output: [filters, ...windows(size, stride, 2 * padding)] };
    }
    case "shortcut": {
      const other = from(section.whole("from", undefined, -MOST_LAYERS, MOST_LAYERS));
      if (layers[other].output.join() !== input.join()) throw section.wrong(`adds layer ${other} ${show(layers[other].output)} to ${show(input)}; expected equal shapes`);
      return { ...common, type: "shortcut", from: [other], output: input };
    }
    case "route": {
      const read = section.list("layers").map(from), [, h, w] = layers[read[0]].output;
      const odd = read.find((n) => layers[n].output[1] !== h || layers[n].output[2] !== w);
      if (odd !== undefined) throw section.wrong(`joins layer ${odd} ${show(layers[odd].output)} to ${show(layers[read[0]].output)}; expected equal heights and widths`);
      return { ...common, type: "route", from: read, output: [read.reduce((sum, n) => sum + layers[n].output[0], 0), h, w] };
    }
    case "upsample": {
      const stride = section.whole("stride", 2, 1, 16);
      if (Math.max(H, W) * stride > MOST_SIDE) throw section.wrong(`makes ${show(input)} larger than ${MOST_SIDE}`);
      return { ...common, type: "upsample", stride, output: [C, H * stride, W * stride] };
    }
    case "maxpool": {
      const stride = section.whole("stride", 1, 1, 16), size = section.whole("size", stride, 1, 15), padding = section.whole("padding", size - 1, 0, 30);
      return { ...common, type: "maxpool", size, stride, padding, output: [C, ...windows(size, stride, padding)] };
    }
    case "yolo": {
      const classes = section.whole("classes", 20, 1, 10000), num = section.whole("num", 1, 1, 100), mask = section.list("mask"), sides = section.list("anchors");
      if (sides.length !== 2 * num) throw section.wrong(`num=${num} expects ${2 * num} sides in anchors, got ${sides.length}`);
      const astray = mask.find((n) => !(Number.isInteger(n) && n >= 0 && n < num));
      if (astray !== undefined) throw section.wrong(`mask names anchor ${astray}, there are ${num}`);
      if (C !== mask.length * (classes + 5)) throw section.wrong(`${mask.length} anchors and ${classes} classes expect ${mask.length * (classes + 5)} channels, got ${C} from layer ${index - 1}`);
      return { ...common, type: "yolo", mask, classes, anchors: Array.from({ length: num }, (_, i) => [sides[2 * i], sides[2 * i + 1]] as const), output: input };
    }
    default: throw section.wrong("is not of YOLOv3; expected convolutional, shortcut, route, upsample, maxpool or yolo");
  }
}

// ── .weights ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A convolution of a network, and the norm behind it; without one it has a bias. */
export interface DarknetCell { readonly index: number; readonly conv: Conv2d; readonly norm?: BatchNorm2d }

export interface DarknetHeader { readonly major: number; readonly minor: number; readonly revision: number; /** Pictures that it was trained on. */ readonly seen: number; /** Bytes of the header. */ readonly size: number }

export function readDarknetHeader(bytes: Uint8Array, file = "weights"): DarknetHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 16) throw new DarknetError(`${file}: a header has at least 16 bytes, the file has ${bytes.length}`);
  const [major, minor, revision] = [0, 4, 8].map((at) => view.getInt32(at, true));
  if (major < 0 || minor < 0 || major > 1000 || minor > 1000) throw new DarknetError(`${file}: version ${major}.${minor} is none of darknet's convolutional networks; this is no weights file, or not as they are stored`);
  const long = major * 10 + minor >= 2;
  if (long && bytes.length < 20) throw new DarknetError(`${file}: a header of version ${major}.${minor} has 20 bytes, the file has ${bytes.length}`);
  return { major, minor, revision, seen: long ? Number(view.getBigUint64(12, true)) : view.getUint32(12, true), size: long ? 20 : 16 };
}

export interface DarknetLoadOptions {
  /** The file may end behind any layer, such as the backbone alone. */
  readonly partial?: boolean;
  /**
   * Darknet divides by sqrt(variance) + 1e-6, we by sqrt(variance + eps). With true the running variance is stored as what makes both the same;
   * otherwise it is taken as it stands.
   */
  readonly sameNorm?: boolean;
  readonly file?: string;
}

/**
 * Copies weights into these convolutions, which are in the order of their cfg: per layer the biases or shifts; scales, means and variances of its norm; weights
 * [out][in][kh][kw]. Everything is checked before anything is written. Returns how many layers the file held.
 */
export function loadDarknet(cells: readonly DarknetCell[], bytes: Uint8Array, { partial = false, sameNorm = false, file = "weights" }: DarknetLoadOptions = {}): DarknetHeader & { readonly layers: number } {
  const header = readDarknetHeader(bytes, file), body = bytes.length - header.size;
  const sizes = cells.map(({ conv, norm }) => conv.outChannels * (norm ? 4 : 1) + conv.weight.size), expected = 4 * sizes.reduce((a, b) => a + b, 0);
  let layers = 0, taken = 0;
  while (layers < cells.length && taken + 4 * sizes[layers] <= body) taken += 4 * sizes[layers++];
  if (body > expected) throw new DarknetError(`${file}: the network takes ${expected} bytes after the header, the file has ${body}; it is of another network`);
  if (taken < body) throw new DarknetError(`${file}: ends in layer ${cells[layers].index}, ${body - taken} bytes into its ${4 * sizes[layers]}; it is cut off, or of another network`);
  if (!partial && body < expected) throw new DarknetError(`${file}: ends after ${layers} of ${cells.length} convolutions; expected ${expected} bytes after the header, got ${body} (a backbone alone is read with partial)`);
  const values = new Float32Array(body / 4), view = new DataView(bytes.buffer, bytes.byteOffset + header.size, body);
  for (let i = 0; i < values.length; i++) values[i] = view.getFloat32(4 * i, true);
  const wild = values.findIndex((value) => !Number.isFinite(value));
  if (wild >= 0) throw new DarknetError(`${file}: value ${wild} is ${values[wild]}, expected finite numbers; the file is damaged`);
  expectVariances(cells.slice(0, layers), values, file);

  let at = 0;
  const next = (n: number): Float32Array => values.subarray(at, (at += n));
  for (const { conv, norm } of cells.slice(0, layers)) {
    const n = conv.outChannels;
    (norm ?? conv).bias!.data.set(next(n));
    if (norm) {
      norm.weight.data.set(next(n));
      norm.runningMean.data.set(next(n));
      norm.runningVariance.data.set(sameNorm ? Float64Array.from(next(n), (v) => { const divisor = Math.sqrt(v) + 1e-6; return divisor * divisor - norm.options.eps; }) : next(n));
    }
    const weight = next(conv.weight.size), view = conv.weight.data;
    let i = 0;
    for (const position of theirPositions(conv.weight.shape)) view[i++] = weight[position];
  }
  return { ...header, layers };
}

function expectVariances(cells: readonly DarknetCell[], values: Float32Array, file: string): void {
  let at = 0;
  for (const { index, conv: { outChannels: n, weight }, norm } of cells) {
    if (norm && values.subarray(at + 3 * n, at + 4 * n).some((v) => v < 0)) throw new DarknetError(`${file}: a variance of layer ${index} is below 0; the file is damaged, or of another network`);
    at += n * (norm ? 4 : 1) + weight.size;
  }
}
