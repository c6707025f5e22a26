/**
 * One trained network in its spiking forms: integers as multipliers, and T x D binary steps of additions alone. Equal to the last bit, without
 * a multiplication where spikes meet weights, and equal to steps that are written out one by one.
 */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import {
  batchNorm, conv2d, fire, loadKernels, noGrad, Random, scope, Spikes, spikesOf, tensor, withHost, withSpikePath,
  type Host, type Neuron, type SpikePath, type Tensor,
} from "../../engine/index.ts";
import { kernelList, SpikeYOLO, spikeYOLO, type InferenceForm, type SpikeYOLOConfig } from "../../detection/index.ts";
import { BatchNorm2d, DownSampling, fold, ilif, ilifGen1, integrateAndFire, leaky, RepConv, SepRepConv, unfold, type Module } from "../../nn/index.ts";
import type { Kernels } from "../../kernels/signatures.ts";

vi.setConfig({ testTimeout: 60_000 });

let host: Host;
beforeAll(async () => { host = await loadKernels({ threads: 1 }); });
afterAll(() => host.stop());

const SIDE = 64;
const images = (B: number, seed = 1) => {
  const random = new Random(seed);
  return { shape: [B, SIDE, SIDE, 3], data: Float32Array.from({ length: B * SIDE * SIDE * 3 }, () => random.uniform()) };
};

/** A network whose norms have seen a few batches, so that it fires in eval mode. */
function awake(config: Partial<SpikeYOLOConfig>): SpikeYOLO {
  const model = new SpikeYOLO({ ...spikeYOLO.tiny, classes: 3, norm: { eps: 1e-3, momentum: 0.7 }, ...config });
  for (let step = 0; step < 3; step++) scope(() => noGrad(() => { model.forward(images(2, step)); }));
  return model.eval() as SpikeYOLO;
}

const detect = (model: SpikeYOLO, path: SpikePath, input = images(1, 9)): number[] => scope(() => noGrad(() => withSpikePath(path, () => Array.from(model.detect(input).data))));

describe("integers as multipliers and T x D binary steps give the same bits", () => {
  const neurons = { "COCO's I-LIF": ilif, "Gen1's I-LIF": ilifGen1 };
  for (const [name, neuron] of Object.entries(neurons)) for (const T of [1, 2, 4]) for (const D of [1, 2, 4, 8]) {
    test(`T ${T}, D ${D}, ${name}, RepConvs in factors and folded`, () => {
      const model = awake({ T, D, neuron: neuron(D) });
      for (const change of [unfold, fold]) {
        change(model);
        const integer = detect(model, "integer");
        expect(new Set(integer).size).toBeGreaterThan(100);
        expect(detect(model, "binary")).toEqual(integer);
      }
    });
  }

  test.each([["IF", integrateAndFire()], ["LIF", leaky()]] as [string, Neuron][])("%s, whose spikes are binary as they are", (_, neuron) => {
    const model = awake({ T: 4, neuron });
    for (const change of [unfold, fold]) {
      change(model);
      expect(detect(model, "binary")).toEqual(detect(model, "integer"));
    }
  });

  test("a step that lists one event less would show", () => {
    const model = awake({ T: 2, D: 4 }), integer = detect(model, "integer"), kernels = host.kernels as { -readonly [K in keyof Kernels]: Kernels[K] }, { spike_events_above } = kernels;
    let planted = 0;
    kernels.spike_events_above = (runs, s, events, spans, pixels, C, d) => {
      spike_events_above(runs, s, events, spans, pixels, C, d);
      const span = new Int32Array(host.memory.wasm.buffer, spans, 2);
      if (d === 0 && planted === 0 && span[1] > span[0]) span[1] -= ++planted;
    };
    try { expect(detect(model, "binary")).not.toEqual(integer); } finally { Object.assign(kernels, { spike_events_above }); }
    expect(planted).toBe(1);
    expect(detect(model, "binary")).toEqual(integer);
  });
});

