/** Convolutions whose weights are multiplied per output channel, as when the norm behind them is folded in. */
import { beforeAll, describe, expect, test } from "vitest";
import {
  conv2d, loadKernels, noGrad, Random, scope, spikesOf, tensor, withHost, withSpikePath, type ConvAttributes, type Host, type SpikePath, type Value,
} from "../../engine/index.ts";
import { BatchNorm2d, Conv2d, normed } from "../../nn/index.ts";
import { kernelSets } from "./hosts.ts";

const drawn = (size: number, seed: number): Float32Array => { const random = new Random(seed); return Float32Array.from({ length: size }, () => random.uniform(-1, 1)); };
const fired = (shape: number[]): Value => spikesOf(tensor(Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => ((i * 37) % 10 < 3 ? 1 + (i % 4) : 0)), shape), { D: 4 });
const real = (shape: number[]): Value => tensor(drawn(shape.reduce((a, b) => a * b), 4), shape);

interface Class extends Partial<ConvAttributes> { C: number; out: number; k: number }
const classes: Class[] = [
  { C: 1, out: 1, k: 1 }, { C: 3, out: 5, k: 1 }, { C: 64, out: 33, k: 1 }, { C: 1000, out: 17, k: 1 }, { C: 5, out: 8, k: 3, padding: 1 }, { C: 17, out: 70, k: 3, stride: 2, padding: 1 },
  { C: 3, out: 12, k: 7, stride: 4, padding: 2 }, { C: 8, out: 12, k: 3, groups: 4, padding: 1 }, { C: 7, out: 7, k: 3, groups: 7, padding: 1 }, { C: 64, out: 64, k: 7, groups: 64, padding: 3 },
  { C: 16, out: 20, k: 3, padding: 1, algorithm: "winograd" },
];

describe.each(kernelSets)("scaled convolutions on %s", (_, load) => {
  let host: Host;
  beforeAll(async () => { host = await load(); });

  test.each(classes)("are those of scaled weights, to the bit: $k x $k, $C -> $out", ({ C, out, k, groups = 1, ...attributes }) => withHost(host, () => noGrad(() => scope(() => {
    const weight = drawn(out * k * k * (C / groups), 1), scale = drawn(out, 2), shape = [out, k, k, C / groups], bias = tensor(drawn(out, 3), [out]);
    const scaled = weight.map((w, i) => w * scale[Math.floor(i / (weight.length / out))]);
    for (const x of [fired([2, 9, 9, C]), real([2, 9, 9, C])]) for (const path of ["sparse", "dense"] as SpikePath[]) withSpikePath(path, () => {
      const [got, want] = [conv2d(x, tensor(weight, shape), bias, { groups, ...attributes, scale: tensor(scale) }), conv2d(x, tensor(scaled, shape), bias, { groups, ...attributes })];
      expect(got.data).toEqual(want.data);
      expect(got.data).not.toEqual(conv2d(x, tensor(weight, shape), bias, { groups, ...attributes }).data);
    });
  }))));

  test("refuse a scale of another size, gradients, and exact sums", () => withHost(host, () => scope(() => {
    const x = fired([1, 4, 4, 2]), weight = tensor(drawn(6, 1), [3, 1, 1, 2]), scale = tensor(drawn(3, 2));
    expect(() => noGrad(() => conv2d(x, weight, undefined, { scale: tensor(drawn(2, 2)) }))).toThrow(/conv2d: weight \[3, 1, 1, 2\] expects a scale of \[3\], got \[2\]/);
    expect(() => conv2d(x, weight, undefined, { scale })).toThrow("conv2d: scale has no gradient; run it inside noGrad, or norm the result");
    expect(() => noGrad(() => withSpikePath("binary", () => conv2d(x, weight, undefined, { scale })))).toThrow(/conv2d: the binary path takes weights as they are/);
  })));
});

describe("norms behind a convolution", () => {
  test("are one with it in eval mode without gradients, and what they are one after the other", async () => {
    await loadKernels();
    scope(() => {
      const random = new Random(5), conv = new Conv2d(6, 9, 3, { padding: 1, bias: true }), norms = [new BatchNorm2d(9), new BatchNorm2d(9)];
      conv.reset(random);
      for (const norm of norms) for (const values of [norm.weight, norm.bias, norm.runningMean, norm.runningVariance]) values.data.forEach((_, c, all) => { all[c] = random.uniform(0.5, 2); });
      for (const norm of norms) norm.eval();
      const x = fired([2, 5, 5, 6]), apart = norms.reduce((y, norm) => norm.forward(y), conv.forward(x)).data.slice();
      expect(normed(conv, x, ...norms).data).toEqual(apart); // with gradients: as they stand
      const together = noGrad(() => normed(conv, x, ...norms)).data;
      expect(together).not.toEqual(apart);
      together.forEach((value, i) => expect(Math.abs(value - apart[i])).toBeLessThan(1e-5));
      expect(noGrad(() => withSpikePath("integer", () => normed(conv, x, ...norms))).data).toEqual(noGrad(() => withSpikePath("integer", () => norms.reduce((y, norm) => norm.forward(y), conv.forward(x)))).data);
      norms[0].train();
      expect(noGrad(() => normed(conv, x, norms[0])).data).toEqual(noGrad(() => norms[0].forward(conv.forward(x))).data); // statistics of the batch
    });
  });
});
