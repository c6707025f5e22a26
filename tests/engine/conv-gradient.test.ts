/** How a convolution's input gradient is computed: which way is taken, and that every way gives the gradient. */
import { beforeAll, describe, expect, it } from "vitest";
import { backward, conv2d, loadKernels, noGrad, Random, scope, spikesOf, tensor, withHost, withSpikePath, type ConvAttributes, type Host, type Shape, type Tensor } from "../../engine/index.ts";
import { inputGradientPath } from "../../engine/ops/dispatch.ts";
import { geometryOf, inParts, outputTable } from "../../engine/ops/geometry.ts";
import { relativeError } from "../kernels/harness.ts";

let hosts: Host[];
beforeAll(async () => { hosts = await Promise.all((["reference64", "reference", "simd"] as const).map((build) => loadKernels({ build, threads: 1 }))); });

interface Layer { x: Shape; out: number; k?: number; stride?: number; padding?: number; dilation?: number; groups?: number }
function geometry({ x, out, k = 3, stride = 1, padding = 1, dilation = 1, groups = 1 }: Layer) {
  const side = (n: number): number => Math.floor((n + 2 * padding - dilation * (k - 1) - 1) / stride) + 1;
  const attributes = { stride, padding, dilation, groups }, weight = [out, k, k, x[3] / groups], y = [x[0], side(x[1]), side(x[2]), out];
  return { attributes, weight, y, g: geometryOf(x, weight, y, attributes) };
}
const drawn = (shape: Shape, seed: number): Float64Array => { const random = new Random(seed); return Float64Array.from({ length: shape.reduce((a, b) => a * b) }, () => Math.fround(random.uniform(-1, 1))); };

/** dx of <dy, conv2d(x, w)>, as this host gives it. */
function gradient(layer: Layer, { algorithm }: Partial<ConvAttributes> = {}): Float64Array {
  const { attributes, weight, y } = geometry(layer);
  return scope(() => {
    const x = tensor(drawn(layer.x, 1), layer.x, { requiresGrad: true });
    backward(conv2d(x, tensor(drawn(weight, 2), weight), undefined, { ...attributes, algorithm }), [tensor(drawn(y, 3), y)]);
    return Float64Array.from(x.grad!.data);
  });
}

/** The same by the definition, one product at a time. */
function byDefinition(layer: Layer): Float64Array {
  const { weight: [out, kh, kw, K], y: [B, OH, OW], g: { H, W, C, stride, padding, dilation, N } } = geometry(layer);
  const w = drawn([out, kh, kw, K], 2), dy = drawn([B, OH, OW, out], 3), dx = new Float64Array(B * H * W * C);
  for (let b = 0; b < B; b++) for (let oy = 0; oy < OH; oy++) for (let ox = 0; ox < OW; ox++) for (let ky = 0; ky < kh; ky++) for (let kx = 0; kx < kw; kx++) {
    const iy = oy * stride + ky * dilation - padding, ix = ox * stride + kx * dilation - padding;
    if (iy < 0 || iy >= H || ix < 0 || ix >= W) continue;
    for (let j = 0; j < out; j++) for (let k = 0; k < K; k++) {
      dx[((b * H + iy) * W + ix) * C + Math.floor(j / N) * K + k] += dy[((b * OH + oy) * OW + ox) * out + j] * w[((j * kh + ky) * kw + kx) * K + k];
    }
  }
  return dx;
}

