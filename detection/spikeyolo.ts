/**
 * SpikeYOLO (Luo et al., "Integer-Valued Training and Spike-Driven Inference Spiking Neural Network for High-performance and
 * Energy-efficient Object Detection", arXiv:2407.20708). One class, sizes as records; T, D and the neuron are fields.
 */
import { concat, host, Random, Tensor, upsampleNearest } from "../engine/index.ts";
import { AllConvBlock, ConvBlock, DownSampling, SpikingConv } from "../nn/blocks.ts";
import { perTimestep } from "../nn/layers.ts";
import { SpikeSPPF } from "./head.ts";
import { blockOptions, completed, past, PyramidDetector, repeats, times, type HeadName, type PyramidConfig } from "./pyramid.ts";

/** How deep and wide a SpikeYOLO is. Channels of the stages are int(128 width), int(256 width), int(512 width), int(1024 width). */
export interface SpikeYOLOSize {
  readonly depth: number;
  readonly width: number;
  /** Upper bound of channels before `width` multiplies them. */
  readonly maxChannels: number;
  /** Expansion of the last block: 1 in n and s, 2 in m and l. */
  readonly lastRatio: number;
}

/** The blocks by what their second half is made of: plain 3x3 convolutions (SNN-Block-1), or RepConvs (SNN-Block-2). */
const BLOCKS = { conv: AllConvBlock, rep: ConvBlock } as const;
type Block = InstanceType<(typeof BLOCKS)[keyof typeof BLOCKS]>;

export interface SpikeYOLOConfig<H extends HeadName = "dfl"> extends SpikeYOLOSize, PyramidConfig<H> {
  /** Blocks at strides 4 and 8, and those at strides 16 and 32. */
  readonly early: keyof typeof BLOCKS;
  readonly late: keyof typeof BLOCKS;
  /** How many of the reference's 27 layers, from the first, keep their weights and statistics in training: 10 are all before the neck. */
  readonly freeze: number;
}

/**
 * The published sizes, and two for a CPU: `small` for one's own pictures, `tiny` with the fewest blocks for the run of a few minutes. m and l reach 47,841,856 and 68,478,400 parameters at 80 classes: the published
 * table says 48.1 and 68.8 M, which no edit of the released network reaches.
 */
export const spikeYOLO = {
  n: { depth: 0.33, width: 0.375, maxChannels: 1024, lastRatio: 1 },
  s: { depth: 0.33, width: 0.5, maxChannels: 1024, lastRatio: 1 },
  m: { depth: 0.5, width: 0.625, maxChannels: 7024, lastRatio: 2 },
  l: { depth: 0.5, width: 0.75, maxChannels: 1024, lastRatio: 2 },
  small: { depth: 0.33, width: 0.125, maxChannels: 1024, lastRatio: 1 },
  tiny: { depth: 0.17, width: 0.125, maxChannels: 1024, lastRatio: 1 },
} as const satisfies Record<string, SpikeYOLOSize>;

/** Where the stages stand in the reference's list; the numbers between are of layers without weights. */
export const LAYERS = {
  stem: 1, stage2: 2, down3: 3, stage3: 4, down4: 5, stage4: 6, down5: 7, stage5: 8, pool5: 9, lateral5: 10, topDown4: 12, lateral4: 14, topDown3: 16, lateral3: 18,
  out3: 19, down3to4: 20, out4: 22, down4to5: 23, out5: 25, head: 26,
} as const satisfies Partial<Record<keyof SpikeYOLO, number>>;

const upsample = (x: Tensor): Tensor => perTimestep(x, (frames) => upsampleNearest(frames, { factor: 2 }));

/** An image batch [B, H, W, 3] or an event sequence [T, B, H, W, 3], as a tensor or as plain values 0..1. */
export type DetectorInput = Tensor | { readonly shape: readonly number[]; readonly data: ArrayLike<number> };

export class SpikeYOLO<H extends HeadName = "dfl"> extends PyramidDetector<H> {
  readonly config: SpikeYOLOConfig<H>;
  readonly stem: DownSampling;
  readonly stage2: Block[];
  readonly down3: DownSampling;
  readonly stage3: Block[];
  readonly down4: DownSampling;
  readonly stage4: Block[];
  readonly down5: DownSampling;
  readonly stage5: Block[];
  readonly pool5: SpikeSPPF;
  readonly lateral5: SpikingConv;
  readonly topDown4: Block;
  readonly lateral4: SpikingConv;
  readonly topDown3: Block;
  readonly lateral3: SpikingConv;
  readonly out3: Block;
  readonly down3to4: SpikingConv;
  readonly out4: Block;
  readonly down4to5: SpikingConv;
  readonly out5: Block;
  readonly head: PyramidDetector<H>["head"];

