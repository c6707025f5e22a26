/**
 * The ablations of SpikeYOLO's paper (arXiv:2407.20708, sec. 4.3 and table 2), each as the one field that it changes, and what the paper found: size s on COCO, of its
 * own weights. Parameters are those at 80 classes.
 */
import type { SpikeYOLOConfig } from "./spikeyolo.ts";
import type { HeadName } from "./pyramid.ts";

type Fields = Partial<SpikeYOLOConfig<HeadName>>;

export interface Ablation {
  readonly does: string;
  /** On top of a SpikeYOLO. */
  readonly fields: Fields;
  /** Of size s. */
  readonly parameters: number;
  /** T x D, mAP@50 and mAP@50:95 in percent, and the energy of one picture in mJ, as printed. */
  readonly published?: { readonly T: number; readonly D: number; readonly map50: number; readonly map: number; readonly millijoules?: number };
}

const S = 23_153_024;

export const ablations = {
  spikeyolo: { does: "as it is", fields: {}, parameters: S, published: { T: 1, D: 4, map50: 62.3, map: 45.5, millijoules: 34.6 } },
  "no-reparam": { does: "neurons between the factors of RepConvs, which no longer fold", fields: { reparam: "spiking" }, parameters: S, published: { T: 1, D: 4, map50: 60.6, map: 43.7 } },
  "rep-early": { does: "SNN-Block-2 in place of SNN-Block-1", fields: { early: "rep" }, parameters: 19_917_760, published: { T: 1, D: 4, map50: 61.2, map: 44.7 } },
  "anchor-head": { does: "anchors, one 1x1 convolution for each stride", fields: { head: "anchor" }, parameters: 21_235_261, published: { T: 1, D: 4, map50: 59.5, map: 39.7 } },
  silu: { does: "the same network with SiLU in place of neurons", fields: { activation: "silu" }, parameters: S, published: { T: 1, D: 1, map50: 65.0, map: 48.1, millijoules: 314.1 } },
  relu: { does: "the same with ReLU", fields: { activation: "relu" }, parameters: S },
} as const satisfies Record<string, Ablation>;

/** Timesteps and integers of SpikeYOLO as it is, and what the paper found of those that it prints: T x D. */
export const timesteps = {
  "1x1": { T: 1, D: 1, map50: 52.7, map: 36.1, millijoules: 18.4 },
  "4x1": { T: 4, D: 1, map50: 55.7, map: 38.7, millijoules: 67.6 },
} as const satisfies Record<string, Ablation["published"]>;

export type AblationName = keyof typeof ablations;
