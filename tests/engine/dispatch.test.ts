/** Which kernel runs a convolution: what decides, what may be asked for, what is told; and that no clock can change a bit. */
import { createHash } from "node:crypto";
import { beforeAll, describe, expect, it, test } from "vitest";
import {
  add, backward, conv2d, fire, loadKernels, noGrad, observeKernels, Parameter, Random, reshape, scope, spikesOf, tensor, withHost, withKernels, withSpikePath,
  type ConvAttributes, type Host, type KernelChoice, type KernelRun, type Spikes, type Tensor,
} from "../../engine/index.ts";
import { SpikeYOLO, detectionLoss, spikeYOLO } from "../../detection/index.ts";
import { FIXED } from "../../kernels/crossovers.ts";
import { ilif, integrateAndFire } from "../../nn/neurons.ts";
import { relativeError } from "../kernels/harness.ts";
import { kernelSets } from "./hosts.ts";

const drawn = (size: number, seed: number): Float32Array => { const random = new Random(seed); return Float32Array.from({ length: size }, () => random.uniform(-1, 1)); };
/** Spikes 1..4, exactly so many of a hundred. */
const spikes = (shape: number[], hundredths: number): Spikes => spikesOf(tensor(Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => ((i * 37) % 100 < hundredths ? 1 + (i % 4) : 0)), shape), { D: 4 });
/** The names of the kernels that run. */
const kernelsOf = (run: () => void): string[] => { const seen: KernelRun[] = []; observeKernels((kernel) => seen.push(kernel), run); return seen.map(({ pass, kernel }) => `${pass} ${kernel}`); };

describe.each(kernelSets)("sparse and dense on %s", (_, load) => {
  let host: Host;
  beforeAll(async () => { host = await load(); });

  interface Class extends Partial<ConvAttributes> { S: number; C: number; out: number; k: number }
  const classes: Class[] = [
    { S: 1, C: 1, out: 1, k: 1 }, { S: 7, C: 3, out: 5, k: 1 }, { S: 9, C: 64, out: 33, k: 1 }, { S: 4, C: 1000, out: 17, k: 1 }, { S: 9, C: 5, out: 17, k: 3, padding: 1 }, { S: 12, C: 64, out: 64, k: 3, padding: 1 },
    { S: 12, C: 17, out: 70, k: 3, stride: 2, padding: 1 }, { S: 9, C: 16, out: 7, k: 3, padding: 2, dilation: 2 }, { S: 20, C: 40, out: 12, k: 3 }, { S: 11, C: 8, out: 9, k: 5, padding: 4 },
    { S: 11, C: 8, out: 9, k: 1, stride: 2 }, { S: 11, C: 8, out: 9, k: 1, padding: 1 }, { S: 13, C: 3, out: 70, k: 7, stride: 4, padding: 2 },
  ];
  test.each(classes)("give the same bits, forward and for the weights: $k x $k, $C -> $out", ({ S, C, out, k, ...attributes }) => withHost(host, () => {
    for (const hundredths of [0, 7, 60, 100]) {
      const [dense, sparse] = (["dense", "sparse"] as const).map((path) => withSpikePath(path, () => scope(() => {
        const weight = tensor(drawn(out * k * k * C, 1), [out, k, k, C], { requiresGrad: true });
        const y = conv2d(spikes([2, S, S, C], hundredths), weight, tensor(drawn(out, 2), [out]), attributes);
        backward(y, [tensor(drawn(y.size, 3), y.shape)]);
        return [y.data.slice(), weight.grad!.data.slice()];
      })));
      expect(sparse).toEqual(dense);
    }
  }));
});

