import { beforeAll, describe, expect, it } from "vitest";
import {
  add, backward, batchNorm, batchStatistics, checkpoint, conv2d, fire, host, isRecomputing, lean, mul, noGrad, padWith, Parameter, Random, reshape, scope, sigmoid, sum, tensor, Tensor,
  valuesOf, withHost, type Host,
} from "../../engine/index.ts";
import { defineOp } from "../../engine/op.ts";
import { ilif } from "../../nn/neurons.ts";
import { kernelSets } from "./hosts.ts";

describe.each(kernelSets)("lean stretches on %s", (_, load) => {
  let kernels: Host;
  beforeAll(async () => { kernels = await load(); });
  const test = (name: string, run: () => void): void => it(name, () => withHost(kernels, () => scope(run)));
  const inUse = () => host().memory.inUse;

  /** fire, convolve, norm, pad, depthwise convolution, residual: everything that is kept, made again, or dropped. */
  function network(weights: readonly Parameter[], stretch: (run: () => Tensor) => Tensor): (x: Tensor) => Tensor {
    const [w, gamma, beta, deep, last] = weights;
    const norm = (y: Tensor): Tensor => batchNorm(y, gamma, beta, { ...batchStatistics(y), eps: 1e-3, ofBatch: true });
    const part = (x: Tensor): Tensor => {
      const y = norm(conv2d(fire(x, ilif(4)), w)), border = tensor([1, 2, 3, 4, 5, 6, 7, 8]);
      const z = conv2d(padWith(norm(y), { border, pad: 1 }), deep, undefined, { groups: 8 });
      const s = fire(reshape(norm(z), x.shape), ilif(4));
      return add(norm(conv2d(norm(valuesOf(s)), last)), x);
    };
    return (x) => stretch(() => stretch(() => part(stretch(() => part(x)))));
  }

  function step(stretch: (run: () => Tensor) => Tensor): { value: number; gradients: number[][]; kept: number } {
    const random = new Random(2), draw = (n: number) => Float32Array.from({ length: n }, () => random.uniform(-1, 1));
    const weights = [[8, 1, 1, 8], [8], [8], [8, 3, 3, 1], [8, 1, 1, 8]].map((shape) => new Parameter(shape, "weight", draw(shape.reduce((a, b) => a * b))));
    const x = new Parameter([2, 16, 16, 8], "weight", draw(4096).map((v) => 3 * v)), before = inUse();
    return scope(() => {
      const y = network(weights, stretch)(x), kept = inUse() - before, total = sum(mul(y, y));
      backward(total);
      return { value: total.item(), gradients: [x, ...weights].map(({ grad }) => Array.from(grad!.data)), kept };
    });
  }

  test("give the value and the gradients that they would give if all was kept, bit by bit, and keep less than half", () => {
    const all = step((run) => run()), little = step(lean);
    expect(little.value).toBe(all.value);
    expect(little.gradients).toEqual(all.gradients);
    expect(all.gradients.every((gradient) => gradient.some((x) => x !== 0))).toBe(true);
    expect(little.kept).toBeLessThan(0.5 * all.kept);
  });

  test("run again from a checkpoint, give the same bits, and keep less again", () => {
    const all = step((run) => run()), little = step(lean), again = step(checkpoint);
    expect(again.value).toBe(all.value);
    expect(again.gradients).toEqual(all.gradients);
    expect(again.kept).toBeLessThan(0.3 * little.kept);
  });

  test("free what they kept as backward walks: nothing but gradients is left of them", () => {
    const w = new Parameter([1000], "weight", new Float32Array(1000).fill(0.5)), before = inUse();
    const total = lean(() => { let y: Tensor = w; for (let i = 0; i < 20; i++) y = sigmoid(y); return sum(y); });
    expect(inUse() - before).toBeGreaterThan(20 * 1000 * host().bytes);
    backward(total);
    expect(inUse() - before).toBeLessThan(3 * 1000 * host().bytes); // the gradient, and scalars
  });

  test("keep nothing but their result where nothing is recorded", () => {
    const x = tensor(new Float32Array(1000)), before = inUse();
    const y = noGrad(() => lean(() => sigmoid(sigmoid(sigmoid(x)))));
    expect(inUse() - before).toBeLessThan(1100 * host().bytes);
    expect(y.data[0]).toBeGreaterThan(0.5);
  });

  test("keep results that gradients do not read, also after backward", () => {
    const x = new Parameter([3], "weight", [1, 2, 3]);
    const { y, total } = lean(() => { const y = add(x, x); return { y, total: sum(mul(y, y)) }; });
    backward(total);
    expect(Array.from(y.data)).toEqual([2, 4, 6]);
    expect(Array.from(x.grad!.data)).toEqual([8, 16, 24]);
  });

  test("refuse to read what was dropped, and say why", () => {
    let inside: Tensor | undefined;
    const x = new Parameter([3], "weight", [1, 2, 3]);
    lean(() => { inside = add(x, x); return sum(inside); });
    expect(() => inside!.data).toThrow("tensor [3]: nobody needed it any more (lean, backward); read it earlier, or return it from there");
    expect(() => add(inside!, x)).toThrow("nobody needed it any more");
  });

  test("leave what was made before an error to the scope", () => {
    const before = inUse();
    expect(() => scope(() => lean(() => { sigmoid(tensor([1, 2])); throw new Error("inside"); }))).toThrow("inside");
    expect(inUse()).toBe(before);
    const x = new Parameter([2], "weight", [1, 2]);
    backward(lean(() => sum(mul(x, x))));
    expect(Array.from(x.grad!.data)).toEqual([2, 4]);
  });

  test("catch an op that says it reads less than it reads: the kernel is given no address", () => {
    const liar = defineOp<[x: Tensor]>({ name: "liar", reads: {}, shape: ([x]) => x.shape, forward: (k, [x], y) => k.f32_mul(y.size, x.ptr, x.ptr, y.ptr), backward: (dy, [x]) => [mul(dy, x)] });
    const x = new Parameter([4], "weight", [1, 2, 3, 4]);
    const total = lean(() => sum(liar(add(x, x))));
    expect(() => backward(total)).toThrow();
  });

  test("run a checkpoint twice and say so the second time; under noGrad once", () => {
    const runs: boolean[] = [], x = new Parameter([2], "weight", [1, 2]);
    const part = (): Tensor => checkpoint(() => { runs.push(isRecomputing()); return mul(x, x); });
    const total = sum(part());
    expect(runs).toEqual([false]);
    backward(total);
    expect(runs).toEqual([false, true]);
    expect(Array.from(x.grad!.data)).toEqual([2, 4]);
    noGrad(part);
    expect(runs).toEqual([false, true, false]);
    expect(isRecomputing()).toBe(false);
  });

  test("add gradients of a value that a checkpoint and others use in the order without it", () => {
    const gradient = (part: (run: () => Tensor) => Tensor): number[] => {
      const x = new Parameter([2], "weight", [0.1, 1e-3]), y = mul(x, x);
      const z = part(() => add(mul(y, y), sigmoid(y)));
      backward(sum(add(mul(z, y), sigmoid(y))));
      return Array.from(x.grad!.data);
    };
    expect(gradient(checkpoint)).toEqual(gradient((run) => run()));
  });
});
