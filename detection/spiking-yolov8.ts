/**
 * Spiking YOLOv8, which SpikeYOLO's paper compares with: the graph of YOLOv8, and in each of its convolutions the function behind the norm becomes neurons in front.
 * Shortcuts travel as current. The first convolution reads the picture and has no neurons; pooling and head are SpikeYOLO's, of the same shapes as YOLOv8's own. The
 * paper leaves the bias of that first convolution open: without one, as in YOLOv8, size m has the 25,902,640 parameters of YOLOv8m (the paper: 25.9 M).
 */
import { add, channels, concat, host, lean, Random, upsampleNearest, type Tensor } from "../engine/index.ts";
import { SpikingConv, type BlockOptions } from "../nn/blocks.ts";
import { BatchNorm2d, Conv2d, normed, perTimestep } from "../nn/layers.ts";
import { Module } from "../nn/module.ts";
import { SpikeSPPF } from "./head.ts";
import { blockOptions, completed, PyramidDetector, repeats, times, type HeadName, type PyramidConfig } from "./pyramid.ts";

/** Channels of the stages are min(64 .. 1024, maxChannels) width, rounded up to 8. */
export interface SpikingYOLOv8Size { readonly depth: number; readonly width: number; readonly maxChannels: number }

/** YOLOv8's sizes, and one for a CPU with about as many parameters as SpikeYOLO's `tiny`. */
export const spikingYOLOv8 = {
  n: { depth: 0.33, width: 0.25, maxChannels: 1024 },
  s: { depth: 0.33, width: 0.5, maxChannels: 1024 },
  m: { depth: 0.67, width: 0.75, maxChannels: 768 },
  tiny: { depth: 0.33, width: 0.1875, maxChannels: 1024 },
} as const satisfies Record<string, SpikingYOLOv8Size>;

export interface SpikingYOLOv8Config<H extends HeadName = "dfl"> extends SpikingYOLOv8Size, Omit<PyramidConfig<H>, "reparam"> {}

/** 3x3 at stride 2 on the picture, and a norm. */
class Encoder extends Module {
  readonly conv: Conv2d;
  readonly norm: BatchNorm2d;
  constructor(out: number, options: BlockOptions) {
    super();
    this.conv = new Conv2d(3, out, 3, { stride: 2, padding: 1 });
    this.norm = new BatchNorm2d(out, options.norm);
  }
  forward(x: Tensor): Tensor { return lean(() => perTimestep(x, (frames) => normed(this.conv, frames, this.norm))); }
}

/** Two spiking 3x3 convolutions, in the backbone around a shortcut. */
class Bottleneck extends Module {
  readonly conv1: SpikingConv;
  readonly conv2: SpikingConv;
  constructor(width: number, readonly shortcut: boolean, options: BlockOptions) {
    super();
    this.conv1 = new SpikingConv(width, width, 3, 1, options);
    this.conv2 = new SpikingConv(width, width, 3, 1, options);
  }
  forward(x: Tensor): Tensor {
    return lean(() => { const y = this.conv2.forward(this.conv1.forward(x)); return this.shortcut ? add(x, y) : y; });
  }
}

/** C2f: a 1x1 to two halves, bottlenecks one after the other from the second half on, and a 1x1 that reads all of them. */
class SpikingC2f extends Module {
  readonly split: SpikingConv;
  readonly blocks: Bottleneck[];
  readonly join: SpikingConv;
  constructor(inChannels: number, outChannels: number, blocks: number, shortcut: boolean, options: BlockOptions) {
    super();
    const half = outChannels >> 1;
    this.split = new SpikingConv(inChannels, 2 * half, 1, 1, options);
    this.blocks = times(blocks, () => new Bottleneck(half, shortcut, options));
    this.join = new SpikingConv((2 + blocks) * half, outChannels, 1, 1, options);
  }
  forward(x: Tensor): Tensor {
    return lean(() => {
      let all = this.split.forward(x);                                                       // [.., 2 half]
      const count = all.shape[all.shape.length - 1] / 2;
      let y = channels(all, { from: count, count });                                         // [.., half]
      for (const block of this.blocks) { y = block.forward(y); all = concat(all, y); }       // [.., (2 + blocks) half]
      return this.join.forward(all);
    });
  }
}