describe("the same seed gives the same run", () => {
  test("whatever the clock said: all sparse, all dense and as dispatched, a training step has the same bits", async () => {
    const host = await loadKernels({ threads: 1 });
    const images = { shape: [2, 64, 64, 3], data: drawn(2 * 64 * 64 * 3, 1).map(Math.abs) };
    const boxes = { image: Int32Array.from([0, 1]), class: Int32Array.from([0, 2]), xywh: Float32Array.from([0.5, 0.5, 0.4, 0.4, 0.3, 0.3, 0.2, 0.2]) };
    const step = (): { bits: string; ran: string[] } => withHost(host, () => {
      const model = new SpikeYOLO({ ...spikeYOLO.small, classes: 3 });
      const ran = kernelsOf(() => scope(() => backward(detectionLoss(model.forward(images), boxes).total)));
      const hash = createHash("sha256");
      for (const { grad } of model.parameters()) if (grad) hash.update(grad.data);
      return { bits: hash.digest("hex"), ran };
    });
    const [sparse, dense, auto] = (["sparse", "dense", "auto"] as const).map((path) => withSpikePath(path, step));
    expect(sparse.ran.filter((kernel) => /^(forward|dw) sparse/.test(kernel)).length).toBeGreaterThan(20);
    expect(dense.ran.filter((kernel) => /sparse/.test(kernel))).toEqual([]);
    expect([dense.bits, auto.bits]).toEqual([sparse.bits, sparse.bits]);
  });
});

describe("crossovers", () => {
  test("are measured once per build and number of threads, and the memory for it is free again", async () => {
    const [a, b] = [await loadKernels({ build: "simd", threads: 1 }), await loadKernels({ build: "simd", threads: 1 })];
    const before = a.memory.inUse;
    expect(a.crossovers).not.toBe(FIXED);
    expect(b.crossovers).toBe(a.crossovers);
    expect(a.memory.inUse).toBe(before);
  });

  test("are constants where dispatch is fixed, where arithmetic is strict, and for plain kernels", async () => {
    for (const options of [{ dispatch: "fixed" }, { arithmetic: "strict" }, { build: "reference" }, { build: "reference64" }] as const) expect((await loadKernels({ ...options, threads: 1 })).crossovers, JSON.stringify(options)).toBe(FIXED);
    await expect(loadKernels({ dispatch: "fast" as "fixed" })).rejects.toThrow('engine: dispatch must be "calibrated" or "fixed", got "fast"');
  });
});

