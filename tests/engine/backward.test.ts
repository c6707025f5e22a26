import { beforeAll, describe, expect, it } from "vitest";
import {
  add, backward, batchNorm, channels, concat, conv2d, defineOp, gradcheck, host, isRecording, loadKernels, maxPool2d, mul, noGrad, Parameter, Random, reshape, scale, scope, sigmoid, sub, sum, tensor,
  withHost, type Host, type Tensor,
} from "../../engine/index.ts";
import { kernelSets } from "./hosts.ts";

const numbers = (x: Tensor | undefined): number[] => Array.from(x!.data);

describe.each(kernelSets)("backward on %s", (_, load) => {
  let kernels: Host;
  beforeAll(async () => { kernels = await load(); });
  const test = (name: string, run: () => void): void => it(name, () => withHost(kernels, () => scope(run)));
  const leaf = (...values: number[]) => tensor(values, [values.length], { requiresGrad: true });

  test("follows the chain rule: d/dx of the sum of x² is 2x", () => {
    const x = leaf(3, -2, 0.5);
    backward(sum(mul(x, x)));
    expect(numbers(x.grad)).toEqual([6, -4, 1]);
  });

  test("starts from 1 at a scalar that nothing was done to", () => {
    const x = tensor([5], [], { requiresGrad: true });
    backward(x);
    expect(numbers(x.grad)).toEqual([1]);
  });

  test("adds up the gradients of an input that is used three times", () => {
    const x = leaf(1, 2), y = leaf(10, 20);
    backward(sum(add(add(mul(x, y), x), scale(x, { by: 4 })))); // x y + x + 4 x
    expect(numbers(x.grad)).toEqual([15, 25]);
    expect(numbers(y.grad)).toEqual([1, 2]);
  });

  test("counts x + x twice, though its backward hands one tensor to both", () => {
    const x = leaf(1, 2, 3), z = add(x, x);
    backward(sum(mul(z, z))); // 4 x²
    expect(numbers(x.grad)).toEqual([8, 16, 24]);
  });

  test("keeps a gradient that two waiting nodes share from being written over", () => {
    const x = leaf(1, 2), a = scale(x, { by: 2 }), b = scale(x, { by: 3 }), c = scale(x, { by: 5 });
    const left = add(a, b), all = add(left, c); // dall goes to left and c, then to a and b: one block, four holders
    backward(sum(mul(all, all))); // (10 x)²
    expect(numbers(x.grad)).toEqual([200, 400]);
  });

  test("passes views on without losing what they look at", () => {
    const x = leaf(1, 2, 3, 4), y = reshape(x, [2, 2]), z = add(y, y);
    backward(sum(add(mul(z, y), reshape(x, [2, 2])))); // 2 x² + x
    expect(numbers(x.grad)).toEqual([5, 9, 13, 17]);
  });

  test("gives each part of a join its own gradient", () => {
    const a = tensor([1, 2], [1, 2], { requiresGrad: true }), b = tensor([3], [1, 1], { requiresGrad: true }), y = concat(a, b);
    backward(sum(mul(channels(y, { from: 1, count: 2 }), channels(y, { from: 0, count: 2 })))); // a1 a0 + b a1
    expect(numbers(a.grad)).toEqual([2, 4]);
    expect(numbers(b.grad)).toEqual([2]);
  });

  test("weighs a root that is not a scalar with its seed", () => {
    const x = leaf(1, 2, 3);
    backward(mul(x, x), [tensor([1, 0, -1])]);
    expect(numbers(x.grad)).toEqual([2, 0, -6]);
  });

  test("refuses a root that is not a scalar without a seed, and names its shape", () => {
    const x = tensor(new Float32Array(6), [2, 3], { requiresGrad: true });
    expect(() => backward(scale(x, { by: 2 }))).toThrow("backward: a root of shape [2, 3] needs a seed; only a scalar starts from 1");
  });

  test("gives a parameter that is two inputs of one op both gradients, in the first pass and in the next", () => {
    const both = new Parameter([2], "norm", [1, 2]), x = tensor([1, 2, 3, 4], [2, 2]), statistics = { mean: tensor([0, 0]), variance: tensor([1, 1]) };
    for (const times of [1, 2]) {
      backward(sum(batchNorm(x, both, both, { ...statistics, eps: 0, ofBatch: false }))); // sum of both (x + 1)
      expect(numbers(both.grad)).toEqual([6 * times, 8 * times]);
    }
  });

  test("adds up several roots, also when one lies behind another", () => {
    const x = leaf(2, 3), y = mul(x, x), z = mul(y, x);
    backward([z, y], [tensor([1, 1]), tensor([10, 0])]); // 3 x² + 10 * 2 x
    expect(numbers(x.grad)).toEqual([12 + 40, 27]);
  });

  test("leaves the caller's seed as it was", () => {
    const x = leaf(1, 2), seed = tensor([3, 4]), before = numbers(seed);
    for (let i = 0; i < 3; i++) backward(add(scale(x, { by: 2 }), x), [seed]);
    expect(numbers(seed)).toEqual(before);
    expect(numbers(x.grad)).toEqual([9, 12]);
  });

  test("gives plain tensors the gradient of the last call, not the sum of all", () => {
    const x = leaf(1, 2);
    backward(sum(scale(x, { by: 2 })));
    backward(sum(scale(x, { by: 5 })));
    expect(numbers(x.grad)).toEqual([5, 5]);
  });

  test("adds parameters' gradients over calls until they are cleared", () => {
    const w = new Parameter([2], "weight", [1, 2]);
    expect(w.grad).toBeUndefined();
    backward(sum(mul(w, w)));
    backward(sum(scale(w, { by: 3 })));
    expect(numbers(w.grad)).toEqual([5, 7]);
    w.clearGradient();
    expect(w.grad).toBeUndefined();
    backward(sum(w));
    expect(numbers(w.grad)).toEqual([1, 1]);
  });

  test("adds a parameter's gradients within one call, too", () => {
    const w = new Parameter([2], "weight", [1, 2]);
    backward(sum(add(mul(w, w), w)));
    expect(numbers(w.grad)).toEqual([3, 5]);
  });

  test("asks nothing of inputs that nobody wants a gradient of, and remembers nothing for them alone", () => {
    const asked: (readonly boolean[])[] = [];
    const watched = defineOp<[x: Tensor, y: Tensor]>({ ...mul.spec, backward: (dz, inputs, passed) => { asked.push(passed.needs); return mul.spec.backward(dz, inputs, passed); } });
    const x = leaf(1, 2), constant = tensor([3, 4]);
    const y = watched(x, constant);
    expect(watched(constant, constant).node).toBeUndefined();
    backward(sum(y));
    expect(asked).toEqual([[true, false]]);
    expect(constant.grad).toBeUndefined();
  });

  test("runs each op's backward once, however many use its output", () => {
    let calls = 0;
    const counted = defineOp<[x: Tensor]>({ ...sigmoid.spec, backward: (...a) => { calls++; return sigmoid.spec.backward(...a); } });
    const x = leaf(0.5), y = counted(x);
    backward(sum(add(add(y, mul(y, y)), scale(y, { by: 2 }))));
    expect(calls).toBe(1);
  });

  test("passes by a branch whose backward gives nothing", () => {
    const stop = defineOp<[x: Tensor]>({ ...sigmoid.spec, backward: () => [undefined] });
    const x = leaf(1, 2);
    backward(sum(add(stop(mul(x, x)), x)));
    expect(numbers(x.grad)).toEqual([1, 1]);
  });

  test("refuses a gradient of another size, and names the op, the input and both shapes", () => {
    const wrong = defineOp<[x: Tensor]>({ ...sigmoid.spec, name: "wrong", backward: () => [tensor([1, 2, 3])] });
    expect(() => backward(sum(wrong(leaf(1, 2))))).toThrow("wrong: gradient of input 0 has shape [3], its input [2]");
  });

  test("records nothing under noGrad, and records again afterwards, also after a throw", () => {
    const x = leaf(1, 2);
    const y = noGrad(() => { expect(isRecording()).toBe(false); return mul(x, x); });
    expect(y.node).toBeUndefined();
    expect(y.requiresGrad).toBe(false);
    expect(() => noGrad(() => { throw new Error("inside"); })).toThrow("inside");
    expect(isRecording()).toBe(true);
    expect(mul(x, x).node).toBeDefined();
  });

  test("treats what was made under noGrad as a constant", () => {
    const x = leaf(3), constant = noGrad(() => mul(x, x));
    backward(sum(mul(x, constant)));
    expect(numbers(x.grad)).toEqual([9]);
  });

  test("does not record itself", () => {
    const x = leaf(1, 2);
    backward(sum(mul(x, x)));
    expect(x.grad!.node).toBeUndefined();
    expect(x.grad!.requiresGrad).toBe(false);
  });

  test("needs room for a few gradients of a long chain, not for all", () => {
    const n = 1000, x = tensor(new Float32Array(n).fill(1), [n], { requiresGrad: true }), { memory, bytes } = host();
    let y: Tensor = x;
    for (let i = 0; i < 100; i++) y = add(scale(y, { by: 0.5 }), scale(y, { by: 0.5 }));
    const total = sum(y), before = memory.inUse;
    memory.resetPeak();
    backward(total);
    expect(numbers(x.grad)[0]).toBeCloseTo(1, 5);
    expect(memory.peak - before).toBeLessThan(8 * n * bytes);
    expect(memory.inUse - before).toBeLessThan(2 * n * bytes); // x.grad, and the seed
  });
});