/** Every kernel that may run in the folded binary form, but for the first layer's, and what it does there. None multiplies a weight by a spike. */
const WITHOUT_PRODUCTS: Record<string, string> = {
  f32_fire_integer: "fires, T times", spike_events_above: "lists what fires in one of the D steps",
  fixed_quantize: "weights onto their grid, once a layer", fixed_pack: "weights in blocks", fixed_accumulate: "adds weights", fixed_depthwise_accumulate: "adds weights",
  fixed_to_f32: "a power of two and the bias, once per output and timestep", conv_table: "where taps lead",
  f32_affine_row: "norms, once per timestep", f32_norm_affine: "what norms multiply with, once a layer", f32_add: "shortcuts, on currents", f32_maxpool: "pooling of currents", f32_copy_columns: "concat", f32_upsample_nearest: "copies",
  f32_repeat: "shows the picture T times", f32_sum_over: "mean over T, at the very end", f32_expectation: "boxes from the last currents", f32_sigmoid: "scores from the last currents",
};
const FIRST_LAYER = ["f32_pad", "conv_pack", "f32_conv"];

/** How often each kernel is called in `run`. */
function callsIn(run: () => void): Map<string, number> {
  const calls = new Map<string, number>(), kernels = host.kernels as unknown as Record<string, (...args: number[]) => void>, original = { ...kernels };
  for (const [name, kernel] of Object.entries(original)) kernels[name] = (...args) => { calls.set(name, (calls.get(name) ?? 0) + 1); kernel(...args); };
  try { run(); } finally { Object.assign(kernels, original); }
  return calls;
}

describe("what multiplies", () => {
  let model: SpikeYOLO;
  beforeAll(() => { model = awake({ T: 2, D: 4 }); });
  const strangers = (path: SpikePath): string[] => [...callsIn(() => detect(model, path)).keys()].filter((name) => !(name in WITHOUT_PRODUCTS) && !FIRST_LAYER.includes(name));

  test("folded, in binary steps: the first layer alone, by the list of kernels that are called", () => {
    fold(model);
    const calls = callsIn(() => detect(model, "binary")), convolutions = kernelList(model, images(1), { form: "binary" }).length;
    expect([...calls.keys()].filter((name) => !(name in WITHOUT_PRODUCTS) && !FIRST_LAYER.includes(name))).toEqual([]);
    expect(calls.get("f32_conv")).toBe(1);
    // each convolution of spikes D times: not T x D, since the T timesteps are frames of one call
    expect(calls.get("fixed_accumulate")! + calls.get("fixed_depthwise_accumulate")!).toBe(4 * (convolutions - 1));
    expect(calls.get("fixed_to_f32")).toBe(convolutions - 1);
  });

  test("a kernel that multiplies would be found: that of integers, those of reals, and those of factors", () => {
    fold(model);
    expect(strangers("integer").sort()).toEqual(["fixed_depthwise_multiply_accumulate", "fixed_multiply_accumulate", "spike_events"]);
    expect(strangers("sparse")).toContain("spike_conv");
    expect(strangers("dense")).toContain("f32_gemm");
    unfold(model);
    for (const kernel of ["f32_depthwise", "f32_gemm"]) expect(strangers("binary")).toContain(kernel);
  });

  test("the list of a form names each convolution: folded, all but the stem accumulate; in factors, those that read the sums of a first 1x1 multiply too", () => {
    fold(model);
    const multiplying = (form: InferenceForm): string[] => kernelList(model, images(1), { form }).filter(({ multiplies }) => multiplies).map(({ name }) => name);
    expect(multiplying("binary")).toEqual(["stem.conv"]);
    expect(multiplying("integer")).toHaveLength(kernelList(model, images(1)).length);
    unfold(model);
    const rows = kernelList(model, images(1), { form: "binary" });
    for (const { name, reads, kernel, multiplies } of rows) {
      const inFactors = /\.(project\.depthwise|project\.pointwise \(border\)|conv[12]\.depthwise|conv[12]\.expand)$/.test(name);
      expect([name, reads, multiplies]).toEqual([name, name === "stem.conv" || inFactors ? "reals" : "spikes", name === "stem.conv" || inFactors]);
      expect(kernel.startsWith("binary ")).toBe(!multiplies);
    }
    expect(rows.filter(({ name }) => /conv[12]\.reduce$|project\.pointwise$/.test(name)).every(({ kernel }) => kernel === "binary 1x1")).toBe(true);
    expect(rows.filter(({ name }) => name.endsWith(".expand") && /conv[12]/.test(name)).length).toBeGreaterThan(5);
  });
});

