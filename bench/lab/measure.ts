/** Every kernel of a layer on spikes of several kinds, in turns, and those gone through several times: a slow second must not fall on one of them. */
import { fastest } from "../desk.ts";
import { nameOf, type Arithmetic, type Layer, type layKernels } from "./layer.ts";

export interface Timing {
  readonly ms: number;
  /** How many times faster than the dense kernel in float32. */
  readonly times: number;
  /** What has to be done, and how much of it is done in a second. */
  readonly arithmetic: Arithmetic;
  readonly operations: number;
  readonly bytes: number;
  readonly gops: number;
}

/** Spikes for a layer: bytes [B, H, W, C] of values up to D. */
export interface Spiking {
  readonly bytes: Uint8Array;
  readonly pattern: "uniform" | "clustered" | "recorded";
  /** Largest integer: 1 is binary. */
  readonly D: number;
  /** The path of the layer, where it is one of a network. */
  readonly layer?: string;
}

export interface Row extends Omit<Spiking, "bytes"> {
  /** Such as "3x3 64->64 @40". */
  readonly shape: string;
  readonly density: number;
  /** By name, "dense f32" first. */
  readonly kernels: Readonly<Record<string, Timing>>;
}

const PASSES = 3, TURNS = 2;

export function measureRows(laid: ReturnType<typeof layKernels>, layer: Layer, spiking: readonly Spiking[], quick: boolean): Row[] {
  const runs = Object.fromEntries(laid.kernels.map(({ name, run }) => [name, run])), best = spiking.map((): Record<string, number> => ({}));
  const operations = spiking.map(({ bytes }) => {
    laid.set(bytes);
    laid.expectAgreement();
    return laid.kernels.map((kernel) => kernel.operations());
  });
  for (let pass = 0; pass < (quick ? 1 : PASSES); pass++) {
    spiking.forEach(({ bytes }, i) => {
      laid.set(bytes);
      for (const [name, ms] of Object.entries(fastest(runs, quick ? 1 : TURNS, quick ? 0 : undefined))) best[i][name] = Math.min(best[i][name] ?? Infinity, ms);
    });
  }
  return spiking.map(({ bytes, ...about }, i) => ({
    shape: nameOf(layer), ...about, density: bytes.reduce((fired, byte) => fired + (byte & 15 ? 1 : 0), 0) / bytes.length,
    kernels: Object.fromEntries(laid.kernels.map(({ name, against, arithmetic, bytes }, j): [string, Timing] => {
      const ms = best[i][name];
      return [name, { ms, times: best[i][against] / ms, arithmetic, operations: operations[i][j], bytes, gops: operations[i][j] / ms / 1e6 }];
    })),
  }));
}
