/**
 * Gradients by gathering kernels and by dense ones: of a whole network the same but for the order of float32 sums, and in integers the same exactly.
 * What a kernel drops or adds, be it one event, one window or one weight in a hundred thousand, must show.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { add, backward, conv2d, fire, loadKernels, observeKernels, Parameter, Random, reshape, scope, tensor, withKernels, type Host, type KernelChoice } from "../../engine/index.ts";
import { detectionLoss, SpikeYOLO, spikeYOLO } from "../../detection/index.ts";
import { ilif } from "../../nn/index.ts";
import type { Kernels } from "../../kernels/signatures.ts";

let host: Host;
beforeAll(async () => { host = await loadKernels({ threads: 1 }); });
afterAll(() => host.stop());

const SPARSE: KernelChoice = { forward: "sparse", dx: "masked", dw: "sparse" }, DENSE: KernelChoice = { forward: "dense", dx: "dense", dw: "dense" };
type Gradients = ReadonlyMap<string, Float64Array>;

describe("a step of the whole network", () => {
  const random = new Random(1), B = 2, S = 64, images = { shape: [B, S, S, 3], data: Float32Array.from({ length: B * S * S * 3 }, () => random.uniform()) };
  const boxes = { image: Int32Array.from([0, 1]), class: Int32Array.from([0, 2]), xywh: Float32Array.from([0.5, 0.5, 0.4, 0.4, 0.3, 0.3, 0.2, 0.2]) };

  /** Gradients of a new network by path, and how often each kernel ran. */
  function step(T: number, choice: KernelChoice): { gradients: Gradients; ran: Map<string, number> } {
    const model = new SpikeYOLO({ ...spikeYOLO.small, classes: 3, T }), ran = new Map<string, number>();
    const count = ({ pass, kernel }: { pass: string; kernel: string }): void => { const name = `${pass} ${kernel}`; ran.set(name, (ran.get(name) ?? 0) + 1); };
    observeKernels(count, () => withKernels(choice, () => scope(() => backward(detectionLoss(model.forward(images), boxes).total))));
    const gradients = new Map(model.namedParameters().flatMap(([name, { grad }]) => (grad ? [[name, Float64Array.from(grad.data)] as const] : [])));
    for (const parameter of model.parameters()) host.memory.release(parameter.ptr, parameter.size * host.bytes);
    return { gradients, ran };
  }

  const norm = (x: Float64Array): number => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0));
  /**
   * Whose gradient tells how large the terms of a sum are. A norm takes out any shift and scale of what it reads, so gradients of those that stand
   * before one are terms that cancel, and rounding is what remains: they are measured by the weight in front of them.
   */
  const scaleOf = (name: string): string => name.replace(/(conv[12])\.expandNorm\.(weight|bias)$/, "$1.expand.weight").replace(/((?:stem|down\d)\.conv)\.bias$/, "$1.weight");
  /** The largest distance of one parameter's gradients, and whose. */
  const farthest = (a: Gradients, b: Gradients): { distance: number; name: string } => [...a].map(([name, x]) => {
    const other = b.get(name)!, terms = norm(b.get(scaleOf(name))!);
    const apart = norm(x.map((v, i) => v - other[i]));
    return { distance: apart === 0 ? 0 : apart / terms, name }; // a level at which no object is found has no gradient of boxes
  }).reduce((most, next) => (next.distance > most.distance || Number.isNaN(next.distance) ? next : most));

  /** 60 convolutions deep, sums of some thousand terms each: 2^-24 times some hundred. */
  const ROUNDING = 2e-5;
  for (const T of [1, 2]) {
    test(`all sparse, all dense and as dispatched: equal but for rounding, T ${T}`, () => {
      const sparse = step(T, SPARSE), dense = step(T, DENSE), dispatched = step(T, {});
      expect([...dense.ran.keys()].filter((kernel) => /sparse|masked|winograd/.test(kernel))).toEqual([]);
      for (const [kernel, least] of [["forward sparse 3x3", 20], ["forward sparse 1x1", 20], ["dw sparse 3x3", 20], ["dw sparse 1x1", 20], ["dx masked 1x1", 20]] as const) expect(sparse.ran.get(kernel), kernel).toBeGreaterThan(least);
      expect([...sparse.gradients.keys()]).toEqual([...dense.gradients.keys()]);
      expect(sparse.gradients.size).toBeGreaterThan(200);
      for (const { gradients } of [sparse, dispatched]) expect(farthest(gradients, dense.gradients).distance).toBeLessThan(ROUNDING);
    }, 60_000);
  }

  describe("a mistake in one call of one kernel is found:", () => {
    const word = (pointer: number): Int32Array => new Int32Array(host.memory.wasm.buffer, pointer, 1);
    /** Runs the gathering step while `plant` stands in for kernels; tells whether it did anything. */
    function planted(plant: (kernels: { -readonly [K in keyof Kernels]: Kernels[K] }, done: () => boolean) => void): Gradients {
      const kernels = host.kernels as { -readonly [K in keyof Kernels]: Kernels[K] }, original = { ...kernels };
      let plants = 0;
      plant(kernels, () => plants++ === 0);
      try { return step(1, SPARSE).gradients; } finally {
        Object.assign(kernels, original);
        expect(plants).toBeGreaterThan(0);
      }
    }
    let dense: Gradients;
    beforeAll(() => { dense = step(1, DENSE).gradients; });
    /** Takes one event off the first list that has any; whether there was one. */
    function dropEvent(spans: number, lists: number): boolean {
      for (let i = 0; i < lists; i++) if (word(spans + 8 * i + 4)[0] > word(spans + 8 * i)[0]) { word(spans + 8 * i + 4)[0]--; return true; }
      return false;
    }

    test("one event less in a weight gradient", () => {
      expect(farthest(planted((kernels, first) => {
        const { spike_weight_grad } = kernels;
        kernels.spike_weight_grad = (n, events, spans, ...rest) => {
          const K = rest[6];
          if (first()) expect(dropEvent(spans, K)).toBe(true);
          spike_weight_grad(n, events, spans, ...rest);
        };
      }), dense).distance).toBeGreaterThan(5 * ROUNDING);
    }, 60_000);

    test("one event less in a forward pass", () => {
      expect(farthest(planted((kernels, first) => {
        const { spike_conv } = kernels;
        kernels.spike_conv = (pixels, events, spans, table, ...rest) => {
          const end = word(spans + 4), before = end[0];
          if (before > word(spans)[0] && first()) end[0]--;
          spike_conv(pixels, events, spans, table, ...rest);
          word(spans + 4)[0] = before;
        };
      }), dense).distance).toBeGreaterThan(5 * ROUNDING);
    }, 60_000);

    test("one open window taken for a closed one", () => {
      expect(farthest(planted((kernels, first) => {
        const { f32_gemm_masked } = kernels;
        kernels.f32_gemm_masked = (pixels, s, ...rest) => {
          const bytes = new Uint8Array(host.memory.wasm.buffer, s, pixels), open = bytes.findIndex((byte) => (byte & 16) !== 0);
          if (open < 0 || !first()) return f32_gemm_masked(pixels, s, ...rest);
          bytes[open] ^= 16;
          f32_gemm_masked(pixels, s, ...rest);
          new Uint8Array(host.memory.wasm.buffer, s, pixels)[open] ^= 16;
        };
      }), dense).distance).toBeGreaterThan(5 * ROUNDING);
    }, 60_000);

    test("weights of one gathering layer that are packed larger by a thousandth", () => {
      expect(farthest(planted((kernels, first) => {
        const { f32_gemm_masked } = kernels;
        kernels.f32_gemm_masked = (pixels, s, dy, wt, dx, C, N) => {
          if (first()) { const w = new Float32Array(host.memory.wasm.buffer, wt, C * N); w.forEach((v, i) => { w[i] = 1.001 * v; }); }
          f32_gemm_masked(pixels, s, dy, wt, dx, C, N);
        };
      }), dense).distance).toBeGreaterThan(5 * ROUNDING);
    }, 60_000);
  });
});