describe("state", () => {
  test("starts at zero in each forward, and no picture of a batch meets another", () => {
    const model = awake({ T: 4, D: 4 }), [a, b] = [images(1, 21), images(1, 22)], both = { shape: [2, SIDE, SIDE, 3], data: Float32Array.from([...a.data, ...b.data]) };
    for (const path of ["integer", "binary", "auto"] as const) {
      const alone = detect(model, path, a);
      expect(detect(model, path, b)).not.toEqual(alone);
      expect(detect(model, path, a)).toEqual(alone);
      expect(detect(model, path, both)).toEqual([...alone, ...detect(model, path, b)]);
    }
  });

  test("runs through a sequence: its frames in another order are another sequence", () => {
    const model = awake({ T: 2, D: 4 }), frames = [images(1, 31).data, images(1, 32).data];
    const show = (order: number[]): number[] => detect(model, "binary", { shape: [2, 1, SIDE, SIDE, 3], data: Float32Array.from(order.flatMap((i) => [...frames[i]])) } as never);
    expect(show([0, 1])).not.toEqual(show([1, 0]));
  });
});

/**
 * The same written out: s[t] as steps b[t D + d] = [d < s[t]], each convolved by itself without a bias, in float64. The sum over d, then the
 * bias and the norm once, then the neuron, T times.
 */
