/** Every kernel of a layer on the spikes given, in turns. */
import { fastest } from "../desk.ts";
import type { Layer, layKernels } from "./layer.ts";
import { nameOf } from "./layer.ts";
import { leastMs, type Roofs } from "./roofline.ts";

export interface Timing {
  readonly ms: number;
  /** How many times faster than the dense kernel in float32. */
  readonly times: number;
  /** Operations, and operations for each byte that has to move. */
  readonly operations: number;
  readonly intensity: number;
  readonly gops: number;
  /** Share of the speed that the roofs allow. */
  readonly roof: number;
}

export interface Row {
  /** Such as "3x3 64->64 @40", and the path of the layer where it is one of a network. */
  readonly shape: string;
  readonly layer?: string;
  readonly pattern: "uniform" | "clustered" | "recorded";
  /** Largest integer: 1 is binary. */
  readonly D: number;
  readonly density: number;
  /** By name, "dense f32" first. */
  readonly kernels: Readonly<Record<string, Timing>>;
}

export function measureRow(
  laid: ReturnType<typeof layKernels>, layer: Layer, bytes: Uint8Array, about: Pick<Row, "pattern" | "D" | "layer">, roofs: Roofs, quick: boolean,
): Row {
  laid.set(bytes);
  laid.expectAgreement();
  const ms = fastest(Object.fromEntries(laid.kernels.map(({ name, run }) => [name, run])), quick ? 1 : 5, quick ? 0 : undefined);
  const timings = laid.kernels.map((kernel): [string, Timing] => {
    const operations = kernel.operations(), mine = ms[kernel.name];
    return [kernel.name, { ms: mine, times: ms[kernel.against] / mine, operations, intensity: operations / kernel.bytes, gops: operations / mine / 1e6, roof: leastMs(roofs, kernel) / mine }];
  });
  return { shape: nameOf(layer), ...about, density: bytes.reduce((fired, byte) => fired + (byte & 15 ? 1 : 0), 0) / bytes.length, kernels: Object.fromEntries(timings) };
}