  constructor(config: SpikeYOLOSize & Partial<SpikeYOLOConfig<H>>) {
    super();
    const { early = "conv", late = "rep", freeze = 0 } = config;
    this.config = { ...completed<H, typeof config>(config), early, late, freeze };
    const { depth, width, maxChannels, lastRatio } = this.config, options = blockOptions(this.config), Early = BLOCKS[early], Late = BLOCKS[late];
    const [c1, c2, c3, c4] = [128, 256, 512, 1024].map((channels) => Math.trunc(channels * width));
    const pooled = Math.ceil((Math.min(1024, maxChannels) * width) / 8) * 8; // the one layer whose channels the reference rounds up to 8
    if (pooled !== c4) throw new Error(`SpikeYOLO: width ${width} gives ${c4} channels in stage 5, which must be a multiple of 8`);

    this.stem = new DownSampling(3, c1, true, options);
    this.stage2 = times(repeats(3, depth), () => new Early(c1, 4, 7, options));
    this.down3 = new DownSampling(c1, c2, false, options);
    this.stage3 = times(repeats(6, depth), () => new Early(c2, 4, 7, options));
    this.down4 = new DownSampling(c2, c3, false, options);
    this.stage4 = times(repeats(9, depth), () => new Late(c3, 3, 7, options));
    this.down5 = new DownSampling(c3, c4, false, options);
    this.stage5 = times(repeats(3, depth), () => new Late(c4, 2, 7, options));
    this.pool5 = new SpikeSPPF(c4, c4, 5, options);

    this.lateral5 = new SpikingConv(c4, c3, 1, 1, options);
    this.topDown4 = new Late(c3, 3, 7, options);
    this.lateral4 = new SpikingConv(2 * c3, c2, 1, 1, options);
    this.topDown3 = new Early(c2, 4, 7, options);
    this.lateral3 = new SpikingConv(2 * c2, c2, 1, 1, options);
    this.out3 = new Early(c2, 4, 7, options);
    this.down3to4 = new SpikingConv(c2, c2, 3, 2, options);
    this.out4 = new Late(c3, 3, 7, options);
    this.down4to5 = new SpikingConv(c3, c3, 3, 2, options);
    this.out5 = new Late(c4, lastRatio, 7, options);
    this.head = this.headOf(this.config, [c2, c3, c4], options);
    if (!host().rehearsal) this.initialize(new Random(this.config.seed));
    this.head.initializeBiases();
    for (const [field, layer] of Object.entries(LAYERS) as [keyof typeof LAYERS, number][]) if (layer < freeze) [this[field]].flat().forEach((part) => part.freeze());
  }

  protected override stages(x: Tensor): Tensor[] {                                 // [T, B, H, W, 3]          shapes at width 0.5
    const p2 = this.through(this.stage2, past(this.stem, x));                      // [T, B, H/4,  W/4,   64]
    const p3 = this.through(this.stage3, past(this.down3, p2));                    // [T, B, H/8,  W/8,  128]
    const p4 = this.through(this.stage4, past(this.down4, p3));                    // [T, B, H/16, W/16, 256]
    const p5 = past(this.pool5, this.through(this.stage5, past(this.down5, p4)));  // [T, B, H/32, W/32, 512]

    const l5 = past(this.lateral5, p5);                                            // [T, B, H/32, W/32, 256]
    const t4 = concat(this.through([this.topDown4], upsample(l5)), p4);            // [T, B, H/16, W/16, 512]
    const l4 = past(this.lateral4, t4);                                            // [T, B, H/16, W/16, 128]
    const t3 = concat(this.through([this.topDown3], upsample(l4)), p3);            // [T, B, H/8,  W/8,  256]
    const n3 = this.through([this.out3], past(this.lateral3, t3));                 // [T, B, H/8,  W/8,  128]
    const n4 = this.through([this.out4], concat(past(this.down3to4, n3), l4));     // [T, B, H/16, W/16, 256]
    const n5 = this.through([this.out5], concat(past(this.down4to5, n4), l5));     // [T, B, H/32, W/32, 512]
    return [n3, n4, n5];
  }
}
