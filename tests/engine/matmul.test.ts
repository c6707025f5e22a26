/** Products of matrices: their values in every build against the definition, and what they refuse. */
import { describe, expect, test } from "vitest";
import { linear, loadKernels, matmul, Random, scope, sizeOf, tensor, withHost, zeros, type Host, type Shape } from "../../engine/index.ts";
import { Linear } from "../../nn/index.ts";
import { builds } from "../nn/builds.ts";

const hosts: Host[] = [];
for (const build of builds) hosts.push(await loadKernels({ build, threads: 1 }));
const everywhere = (run: () => void): void => hosts.forEach((host) => withHost(host, () => scope(run)));
const draw = (shape: Shape, seed: number): Float32Array => { const random = new Random(seed); return Float32Array.from({ length: sizeOf(shape) }, () => random.uniform(-1, 1)); };

/** a [M, K] times the matrix whose element (k, n) is b(k, n). */
function product(a: ArrayLike<number>, b: (k: number, n: number) => number, M: number, K: number, N: number): number[] {
  return Array.from({ length: M * N }, (_, i) => {
    let sum = 0;
    for (let k = 0; k < K; k++) sum += a[Math.floor(i / N) * K + k] * b(k, i % N);
    return sum;
  });
}

function expectNear(got: ArrayLike<number>, want: readonly number[], K: number): void {
  expect(got.length).toBe(want.length);
  expect(Math.max(...want.map((value, i) => Math.abs(got[i] - value)))).toBeLessThan(1e-7 * (K + 3));
}

const SIZES = [1, 3, 4, 5, 7, 8, 17, 64, 1000];

describe("matrix products of any size", () => {
  const sizes = SIZES.flatMap((n) => [[n, 5, 3], [5, n, 3], [3, 5, n]]);

  test.each(sizes)("linear: [%i, %i] to %i features is the definition in every build", (M, K, N) => everywhere(() => {
    const x = draw([M, K], 1), w = draw([N, K], 2), b = draw([N], 3), want = product(x, (k, n) => w[n * K + k], M, K, N);
    expectNear(linear(tensor(x, [M, K]), tensor(w, [N, K])).data, want, K);
    expectNear(linear(tensor(x, [M, K]), tensor(w, [N, K]), tensor(b)).data, want.map((sum, i) => sum + b[i % N]), K);
  }));

  test.each(sizes)("matmul: two of [%i, %i] by [., %i] are the definition in every build, with two matrices and with one", (M, K, N) => everywhere(() => {
    const a = draw([2, M, K], 1), b = draw([2, K, N], 2);
    const half = (i: number, j: number): number[] => product(a.subarray(i * M * K, (i + 1) * M * K), (k, n) => b[(j * K + k) * N + n], M, K, N);
    const x = tensor(a, [2, M, K]), one = matmul(x, tensor(b.subarray(0, K * N), [K, N]));
    expect(one.shape).toEqual([2, M, N]);
    expectNear(matmul(x, tensor(b, [2, K, N])).data, [...half(0, 0), ...half(1, 1)], K);
    expectNear(one.data, [...half(0, 0), ...half(1, 0)], K);
  }));
});

test("a scalar product keeps no axis but its own", () => everywhere(() => {
  expect(linear(tensor([1, 2, 3]), tensor([4, 5, 6], [1, 3]), tensor([10])).data[0]).toBe(42);
  expect(linear(tensor([1, 2, 3]), tensor([4, 5, 6], [1, 3])).shape).toEqual([1]);
}));

describe("what they refuse", () => {
  test("linear names the shapes that disagree", () => everywhere(() => {
    expect(() => linear(zeros([2, 4]), zeros([5, 3]))).toThrow("linear: weight [5, 3] expects x [..., 3], got [2, 4]");
    expect(() => linear(zeros([]), zeros([5, 3]))).toThrow("linear: weight [5, 3] expects x [..., 3], got []");
    expect(() => linear(zeros([2, 3]), zeros([5, 1, 3]))).toThrow("linear: expected a weight [out, in], got [5, 1, 3] for x [2, 3]");
    expect(() => linear(zeros([2, 3]), zeros([5, 3]), zeros([3]))).toThrow("linear: weight [5, 3] expects a bias of [5], got [3]");
  }));

  test("matmul names both shapes", () => everywhere(() => {
    for (const [a, b] of [[[2, 3], [4, 5]], [[3], [3, 5]], [[2, 3], [3]], [[2, 3], []]]) {
      expect(() => matmul(zeros(a), zeros(b))).toThrow(`matmul: expected [..., M, K] and [..., K, N], got [${a.join(", ")}] and [${b.join(", ")}]`);
    }
    for (const [a, b] of [[[2, 3, 4], [3, 4, 5]], [[3, 4], [2, 4, 5]], [[1, 3, 4], [2, 4, 5]]]) {
      expect(() => matmul(zeros(a), zeros(b))).toThrow(`matmul: expected equal leading axes, or none on the right, got [${a.join(", ")}] and [${b.join(", ")}]`);
    }
  }));
});

describe("Linear", () => {
  test("has the parameters of its sizes, drawn within 1/sqrt(in), and computes linear", () => everywhere(() => {
    const layer = new Linear(9, 40), plain = new Linear(9, 40, { bias: false }), x = tensor(draw([2, 9], 4), [2, 9]);
    layer.initialize(new Random(1));
    expect(layer.namedParameters().map(([name, { shape }]) => [name, shape])).toEqual([["weight", [40, 9]], ["bias", [40]]]);
    expect(plain.namedParameters().map(([name]) => name)).toEqual(["weight"]);
    for (const { data } of layer.parameters()) {
      expect(Math.max(...data.map(Math.abs))).toBeLessThanOrEqual(1 / 3);
      expect(Math.max(...data.map(Math.abs))).toBeGreaterThan(0.3);
      expect(Math.min(...data)).toBeLessThan(-0.25);
    }
    expect(layer.forward(x).data).toEqual(linear(x, layer.weight, layer.bias).data);
  }));
});