describe("the input gradient", () => {
  it("goes by Winograd where that pays, and nowhere else", () => {
    const path = (layer: Layer): string => inputGradientPath(geometry(layer).g);
    for (const [S, C, out] of [[40, 256, 256], [80, 64, 256], [20, 256, 256], [12, 256, 256], [64, 8, 8], [64, 3, 16]]) expect(path({ x: [1, S, S, C], out }), `${C} -> ${out} @${S}`).toBe("winograd");
    for (const [S, C, out] of [[10, 512, 512], [8, 256, 256], [4, 16, 16], [64, 16, 4]]) expect(path({ x: [1, S, S, C], out }), `${C} -> ${out} @${S}`).toBe("dense");
    expect(path({ x: [8, 10, 10, 512], out: 512 })).toBe("winograd");
    const large = { x: [1, 40, 40, 64], out: 64 };
    for (const other of [{ stride: 2 }, { dilation: 2, padding: 2 }, { groups: 2 }, { k: 1, padding: 0 }, { k: 5 }, { padding: 3 }]) expect(path({ ...large, ...other }), JSON.stringify(other)).toBe("dense");
    for (const padding of [0, 1, 2]) expect(path({ ...large, padding })).toBe("winograd");
  });

  const layers: Record<string, Layer> = {
    "Winograd": { x: [2, 13, 11, 9], out: 10 }, "Winograd without padding": { x: [1, 18, 17, 8], out: 8, padding: 0 }, "Winograd, wide padding": { x: [3, 9, 12, 17], out: 9, padding: 2 },
    "stride 2": { x: [2, 7, 8, 5], out: 3, stride: 2 }, "stride 2, 7x7": { x: [1, 9, 10, 3], out: 4, k: 7, stride: 2, padding: 3 }, "stride 4, 7x7": { x: [2, 13, 11, 3], out: 9, k: 7, stride: 4, padding: 2 },
    "stride 3, dilation 2": { x: [1, 10, 11, 4], out: 4, stride: 3, dilation: 2 }, "stride 2, 1x1": { x: [2, 5, 4, 3], out: 5, k: 1, stride: 2, padding: 0 },
    "stride 2, two groups": { x: [2, 6, 7, 6], out: 10, stride: 2, groups: 2 }, "stride wider than the picture": { x: [2, 2, 3, 4], out: 3, k: 1, stride: 5, padding: 0 },
  };
  it.each(Object.entries(layers))("is right: %s", (name, layer) => {
    expect(inputGradientPath(geometry(layer).g)).toBe(name.startsWith("Winograd") ? "winograd" : "dense");
    const want = byDefinition(layer);
    for (const host of hosts) expect(relativeError(withHost(host, () => gradient(layer)), want), host.build).toBeLessThan(host.bytes === 8 ? 1e-13 : 1e-5);
  });

  it.each(["Winograd", "stride 2, 7x7"])("has the same bits on two threads: %s", async (name) => {
    const layer = { ...layers[name], x: [4, 33, 31, 24], out: 32 }, [one, two] = await Promise.all([1, 2].map((threads) => loadKernels({ build: "simd", threads })));
    expect(two.threads).toBe(2);
    try { expect(withHost(two, () => gradient(layer))).toEqual(withHost(one, () => gradient(layer))); } finally { await two.stop(); }
  });

  it("of a strided convolution has the bits that the order of the picture gives", () => {
    const layer = { x: [2, 9, 7, 17], out: 12, stride: 2 }, { g, weight, y } = geometry(layer);
    for (const host of hosts) withHost(host, () => scope(() => {
      const { kernels: k, memory, bytes } = host;
      const w = tensor(drawn(weight, 2), weight), dy = tensor(drawn(y, 3), y), dx = tensor(drawn(layer.x, 4), layer.x), packed = memory.allocate(24 * 9 * 12 * bytes);
      k.conv_pack_transposed(3, w.ptr, packed, 12, 9, 17);
      k.f32_conv(g.inputPixels, dy.ptr, 12, outputTable(g), g.inputPixels, 9, 12, packed, 0, dx.ptr, 17, 17);
      expect(gradient(layer), host.build).toEqual(Float64Array.from(dx.data));
    }));
  });
});