describe("with fixed crossovers", () => {
  let host: Host;
  beforeAll(async () => { host = await loadKernels({ dispatch: "fixed", threads: 1 }); });
  const here = (name: string, run: () => void): void => it(name, () => withHost(host, () => scope(run)));
  const weight = (out: number, k: number, C: number): Tensor => tensor(drawn(out * k * k * C, 1), [out, k, k, C], { requiresGrad: true });
  /** Forward and backward. */
  const both = (x: Spikes | Tensor, w: Tensor, attributes: Partial<ConvAttributes> = {}): string[] => kernelsOf(() => { const y = conv2d(x, w, undefined, attributes); backward(y, [tensor(drawn(y.size, 3), y.shape)]); });

  here("density decides, and for the weights sooner", () => {
    for (const k of [1, 3]) {
      expect(both(spikes([1, 5, 5, 16], 40), weight(32, k, 16))).toEqual([`forward sparse ${k}x${k}`, `dw sparse ${k}x${k}`]);
      expect(both(spikes([1, 5, 5, 16], 55), weight(32, k, 16))).toEqual([`forward sparse ${k}x${k}`, `dw dense ${k}x${k}`]);
      expect(both(spikes([1, 5, 5, 16], 70), weight(32, k, 16))).toEqual([`forward dense ${k}x${k}`, `dw dense ${k}x${k}`]);
    }
  });

  here("layers of few channels on either side run dense at any density", () => {
    const ran = (hundredths: number, out: number, C: number, stride = 1): string[] => both(spikes([1, 5, 5, C], hundredths), weight(out, 3, C), { padding: 1, stride }).map((kernel) => kernel.split(" ")[1]);
    for (const hundredths of [1, 10]) {
      expect([ran(hundredths, 32, 8), ran(hundredths, 8, 32), ran(hundredths, 16, 32), ran(hundredths, 32, 16)]).toEqual([["dense", "dense"], ["dense", "dense"], ["sparse", "sparse"], ["sparse", "sparse"]]);
      expect(ran(hundredths, 16, 16, 2)).toEqual(["sparse", "sparse"]);
    }
  });

  here("a layer stays with its kernel within 5 % of the crossover on either side, and another starts where it is", () => {
    const w = weight(32, 1, 16), after = (hundredths: number, of = w): string => noGrad(() => kernelsOf(() => conv2d(spikes([1, 5, 5, 16], hundredths), of)))[0];
    expect([50, 62, 64, 62, 58, 56, 58, 62].map((hundredths) => after(hundredths))).toEqual(["sparse", "sparse", "dense", "dense", "dense", "sparse", "sparse", "sparse"].map((kernel) => `forward ${kernel} 1x1`));
    expect(after(62, weight(32, 1, 16))).toBe("forward dense 1x1");
    expect(after(58, weight(32, 1, 16))).toBe("forward sparse 1x1");
  });

  here("a layer far from the crossover is asked again after sixteen passes, one near it every time", () => {
    const w = weight(32, 1, 16), after = (hundredths: number): string => noGrad(() => kernelsOf(() => conv2d(spikes([1, 5, 5, 16], hundredths), w)))[0].split(" ")[1];
    expect(after(10)).toBe("sparse");
    expect(Array.from({ length: 20 }, () => after(100))).toEqual([...new Array(15).fill("sparse"), ...new Array(5).fill("dense")]);
    expect(Array.from({ length: 12 }, () => after(50))).toEqual([...new Array(11).fill("dense"), "sparse"]);
    expect(after(70)).toBe("dense");
  });

  here("every pass tells its kernel and whose it is", () => {
    const x = tensor(drawn(2 * 24 * 24 * 16, 2), [2, 24, 24, 16], { requiresGrad: true }), w = weight(8, 3, 16), seen: KernelRun[] = [];
    expect(both(x, w, { padding: 1 })).toEqual(["forward dense 3x3", "dx winograd 3x3", "dw dense 3x3"]);
    expect(both(x, weight(16, 7, 1), { padding: 3, groups: 16 })).toEqual(["forward depthwise 7x7", "dx depthwise 7x7", "dw depthwise 7x7"]);
    expect(both(x, w, { padding: 1, algorithm: "winograd" })).toEqual(["forward winograd 3x3", "dx winograd 3x3", "dw dense 3x3"]);
    for (const path of ["integer", "binary"] as const) expect(kernelsOf(() => noGrad(() => withSpikePath(path, () => conv2d(spikes([1, 5, 5, 8], 9), weight(4, 3, 8)))))).toEqual([`forward ${path} 3x3`]);
    observeKernels((run) => seen.push(run), () => conv2d(x, w));
    expect(seen[0].weight).toBe(w);
    conv2d(x, w);
    expect(seen.length).toBe(1);
  });

  here("kernels that are asked for run where they can; the others run what they always do", () => {
    const x = tensor(drawn(6 * 6 * 8, 2), [1, 6, 6, 8], { requiresGrad: true }), few = (): Spikes => spikes([1, 6, 6, 16], 10);
    const asked = (choice: KernelChoice, run: () => string[]): string[] => withKernels(choice, run);
    expect(asked({ forward: "dense" }, () => both(few(), weight(16, 3, 16)))).toEqual(["forward dense 3x3", "dw sparse 3x3"]);
    expect(asked({ dw: "dense" }, () => both(few(), weight(16, 3, 16)))).toEqual(["forward sparse 3x3", "dw dense 3x3"]);
    expect(asked({ dx: "winograd" }, () => both(x, weight(4, 3, 8)))[1]).toBe("dx winograd 3x3");
    expect(asked({ dx: "winograd" }, () => both(x, weight(4, 5, 8)))[1]).toBe("dx dense 5x5");
    expect(asked({ dx: "masked" }, () => both(x, weight(4, 1, 8)))[1]).toBe("dx dense 1x1");
    for (const [side, dx] of [[1, "dx dense 1x1"], [3, both(x, weight(8, 3, 8), { padding: 1 })[1]]] as const) expect(asked({ dx: "whole" }, () => both(x, weight(8, side, 8), { padding: side >> 1 }))[1]).toBe(dx);
    expect(asked({ forward: "sparse", dw: "sparse" }, () => both(few(), weight(16, 3, 8), { groups: 2 }))).toEqual(["forward dense 3x3", "dw dense 3x3"]);
    expect(withKernels({ forward: "dense", dw: "dense" }, () => withKernels({ dw: undefined }, () => both(few(), weight(16, 3, 16))))).toEqual(["forward dense 3x3", "dw sparse 3x3"]);
    expect(withSpikePath("dense", () => withSpikePath("auto", () => both(few(), weight(16, 3, 16))))).toEqual(["forward sparse 3x3", "dw sparse 3x3"]);
  });

  describe("the masked input gradient", () => {
    const shape = [1, 2, 6, 5, 64];
    /** Spikes of which so many hundredths have an open window. */
    const fired = (open: number, requiresGrad = true) => {
      const x = tensor(Float32Array.from({ length: 2 * 6 * 5 * 64 }, (_, i) => ((i * 37) % 100 < open ? (i % 40) / 10 : i % 2 ? -1 : 6)), shape, { requiresGrad });
      return { x, frames: reshape(fire(x, ilif(4)), shape.slice(1)) };
    };
    const dx = (open: number, w: Tensor): string => both(fired(open).frames, w)[1];

    here("is taken where few windows are open, sooner where sums are short, and depends on nothing that was before", () => {
      const w = weight(64, 1, 64);
      for (const open of [30, 50, 30]) expect(dx(open, w)).toBe(open < 41 ? "dx masked 1x1" : "dx dense 1x1");
      expect(dx(50, weight(256, 1, 64))).toBe("dx masked 1x1");
      expect(dx(30, weight(16, 1, 64))).toBe("dx dense 1x1");
      expect(withKernels({ dx: "whole" }, () => dx(30, w))).toBe("dx dense 1x1");
    });

    here("is for what integer neurons fired and for 1x1 of stride 1 alone", () => {
      const w = weight(64, 1, 64), never = (x: Spikes, attributes: Partial<ConvAttributes> = {}, of = w): void => withKernels({ dx: "masked" }, () => expect(both(x, of, attributes)[1]).not.toMatch("masked"));
      const current = tensor(drawn(2 * 6 * 5 * 64, 1), shape, { requiresGrad: true }), recorded = tensor(new Float32Array(2 * 6 * 5 * 64), shape.slice(1), { requiresGrad: true });
      never(reshape(fire(current, integrateAndFire()), shape.slice(1)));
      never(spikesOf(recorded, { D: 4 }));
      for (const attributes of [{ stride: 2 }, { padding: 1 }]) never(fired(10).frames, attributes);
      never(fired(10).frames, {}, weight(64, 3, 64));
      never(fired(10).frames, { groups: 2 }, weight(64, 1, 32));
    });
  });
});