describe("steps written out one by one", () => {
  const T = 3, B = 2, H = 5, W = 4, norm = { eps: 1e-3, momentum: 0.03 };
  const inFloat64 = async (run: () => void): Promise<void> => { const twin = await loadKernels({ build: "reference64" }); try { withHost(twin, () => scope(() => noGrad(run))); } finally { await twin.stop(); } };
  afterAll(async () => { host = await loadKernels({ threads: 1 }); });
  const drawn = (size: number, scale: number, seed: number): Float64Array => { const random = new Random(seed); return Float64Array.from({ length: size }, () => scale * random.uniform(-1, 1)); };

  /** Weights, and norms whose running statistics are far from 0 and 1. */
  function lively<M extends Module>(module: M): M {
    const random = new Random(3);
    module.initialize(random);
    for (const [, part] of [["", module] as const, ...module.namedModules()]) {
      if (!(part instanceof BatchNorm2d)) continue;
      for (const values of [part.weight.data, part.bias.data, part.runningMean.data]) values.forEach((_, c) => { values[c] = random.uniform(-1, 1); });
      part.runningVariance.data.forEach((_, c) => { part.runningVariance.data[c] = random.uniform(0.2, 2); });
    }
    return module.eval() as M;
  }

  /** Membranes of T x n currents, by the recursion itself; the spikes of each timestep. */
  function whiteboard(x: ArrayLike<number>, { decay, gain }: Neuron, D: number, steps: number): number[] {
    const n = x.length / steps, s: number[] = [];
    for (let i = 0; i < n; i++) for (let t = 0, v = 0; t < steps; t++) {
      const h = decay * v + gain * x[t * n + i], clamped = Math.min(Math.max(h, 0), D), down = Math.floor(clamped), over = clamped - down;
      s[t * n + i] = over === 0.5 ? down + (down % 2) : Math.round(clamped);
      v = h - s[t * n + i];
    }
    return s;
  }

  /** T D frames of 0 and 1 from T frames of 0..D. */
  const expand = (s: readonly number[], D: number): number[] => { const n = s.length / T; return Array.from({ length: T * D * n }, (_, i) => Number(Math.floor(i / n) % D < s[Math.floor(i / (n * D)) * n + (i % n)])); };
  /** Sums over the D steps of each timestep. */
  const collect = (y: ArrayLike<number>, D: number): Float64Array => { const n = y.length / (T * D), sums = new Float64Array(T * n); for (let i = 0; i < y.length; i++) sums[Math.floor(i / (n * D)) * n + (i % n)] += y[i]; return sums; };
  /** Convolves every step by itself, dense and real; sums. */
  function stepwise(s: readonly number[], D: number, weight: Tensor, attributes: { stride?: number; padding?: number }, bias?: Tensor): { sums: Float64Array; shape: number[] } {
    const C = weight.shape[3], y = conv2d(tensor(expand(s, D), [T * D * B, H, W, C]), weight, bias, attributes);
    return { sums: collect(y.data, D), shape: [T * B, ...y.shape.slice(1)] };
  }
  const normed = (x: Tensor, { weight, bias, runningMean: mean, runningVariance: variance }: BatchNorm2d): Float64Array => Float64Array.from(batchNorm(x, weight, bias, { mean, variance, eps: norm.eps, ofBatch: false }).data);
  const apart = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
    expect(a.length).toBe(b.length);
    return Math.max(...Array.from(a, (x, i) => Math.abs(x - b[i]))) / Math.max(...Array.from(a, Math.abs));
  };
  const biased = (sums: Float64Array, bias: ArrayLike<number>, times = 1): Float64Array => sums.map((x, i) => x + times * bias[i % bias.length]);

  for (const D of [1, 2, 4, 8]) for (const [name, neuron] of [["COCO's I-LIF", ilif(D)], ["Gen1's I-LIF", ilifGen1(D)]] as const) {
    test(`a layer with bias and norm, D ${D}, ${name}: both once per timestep, after the sum; as every step would not do`, () => inFloat64(() => {
      const layer = lively(new DownSampling(3, 5, false, { neuron, norm })), { weight, bias } = layer.conv, x = tensor(drawn(T * B * H * W * 3, 2 * D + 3, 7), [T, B, H, W, 3]);
      const s = whiteboard(x.data, neuron, D, T);
      expect([...fire(x, neuron).values()]).toEqual(s);
      expect(Math.max(...s)).toBe(D);
      const { sums, shape } = stepwise(s, D, weight, { stride: 2, padding: 1 }), expected = normed(tensor(biased(sums, bias!.data), shape), layer.norm);
      for (const path of ["dense", "integer", "binary"] as const) expect(apart(withSpikePath(path, () => layer.forward(x)).data, expected)).toBeLessThan(1e-7);
      if (D > 1) expect(apart(normed(tensor(biased(sums, bias!.data, D), shape), layer.norm), expected)).toBeGreaterThan(1e-3);
      if (D > 1) { // a membrane that took each step of a timestep as one of its own would fire others
        const n = x.size / T, shared = Array.from({ length: D * x.size }, (_, i) => x.data[Math.floor(i / (n * D)) * n + (i % n)] / D);
        expect(Array.from(collect(whiteboard(shared, neuron, 1, T * D), D))).not.toEqual(s);
      }
    }));

    test(`RepConvs, D ${D}, ${name}: folded, one convolution of steps; in factors, the first 1x1 alone is`, () => inFloat64(() => {
      const s = whiteboard(drawn(T * B * H * W * 5, D + 2, 9), neuron, D, T), spikes = (): Spikes => spikesOf(tensor(s, [T * B, H, W, 5]), { D });
      for (const chain of [lively(new RepConv(5, 7, norm)), lively(new SepRepConv(5, 7, norm))]) {
        const real = Float64Array.from(withSpikePath("dense", () => chain.forward(spikes())).data);
        for (const path of ["integer", "binary"] as const) expect(apart(withSpikePath(path, () => chain.forward(spikes())).data, real)).toBeLessThan(1e-7);
        fold(chain);
        const { weight, bias } = chain.folded!, { sums } = stepwise(s, D, weight, { padding: 1 }), expected = biased(sums, bias!.data);
        expect(apart(real, expected)).toBeLessThan(1e-9);
        for (const path of ["integer", "binary"] as const) expect(apart(withSpikePath(path, () => chain.forward(spikes())).data, expected)).toBeLessThan(1e-7);
        unfold(chain);
        if (D > 1 && chain instanceof SepRepConv) { // its norm reads spikes: in every step its shift would enter D times
          const every = collect(withSpikePath("dense", () => chain.forward(spikesOf(tensor(expand(s, D), [T * D * B, H, W, 5]), { D: 1 }))).data, D);
          expect(apart(every, expected)).toBeGreaterThan(1e-2);
        }
      }
    }));
  }
});
