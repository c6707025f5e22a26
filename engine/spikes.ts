/** What neurons emit: one byte per element, and lists of the events in it. */
import { host, type Host } from "./host.ts";
import { endOf, type Life } from "./memory.ts";
import type { Node } from "./op.ts";
import { lastAxis, show, sizeOf, type Shape } from "./shape.ts";

/** How often a layer fired, counted over its spike bytes. */
export interface SpikeStatistics {
  /** Mean integer value, 0..D. */
  readonly rate: number;
  /** Share of elements that are not zero, 0..1. */
  readonly density: number;
  /** Share of elements whose surrogate window is open, 0..1. */
  readonly open: number;
}

/** Events by pixel: entries `c << 4 | value` (u16); those of a pixel are events[spans[2*pixel]] up to events[spans[2*pixel + 1]] (i32). */
export interface EventLists { readonly events: number; readonly spans: number }

/** Pixels that the kernels list at a time. */
export const RUN = 64;
/** Bytes that the kernels count at a time. */
const COUNTED = 65536;
/** How many samples a rough density is taken from, and bytes of each. */
const SAMPLES = 16, SAMPLE = 2048;
/** What a rehearsal, which computes none, takes for the density of all spikes. */
const USUAL = 0.35;

/** What spikes of one firing share through all their shapes. */
interface Firing {
  /** See Spikes. */
  readonly gradientWhereOpen?: boolean;
  lists?: EventLists;
  /** The lives of the memory that the lists stand in. */
  listsLives?: readonly Life[];
  statistics?: SpikeStatistics;
  rough?: number;
}

/**
 * Spikes [T, B, H, W, C] or any shape with channels last.
 *
 *     bit   7 6 5   4              3 2 1 0
 *           0 0 0   window open    value 0..15
 */
export class Spikes {
  readonly size: number;
  node: Node | undefined;
  requiresGrad = false;

  constructor(
    readonly shape: Shape,
    readonly ptr: number,
    /** Largest value that the neuron emits: 1 for binary firing. */
    readonly D: number,
    readonly life: Life,
    readonly home: Host,
    private readonly firing: Firing = {},
  ) {
    this.size = sizeOf(shape);
  }

  /** Whether the neuron passes gradients on through open windows alone, so that those of closed ones need not be computed. */
  get gradientWhereOpen(): boolean { return this.firing.gradientWhereOpen === true; }

  /** The raw bytes. A view: ask each time. */
  get bytes(): Uint8Array {
    this.expectAlive();
    return new Uint8Array(this.home.memory.wasm.buffer, this.ptr, this.size);
  }

  /** The integer values, copied. */
  values(): Uint8Array { return this.bytes.map((byte) => byte & 15); }

  /** The same spikes under another shape with the same channels; lists and statistics are shared. */
  reshaped(shape: Shape): Spikes {
    if (lastAxis(shape) !== lastAxis(this.shape)) throw new Error(`reshape: spikes ${show(this.shape)} keep their channels, got ${show(shape)}`);
    return new Spikes(shape, this.ptr, this.D, this.life, this.home, this.firing);
  }

  /** The event lists, built on first use, and again where the scope that they were built in has ended. */
  events(): EventLists {
    const { firing, home: { memory, kernels } } = this;
    if (!firing.lists || firing.listsLives!.some(({ ended }) => ended)) {
      const lives: Life[] = [];
      const { lists, pixels, C } = this.blankLists((bytes) => { const { ptr, life } = memory.room(bytes); lives.push(life); return ptr; });
      kernels.spike_events(Math.ceil(pixels / RUN), this.ptr, lists.events, lists.spans, pixels, C);
      firing.lists = lists;
      firing.listsLives = lives;
    }
    return firing.lists;
  }

  /** The events of virtual step d: every element with a value above d, as a spike of 1. They live in the workspace of the op that runs now. */
  eventsAbove(d: number): EventLists {
    const { memory, kernels } = this.home;
    const { lists, pixels, C } = this.blankLists((bytes) => memory.workspace(bytes));
    kernels.spike_events_above(Math.ceil(pixels / RUN), this.ptr, lists.events, lists.spans, pixels, C, d);
    return lists;
  }

  /** The same spikes without the lists that were built of them: for timing what lists cost. */
  unlisted(): Spikes { return new Spikes(this.shape, this.ptr, this.D, this.life, this.home, { ...this.firing, lists: undefined }); }

  statistics(): SpikeStatistics {
    return (this.firing.statistics ??= this.count());
  }

  /** Density as samples of many spikes tell it: enough to choose between kernels that give the same bits, at a fiftieth of the price. */
  roughDensity(): number {
    const { firing } = this;
    if (this.home.rehearsal) return USUAL;
    return firing.statistics?.density ?? (this.size <= 2 * SAMPLES * SAMPLE ? this.statistics().density : (firing.rough ??= this.sample()));
  }

  expectAlive(): void {
    if (this.life.ended) throw new Error(`spikes ${show(this.shape)}: ${endOf(this.life, "their")}`);
  }

  private blankLists(take: (bytes: number) => number): { lists: EventLists; pixels: number; C: number } {
    this.expectAlive();
    const C = lastAxis(this.shape), pixels = this.size / C;
    if (C > 4095) throw new Error(`spikes: event lists hold channels up to 4095, got ${show(this.shape)}`);
    return { lists: { events: take(2 * (this.size + C + 8)), spans: take(8 * pixels) }, pixels, C };
  }

  private sample(): number {
    const { memory, kernels } = this.home, step = Math.floor((this.size - SAMPLE) / (SAMPLES - 1));
    return memory.withWorkspace(() => {
      const partial = memory.workspace(24 * SAMPLES);
      kernels.spike_statistics(SAMPLES, this.ptr, partial, this.size, step, SAMPLE);
      return sharesOf(new Float64Array(memory.wasm.buffer, partial, 3 * SAMPLES), SAMPLES * SAMPLE).density;
    });
  }

  private count(): SpikeStatistics {
    this.expectAlive();
    const { memory, kernels } = this.home;
    return memory.withWorkspace(() => {
      const blocks = Math.ceil(this.size / COUNTED), partial = memory.workspace(24 * blocks);
      kernels.spike_statistics(blocks, this.ptr, partial, this.size, COUNTED, COUNTED);
      return sharesOf(new Float64Array(memory.wasm.buffer, partial, 3 * blocks), this.size || 1);
    });
  }
}

/** Counts by block, as the kernels leave them, as shares of n elements. */
function sharesOf(counts: Float64Array, n: number): SpikeStatistics {
  const share = (which: number): number => { let sum = 0; for (let i = which; i < counts.length; i += 3) sum += counts[i]; return sum / n; };
  return { rate: share(0), density: share(1), open: share(2) };
}

/** Where the values of x stand as reals: those of spikes in the workspace of the op that runs now. */
export function realValues(x: { readonly ptr: number } | Spikes, k = host().kernels): number {
  if (!(x instanceof Spikes)) return x.ptr;
  const { memory, bytes } = host(), values = memory.workspace(x.size * bytes);
  k.spikes_to_f32(x.size, x.ptr, values);
  return values;
}

/** Uninitialised spikes of the innermost scope. */
export function emptySpikes(shape: Shape, D: number, { gradientWhereOpen = false } = {}): Spikes {
  const h = host(), { ptr, life } = h.memory.room(sizeOf(shape));
  return new Spikes(shape, ptr, D, life, h, { gradientWhereOpen });
}