const upsample = (x: Tensor): Tensor => perTimestep(x, (frames) => upsampleNearest(frames, { factor: 2 }));

export class SpikingYOLOv8<H extends HeadName = "dfl"> extends PyramidDetector<H> {
  readonly config: SpikingYOLOv8Config<H> & PyramidConfig<H>;
  readonly stem: Encoder;
  readonly down2: SpikingConv;
  readonly stage2: SpikingC2f;
  readonly down3: SpikingConv;
  readonly stage3: SpikingC2f;
  readonly down4: SpikingConv;
  readonly stage4: SpikingC2f;
  readonly down5: SpikingConv;
  readonly stage5: SpikingC2f;
  readonly pool5: SpikeSPPF;
  readonly topDown4: SpikingC2f;
  readonly out3: SpikingC2f;
  readonly down3to4: SpikingConv;
  readonly out4: SpikingC2f;
  readonly down4to5: SpikingConv;
  readonly out5: SpikingC2f;
  readonly head: PyramidDetector<H>["head"];

  constructor(config: SpikingYOLOv8Size & Partial<SpikingYOLOv8Config<H>>) {
    super();
    this.config = completed<H, typeof config>(config);
    const { depth, width, maxChannels } = this.config, options = blockOptions(this.config);
    const [c1, c2, c3, c4, c5] = [64, 128, 256, 512, 1024].map((full) => Math.ceil((Math.min(full, maxChannels) * width) / 8) * 8), [few, many] = [3, 6].map((n) => repeats(n, depth));

    this.stem = new Encoder(c1, options);
    this.down2 = new SpikingConv(c1, c2, 3, 2, options);
    this.stage2 = new SpikingC2f(c2, c2, few, true, options);
    this.down3 = new SpikingConv(c2, c3, 3, 2, options);
    this.stage3 = new SpikingC2f(c3, c3, many, true, options);
    this.down4 = new SpikingConv(c3, c4, 3, 2, options);
    this.stage4 = new SpikingC2f(c4, c4, many, true, options);
    this.down5 = new SpikingConv(c4, c5, 3, 2, options);
    this.stage5 = new SpikingC2f(c5, c5, few, true, options);
    this.pool5 = new SpikeSPPF(c5, c5, 5, options);

    this.topDown4 = new SpikingC2f(c5 + c4, c4, few, false, options);
    this.out3 = new SpikingC2f(c4 + c3, c3, few, false, options);
    this.down3to4 = new SpikingConv(c3, c3, 3, 2, options);
    this.out4 = new SpikingC2f(c3 + c4, c4, few, false, options);
    this.down4to5 = new SpikingConv(c4, c4, 3, 2, options);
    this.out5 = new SpikingC2f(c4 + c5, c5, few, false, options);
    this.head = this.headOf(this.config, [c3, c4, c5], options);
    if (!host().rehearsal) this.initialize(new Random(this.config.seed));
    this.head.initializeBiases();
  }

  protected override stages(x: Tensor): Tensor[] {                                                 // [T, B, H, W, 3]          shapes at width 0.75
    const p2 = this.through([this.stage2], this.down2.forward(this.stem.forward(x)));              // [T, B, H/4,  W/4,   96]
    const p3 = this.through([this.stage3], this.down3.forward(p2));                                // [T, B, H/8,  W/8,  192]
    const p4 = this.through([this.stage4], this.down4.forward(p3));                                // [T, B, H/16, W/16, 384]
    const p5 = this.pool5.forward(this.through([this.stage5], this.down5.forward(p4)));            // [T, B, H/32, W/32, 576]

    const t4 = this.through([this.topDown4], concat(upsample(p5), p4));                            // [T, B, H/16, W/16, 384]
    const n3 = this.through([this.out3], concat(upsample(t4), p3));                                // [T, B, H/8,  W/8,  192]
    const n4 = this.through([this.out4], concat(this.down3to4.forward(n3), t4));                   // [T, B, H/16, W/16, 384]
    const n5 = this.through([this.out5], concat(this.down4to5.forward(n4), p5));                   // [T, B, H/32, W/32, 576]
    return [n3, n4, n5];
  }
}