test("in integers, every gradient and every output is the same exactly: through neurons, time, shortcuts, 1x1 and 3x3 of any stride", () => {
  const random = new Random(4), whole = (size: number, most: number): Float32Array => Float32Array.from({ length: size }, () => random.integer(-most, most + 1));
  const T = 3, B = 2, S = 5, C = 20, values = whole(T * B * S * S * C, 5), sizes = [[33, 3, C, 1], [17, 1, 33, 1], [33, 1, 17, 1], [9, 3, 33, 2]] as const;
  const weights = sizes.map(([out, k, inward]) => whole(out * k * k * inward, 2)), last = whole(T * B * 3 * 3 * 9, 3);
  const run = (choice: KernelChoice): Float64Array[] => scope(() => withKernels(choice, () => {
    const x = new Parameter([T, B, S, S, C]);
    x.data.set(values);
    const parameters = sizes.map(([out, k, inward], i) => { const w = new Parameter([out, k, k, inward]); w.data.set(weights[i]); return w; });
    const layer = (y: ReturnType<typeof reshape>, i: number) => {
      const [out, k, inward, stride] = sizes[i], [, , H, W] = y.shape;
      const z = conv2d(reshape(fire(y as Parameter, { ...ilif(4), decay: 0.5 }), [T * B, H, W, inward]), parameters[i], undefined, { padding: k >> 1, stride });
      return reshape(z, [T, B, z.shape[1], z.shape[2], out]);
    };
    const wide = layer(x, 0), y = layer(add(wide, layer(layer(wide, 1), 2)), 3);
    observeKernels(({ pass, kernel }) => { if (pass === "dx") expect(kernel).toMatch(choice === SPARSE ? /^(masked 1x1|dense 3x3)$/ : /^dense/); }, () => backward(y, [tensor(last, y.shape)]));
    return [y.data, x.grad!.data, ...parameters.map(({ grad }) => grad!.data)].map((data) => Float64Array.from(data, (v) => v + 0)); // -0 is 0
  }));
  const sparse = run(SPARSE), dense = run(DENSE);
  expect(sparse).toEqual(dense);
  for (const part of dense) {
    expect(part.filter((v) => v !== 0).length).toBeGreaterThan(20);
    expect(part.every((v) => Number.isInteger(v * 2 ** 12) && Math.abs(v) < 2 ** 12)).toBe(true); // of 24 bits: no sum was rounded
  }
});
