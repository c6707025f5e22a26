/** How the pixels of a convolution's input and output meet: sizes, and the tables that say which meets which. */
import { settleBehind } from "../behind.ts";
import { host } from "../host.ts";
import type { Memory } from "../memory.ts";
import type { Shape } from "../shape.ts";

export interface Geometry {
  readonly B: number; readonly H: number; readonly W: number; readonly C: number;
  readonly OH: number; readonly OW: number; readonly out: number;
  readonly kh: number; readonly kw: number; readonly taps: number;
  readonly stride: number; readonly padding: number; readonly dilation: number;
  readonly groups: number;
  /** Input and output channels of one group. */
  readonly K: number; readonly N: number;
  readonly inputPixels: number; readonly outputPixels: number;
  /** Output pixel p sees input pixel p and no other. */
  readonly pointwise: boolean;
  /** One weight plane per channel. */
  readonly depthwise: boolean;
}

export function geometryOf(x: Shape, weight: Shape, y: Shape, { stride, padding, dilation, groups }: { stride: number; padding: number; dilation: number; groups: number }): Geometry {
  const [B, H, W, C] = x, [out, kh, kw, K] = weight, [, OH, OW] = y;
  return {
    B, H, W, C, OH, OW, out, kh, kw, taps: kh * kw, stride, padding, dilation, groups, K, N: out / groups,
    inputPixels: B * H * W, outputPixels: B * OH * OW,
    pointwise: kh === 1 && kw === 1 && stride === 1 && padding === 0,
    // the halo layout holds padding up to the kernel's reach; beyond it the general path serves
    depthwise: groups === C && out === C && C > 1 && padding <= dilation * (Math.min(kh, kw) - 1),
  };
}

/** Most bytes of tables that one memory keeps, unless a single table is larger: a network has few geometries, but pictures of many sizes have many. */
const MOST_BYTES = 128 << 20;

/** Words of a table from which on the pictures of a batch are taken in parts, one table for all: larger ones leave the cache, and each other no room. */
const MOST_WORDS = 1 << 20;

/** Runs over the pictures of a batch in equal parts: `run` gets the geometry of a part, and the number of its first picture. */
export function inParts(g: Geometry, words: number, run: (part: Geometry, first: number) => void): void {
  let B = Math.min(g.B, Math.max(1, Math.floor(MOST_WORDS / (words / g.B))));
  while (g.B % B) B--;
  const part = B === g.B ? g : { ...g, B, inputPixels: B * g.H * g.W, outputPixels: B * g.OH * g.OW };
  for (let first = 0; first < g.B; first += B) run(part, first);
}

interface Table { readonly pointer: number; readonly bytes: number }
/** Tables of one memory by geometry, the one that was used longest ago first. */
class Tables extends Map<string, Table> { bytes = 0; }
const tables = new WeakMap<Memory, Tables>();

/** Sizes in steps of at most a quarter, so that a new table finds room that an old one gave back. */
function sizeClass(bytes: number): number {
  const step = 2 ** Math.max(10, Math.floor(Math.log2(bytes)) - 2);
  return Math.ceil(bytes / step) * step;
}

// The pointer to a table holds until the next one is asked for, and for what is left behind the way back until that is done.

/** i32 [taps][outputPixels]: the input pixel that an output pixel sees through a tap, or -1. */
export const inputTable = (g: Geometry): number => table(g, "input", g.taps * g.outputPixels, (to) => fill(g, "conv_table", to));

/** i32 [taps][inputPixels]: the output pixel that an input pixel feeds through a tap, or -1. */
export const outputTable = (g: Geometry): number => table(g, "output", g.taps * g.inputPixels, (to) => fill(g, "conv_table_transposed", to));

/**
 * The same with input pixels in order of (iy mod stride, ix mod stride): those of one phase feed the same taps and skip the others.
 * places: i32 [inputPixels], where each pixel stands in that order.
 */
export function outputTableByPhase(g: Geometry): { places: number; table: number } {
  const places = table(g, "phases", (1 + g.taps) * g.inputPixels, (to) => {
    fill(g, "conv_table_transposed", to + 4 * g.inputPixels);
    if (host().rehearsal) return;
    const [order, ...rows] = Array.from({ length: 1 + g.taps }, (_, row) => new Int32Array(host().memory.wasm.buffer, to + 4 * row * g.inputPixels, g.inputPixels));
    order.set(placesByPhase(g));
    for (const row of rows) row.slice().forEach((pixel, p) => { row[order[p]] = pixel; });
  });
  return { places, table: places + 4 * g.inputPixels };
}

function placesByPhase({ B, H, W, stride, inputPixels }: Geometry): Int32Array {
  const places = new Int32Array(inputPixels);
  let next = 0;
  for (let top = 0; top < stride; top++) for (let left = 0; left < stride; left++) {
    for (let b = 0; b < B; b++) for (let iy = top; iy < H; iy += stride) for (let ix = left; ix < W; ix += stride) places[(b * H + iy) * W + ix] = next++;
  }
  return places;
}

function fill(g: Geometry, kernel: "conv_table" | "conv_table_transposed", to: number): void {
  host().kernels[kernel](g.taps, to, g.B, g.H, g.W, g.OH, g.OW, g.kw, g.stride, g.padding, g.dilation);
}

/** The table of that kind that is known, or `size` words that `make` has filled. */
function table(g: Geometry, kind: string, size: number, make: (to: number) => void): number {
  const { memory } = host();
  let known = tables.get(memory);
  if (!known) tables.set(memory, (known = new Tables()));
  const key = [kind, g.B, g.H, g.W, g.OH, g.OW, g.kh, g.kw, g.stride, g.padding, g.dilation].join();
  let found = known.get(key);
  if (found) known.delete(key); // to stand last again
  else {
    const bytes = sizeClass(4 * size);
    for (const [oldest, table] of known) {
      if (known.bytes + bytes <= MOST_BYTES) break;
      settleBehind();
      memory.release(table.pointer, table.bytes);
      known.bytes -= table.bytes;
      known.delete(oldest);
    }
    found = { pointer: memory.persistent(bytes), bytes };
    known.bytes += bytes;
    make(found.pointer);
  }
  known.set(key, found);
  return found.pointer;
}
