/** What ops refuse, in one sentence each; and the largest that they still take. */
import { beforeAll, describe, expect, it, test } from "vitest";
import {
  add, backward, batchNorm, conv2d, loadKernels, maxPool2d, padWith, Random, scope, spikesOf, sum, tensor, upsampleNearest, valuesOf, withHost, zeros, type ConvAttributes, type Host, type Tensor,
} from "../../engine/index.ts";

let home: Host, abroad: Host;
beforeAll(async () => { [home, abroad] = [await loadKernels({ threads: 1 }), await loadKernels({ build: "reference" })]; });
const at = (host: Host, run: () => void): void => withHost(host, () => scope(run));

describe("numbers that count", () => {
  const wrong: [name: string, least: number][] = [["stride", 1], ["padding", 0], ["dilation", 1], ["groups", 1]];
  it.each(wrong)("conv2d takes whole numbers for its %s", (name, least) => at(home, () => {
    const x = zeros([1, 4, 4, 2]), weight = zeros([2, 1, 1, 2]);
    for (const value of [least - 1, 1.5, NaN, Infinity]) {
      expect(() => conv2d(x, weight, undefined, { [name]: value } as Partial<ConvAttributes>)).toThrow(`conv2d: ${name} must be a whole number of at least ${least}, got ${value}`);
    }
  }));

  test("maxPool2d takes whole numbers for kernel, stride and padding", () => at(home, () => {
    const x = zeros([1, 4, 4, 2]), pool = (given: object) => () => maxPool2d(x, { kernel: 3, stride: 1, padding: 1, ...given });
    for (const kernel of [0, 16, 2.5]) expect(pool({ kernel })).toThrow(`maxPool2d: kernel must be a whole number from 1 to 15, got ${kernel}`);
    for (const stride of [0, 0.5]) expect(pool({ stride })).toThrow(`maxPool2d: stride must be a whole number of at least 1, got ${stride}`);
    for (const padding of [-1, 2, 0.5]) expect(pool({ padding })).toThrow(`maxPool2d: padding (at most half of kernel 3) must be a whole number from 0 to 1, got ${padding}`);
  }));

  test("upsampleNearest and padWith take whole numbers", () => at(home, () => {
    const x = zeros([1, 4, 4, 2]), border = zeros([2]);
    for (const factor of [0, 1.5]) expect(() => upsampleNearest(x, { factor })).toThrow(`upsampleNearest: factor must be a whole number of at least 1, got ${factor}`);
    for (const pad of [-1, 0.5]) expect(() => padWith(x, { border, pad })).toThrow(`padWith: pad must be a whole number of at least 0, got ${pad}`);
    expect(padWith(x, { border, pad: 0 }).shape).toEqual([1, 4, 4, 2]);
  }));
});

describe("conv2d of many channels", () => {
  const draw = (n: number): Float32Array => { const random = new Random(n); return Float32Array.from({ length: n }, () => random.uniform(-1, 1)); };

  /** dx of the sum of u y, by the definition. x [1, 2, 2, 1], weight [out, 2, 2, 1], padding 1: y is [1, 3, 3, out]. */
  const expected = (weight: Float32Array, u: Float32Array, out: number): number[] => [0, 1, 2, 3].map((pixel) => {
    let dx = 0;
    for (const ky of [0, 1]) for (const kx of [0, 1]) {
      const oy = (pixel >> 1) + 1 - ky, ox = (pixel & 1) + 1 - kx;
      for (let j = 0; j < out; j++) dx += u[(oy * 3 + ox) * out + j] * weight[j * 4 + ky * 2 + kx];
    }
    return dx;
  });

  test("gives the right input gradient for 4096 of them, and refuses 4097 of either side", () => at(home, () => {
    const out = 4096, w = draw(4 * out), u = draw(9 * out), x = tensor(draw(4), [1, 2, 2, 1], { requiresGrad: true });
    backward(conv2d(x, tensor(w, [out, 2, 2, 1]), undefined, { padding: 1 }), [tensor(u, [1, 3, 3, out])]);
    expected(w, u, out).forEach((dx, i) => expect(x.grad!.data[i]).toBeCloseTo(dx, 3));
    expect(() => conv2d(x, zeros([4097, 2, 2, 1]), undefined, { padding: 1 })).toThrow("conv2d: weight [4097, 2, 2, 1]: at most 4096 channels per group");
    expect(() => conv2d(zeros([1, 2, 2, 4097]), zeros([1, 2, 2, 4097]))).toThrow("conv2d: weight [1, 2, 2, 4097]: at most 4096 channels per group");
  }));

  test("takes more outputs where no table is used, and more in all where groups share them", () => at(home, () => {
    expect(conv2d(zeros([1, 2, 2, 1]), zeros([4097, 1, 1, 1])).shape).toEqual([1, 2, 2, 4097]);
    expect(conv2d(zeros([1, 2, 2, 2]), zeros([4098, 2, 2, 1]), undefined, { groups: 2 }).shape).toEqual([1, 1, 1, 4098]);
  }));
});

describe("values that are not here", () => {
  const sentence = (op: string, shape: string) => `${op}: ${shape} lives in the memory of another host; compute inside withHost of its own, or copy its values here`;

  test("an op refuses inputs of another host", () => at(abroad, () => {
    const far = tensor([1, 2, 3]), fired = spikesOf(tensor([1, 2]), { D: 4 });
    at(home, () => {
      expect(() => add(tensor([1, 2, 3]), far)).toThrow(sentence("add", "[3]"));
      expect(() => sum(far)).toThrow(sentence("sum", "[3]"));
      expect(() => valuesOf(fired)).toThrow(sentence("valuesOf", "[2]"));
    });
  }));

  test("another host on the same memory is no other host", () => at(home, () => {
    const x = tensor([1, 2]);
    withHost({ ...home }, () => expect(sum(x).item()).toBe(3));
  }));

  const uses: [name: string, use: (x: Tensor, row: Tensor) => unknown][] = [
    ["padWith", (x, border) => padWith(x, { border, pad: 1 })],
    ["batchNorm", (x, mean) => batchNorm(x, zeros([2]), zeros([2]), { mean, variance: zeros([2]), eps: 1, ofBatch: false })],
    ["batchNorm", (x, variance) => batchNorm(x, zeros([2]), zeros([2]), { mean: zeros([2]), variance, eps: 1, ofBatch: false })],
  ];
  it.each(uses)("%s refuses them among its attributes too", (name, use) => at(home, () => {
    const x = zeros([1, 4, 4, 2]), far = withHost(abroad, () => zeros([2]));
    let ended: Tensor | undefined;
    scope(() => { ended = zeros([2]); });
    expect(() => use(x, far)).toThrow(sentence(name, "[2]"));
    expect(() => use(x, ended!)).toThrow("tensor [2]: its scope has ended");
  }));
});