describe("conv2d with algorithm winograd", () => {
  const shape = [2, 9, 7, 5], weight = [6, 3, 3, 5];
  const run = (attributes: Partial<ConvAttributes>, x: () => Parameters<typeof conv2d>[0]): Float64Array =>
    scope(() => noGrad(() => Float64Array.from(conv2d(x(), tensor(drawn(weight, 2), weight), tensor(drawn([6], 3), [6]), attributes).data)));
  const reals = (): Tensor => tensor(drawn(shape, 1), shape);
  const spikes = () => spikesOf(tensor(drawn(shape, 1).map((v) => Math.round(2 + 2 * v)), shape), { D: 4 });

  it.each([0, 1, 2])("convolves reals and dense spikes as the direct one does, padding %i", (padding) => {
    for (const host of hosts) withHost(host, () => {
      for (const x of [reals, spikes]) {
        const [direct, other] = (["direct", "winograd"] as const).map((algorithm) => withSpikePath("dense", () => run({ padding, algorithm }, x)));
        expect(relativeError(other, direct)).toBeLessThan(host.bytes === 8 ? 1e-13 : 1e-5);
        expect(other, "another order of sums").not.toEqual(direct);
      }
    });
  });

  it("is not what a layer gets that does not ask", () => withHost(hosts[0], () => expect(run({ padding: 1 }, reals)).toEqual(run({ padding: 1, algorithm: "direct" }, reals))));

  it("refuses what it cannot do, and says what it can", () => withHost(hosts[0], () => {
    const can = "conv2d: algorithm winograd expects a 3x3 kernel, stride 1, padding 0 to 2, dilation 1 and one group, got weight";
    expect(() => run({ algorithm: "winograd", stride: 2 }, reals)).toThrow(`${can} [6, 3, 3, 5], stride 2, padding 0, dilation 1 and groups 1`);
    for (const attributes of [{ padding: 3 }, { dilation: 2 }]) expect(() => run({ algorithm: "winograd", ...attributes }, reals)).toThrow(can);
    expect(() => conv2d(reals(), tensor(drawn([6, 1, 1, 5], 2), [6, 1, 1, 5]), undefined, { algorithm: "winograd" })).toThrow(can);
  }));
});

describe("the sparse path", () => {
  /** Output and weight gradient of a convolution of spikes, each way. */
  const both = (layer: Layer, density: number): Record<"sparse" | "dense", { y: number[]; dw: number[] }> => {
    const { attributes, weight, y } = geometry(layer), random = new Random(7);
    const fired = Float64Array.from({ length: layer.x.reduce((a, b) => a * b) }, () => (random.uniform() < density ? random.integer(1, 5) : 0));
    const by = (path: "sparse" | "dense") => scope(() => withSpikePath(path, () => {
      const w = tensor(drawn(weight, 2), weight, { requiresGrad: true }), out = conv2d(spikesOf(tensor(fired, layer.x), { D: 4 }), w, undefined, attributes);
      backward(out, [tensor(drawn(y, 3), y)]);
      return { y: Array.from(out.data), dw: Array.from(w.grad!.data) };
    }));
    return { sparse: by("sparse"), dense: by("dense") };
  };

  const layers: Record<string, Layer> = {
    "stride 2": { x: [2, 8, 12, 17], out: 33, stride: 2 }, "stride 2, odd sides": { x: [2, 9, 7, 16], out: 20, stride: 2 }, "stride 2, 1x1": { x: [1, 9, 8, 16], out: 16, k: 1, stride: 2, padding: 0 },
    "stride 2, 2x2": { x: [1, 8, 6, 16], out: 40, k: 2, stride: 2, padding: 0 }, "stride 2, 7x7": { x: [1, 13, 16, 16], out: 16, k: 7, stride: 2, padding: 3 }, "stride 4, 7x7": { x: [1, 17, 14, 18], out: 16, k: 7, stride: 4, padding: 2 },
    "stride 3, no padding": { x: [1, 10, 11, 16], out: 16, stride: 3, padding: 0 }, "stride 2, more padding than phases hold": { x: [1, 6, 7, 16], out: 16, stride: 2, padding: 2 },
    "stride wider than the picture": { x: [1, 2, 3, 16], out: 16, k: 1, stride: 4, padding: 0 }, "stride 3, dilation 2": { x: [1, 12, 11, 16], out: 16, stride: 3, dilation: 2 },
    "lists joined over all taps, in parts": { x: [1, 70, 60, 32], out: 64 }, "lists joined over rows, in parts": { x: [1, 33, 40, 64], out: 40 }, "joined, 5x5 of stride 2": { x: [2, 21, 30, 16], out: 33, k: 5, stride: 2, padding: 2 },
  };
  it.each(Object.keys(layers))("has the bits of the dense one: %s", (name) => {
    for (const host of name.endsWith("in parts") ? hosts.slice(-1) : hosts) withHost(host, () => {
      for (const density of [0.02, 0.3, 1]) {
        const { sparse, dense } = both(layers[name], density);
        expect(sparse, `${host.build}, density ${density}`).toEqual(dense);
      }
    });
  });

  it("in parts is not in one: the largest of these has more pixels than are joined at a time", () => {
    const calls: number[] = [], host = hosts.at(-1)!, { spike_unfold } = host.kernels;
    host.kernels.spike_unfold = (...given) => { calls.push(given[5]); spike_unfold(...given); };
    try { withHost(host, () => both(layers["lists joined over all taps, in parts"], 0.3)); } finally { host.kernels.spike_unfold = spike_unfold; }
    expect(calls.length).toBeGreaterThan(1);
    expect(calls.reduce((a, b) => a + b)).toBe(70 * 60);
  });
});