describe.each(kernelSets)("masked and dense input gradients on %s", (_, load) => {
  test("are one gradient of the current, alone and beside other readers of the same spikes", async () => withHost(await load(), () => {
    for (const readers of [[1], [1, 5], [1, 1, 5]]) {
      const gradient = (choice: "masked" | "dense") => scope(() => withKernels({ dx: choice }, () => {
        const x = new Parameter([2, 2, 7, 6, 37]);
        x.data.set(drawn(x.size, 4).map((value) => 4 * value));
        const s = reshape(fire(x, ilif(4)), [4, 7, 6, 37]);
        const y = readers.map((k, i) => conv2d(s, tensor(drawn(k * k * 37 * 21, i), [21, k, k, 37]), undefined, { padding: k >> 1 })).reduce((a, b) => add(a, b));
        const ran = kernelsOf(() => backward(y, [tensor(drawn(y.size, 9), y.shape)]));
        expect(ran.filter((kernel) => kernel === "dx masked 1x1").length).toBe(choice === "masked" ? readers.filter((k) => k === 1).length : 0);
        return Float64Array.from(x.grad!.data);
      }));
      const [masked, dense] = [gradient("masked"), gradient("dense")];
      expect(relativeError(masked, dense)).toBeLessThan(1e-6);
      expect(masked.some((value) => value !== 0)).toBe(true);
      expect(masked.map((value) => Number(value !== 0))).toEqual(dense.map((value) => Number(value !== 0)));
    }
  }));
});