describe("backward over random graphs", () => {
  let twin: Host;
  beforeAll(async () => { twin = await loadKernels({ build: "reference64" }); });

  /** Fifteen ops on whatever came before, so that values are shared, joined, viewed and dropped in every order. */
  function randomGraph(random: Random, leaves: readonly Tensor[]): Tensor {
    const pool = [...leaves], pick = () => pool[random.integer(0, pool.length)];
    for (let i = 0; i < 15; i++) {
      const [a, b] = [pick(), pick()];
      pool.push([
        () => add(a, b), () => sub(a, b), () => mul(a, b), () => scale(a, { by: random.uniform(-1, 1) }), () => sigmoid(a),
        () => reshape(reshape(a, [6]), [2, 3]), () => channels(concat(a, b), { from: 2, count: 3 }),
      ][random.integer(0, 7)]());
    }
    return add(pool[pool.length - 1], add(pick(), pick()));
  }

  it.each(Array.from({ length: 100 }, (_, seed) => [seed]))("number %i agrees with central differences", (seed) => withHost(twin, () => {
    gradcheck((...leaves) => randomGraph(new Random(seed), leaves), [{ shape: [2, 3] }, { shape: [2, 3] }, { shape: [2, 3] }], { seed });
  }));
});

describe.each(kernelSets)("ops on %s", (_, load) => {
  let kernels: Host;
  beforeAll(async () => { kernels = await load(); });
  const zeros = (...shape: number[]) => tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)), shape);

  it.each<[string, () => unknown, string]>([
    ["add of another rank", () => add(zeros(2, 3), zeros(2, 3, 1)), "add: expected equal shapes, got [2, 3] and [2, 3, 1]"],
    ["mul of another size", () => mul(zeros(3, 7), zeros(2)), "mul: expected equal shapes, got [3, 7] and [2]"],
    ["concat of another rank", () => concat(zeros(2, 3, 4), zeros(2, 4)), "concat: expected shapes equal but for the channels, got [2, 3, 4] and [2, 4]"],
    ["conv2d of a sequence", () => conv2d(zeros(1, 2, 5, 5, 3), zeros(4, 3, 3, 3)), "conv2d: expected [N, H, W, C], got [1, 2, 5, 5, 3]"],
    ["conv2d with other channels", () => conv2d(zeros(4, 8, 8, 32), zeros(128, 3, 3, 64)), "conv2d: weight [128, 3, 3, 64] expects 64 input channels, got 32 from x [4, 8, 8, 32]"],
    ["conv2d with other groups", () => conv2d(zeros(1, 8, 8, 6), zeros(4, 3, 3, 2), undefined, { groups: 2 }), "conv2d: weight [4, 3, 3, 2] expects 4 input channels (2 groups of 2), got 6 from x [1, 8, 8, 6]"],
    ["conv2d with a matrix for a weight", () => conv2d(zeros(1, 8, 8, 6), zeros(4, 6)), "conv2d: expected a weight [out, kh, kw, in / groups], got [4, 6] for x [1, 8, 8, 6]"],
    ["conv2d with a bias of another size", () => conv2d(zeros(1, 8, 8, 3), zeros(4, 1, 1, 3), zeros(3)), "conv2d: weight [4, 1, 1, 3] expects a bias of [4], got [3]"],
    ["conv2d with a kernel larger than the image", () => conv2d(zeros(1, 2, 2, 3), zeros(4, 3, 3, 3)), "conv2d: weight [4, 3, 3, 3] with padding 0 does not fit into x [1, 2, 2, 3]"],
    ["maxPool2d of a row", () => maxPool2d(zeros(4, 3), { kernel: 2, stride: 1, padding: 0 }), "maxPool2d: expected [N, H, W, C], got [4, 3]"],
    ["reshape to another size", () => reshape(zeros(2, 3), [4]), "reshape: [2, 3] does not fit [4]"],
    ["a tensor with too few values", () => tensor([1, 2, 3], [2, 2]), "tensor: shape [2, 2] holds 4 values, got 3"],
    ["the item of a vector", () => zeros(3).item(), "item: expected one element, got shape [3]"],
  ])("refuse %s in one sentence that names the shapes", (_what, run, sentence) => {
    expect(() => withHost(kernels, () => scope(run))).toThrow(sentence);
  });
});