describe("a batch whose tables are too large", () => {
  it.each([[1, "sparse"], [2, "sparse"], [1, "dense"], [2, "dense"]] as const)("goes in parts, with the bits that its pictures give alone: stride %i, %s", (stride, path) => withHost(hosts.at(-1)!, () => {
    const side = 300, all = geometry({ x: [6, side, side, 16], out: 17, stride }), one = geometry({ x: [1, side, side, 16], out: 17, stride }), pixels = side * side * 16, outputs = one.y.reduce((a, b) => a * b);
    const fired = drawn([6, side, side, 16], 5).map((v) => Math.max(0, Math.round(6 * v - 3))), seed = drawn(all.y, 3), parts: number[] = [];
    const run = (x: Float64Array, dy: Float64Array, { attributes, weight, y }: ReturnType<typeof geometry>) => scope(() => withSpikePath(path, () => {
      const given = [x.length / pixels, side, side, 16], reals = tensor(x, given, { requiresGrad: path === "dense" }), w = tensor(drawn(weight, 2), weight, { requiresGrad: path === "sparse" });
      const out = conv2d(path === "sparse" ? spikesOf(reals, { D: 4 }) : reals, w, undefined, attributes);
      backward(out, [tensor(dy, y)]);
      return { y: Float32Array.from(out.data), dx: reals.grad && Float32Array.from(reals.grad.data) };
    }));
    inParts(all.g, 9 * all.g.outputPixels, ({ B }) => parts.push(B));
    expect(parts.length, "parts").toBeGreaterThan(1);
    const together = run(fired, seed, all);
    for (let b = 0; b < 6; b += 5) {
      const alone = run(fired.subarray(b * pixels, (b + 1) * pixels), seed.subarray(b * outputs, (b + 1) * outputs), one);
      expect(Buffer.compare(Buffer.from(together.y.buffer, 4 * b * outputs, 4 * outputs), Buffer.from(alone.y.buffer)), "y").toBe(0);
      if (alone.dx) expect(Buffer.compare(Buffer.from(together.dx!.buffer, 4 * b * pixels, 4 * pixels), Buffer.from(alone.dx.buffer)), "dx").toBe(0);
    }
  }));
});
