/** What a profile says of a network: the same figures as counting says, and which layers are silent. */
import { beforeAll, describe, expect, test } from "vitest";
import { profile, SpikeYOLO, spikeYOLO } from "../../detection/index.ts";
import { host, loadKernels, observeKernels, noGrad, Random, scope, Spikes } from "../../engine/index.ts";
import { observeConvolutions } from "../../nn/index.ts";

const random = new Random(1), B = 2, S = 64;
const images = { shape: [B, S, S, 3], data: Float32Array.from({ length: B * S * S * 3 }, () => random.uniform()) };
let model: SpikeYOLO;
beforeAll(async () => {
  await loadKernels({ threads: 1 });
  model = new SpikeYOLO({ ...spikeYOLO.tiny, classes: 3, T: 2, norm: { eps: 1e-3, momentum: 1 } });
  scope(() => { model.forward(images); }); // running statistics, so that eval mode fires
});

describe("a profile", () => {
  test("has a row for each convolution in the order in which they run, with the shapes, spikes and kernels of a plain forward pass", () => {
    const { layers } = profile(model, images, { turns: 1 }), names = new Map(model.namedModules().map(([name, module]) => [module, name]));
    model.eval();
    const seen: unknown[] = [], kernels: string[] = [];
    scope(() => noGrad(() => observeKernels(({ kernel }) => kernels.push(kernel), () => observeConvolutions((layer, x, y) => {
      const spikes = x instanceof Spikes ? x.values() : undefined;
      seen.push([names.get(layer), x.shape, y.shape, spikes && spikes.reduce((a, b) => a + b, 0) / spikes.length, spikes && spikes.filter(Boolean).length / spikes.length]);
    }, () => { model.forward(images); }))));
    model.train();
    expect(layers.map(({ name, input, output, spikes }) => [name, input, output, spikes?.rate, spikes?.density])).toEqual(seen);
    expect(layers.length).toBeGreaterThan(60);
    // a border of a folded norm is a convolution of its own, of one pixel, that no layer owns
    expect(layers.map(({ kernel }) => kernel).every((kernel) => kernels.includes(kernel))).toBe(true);
    expect(layers.filter(({ kernel }) => kernel === "depthwise 7x7").length).toBe(layers.filter(({ name }) => /separable\.depthwise$/.test(name)).length);
  });

  test("counts operations per picture over all timesteps, and adds up", () => {
    const { layers, total } = profile(model, images, { turns: 1 });
    for (const { output: [N, H, W, C], input, macs, synapticOperations, spikes, picojoules, milliseconds, bytesKept } of layers) {
      const perOutput = macs / ((N * H * W * C) / B);
      expect(Number.isInteger(perOutput) && perOutput >= 1 && input[0] === N).toBe(true);
      expect(synapticOperations).toBe(spikes ? macs * spikes.rate : 0);
      expect(picojoules.clean).toBeCloseTo(spikes ? 0.9 * synapticOperations : 4.6 * macs, 3);
      expect(picojoules.sheet).toBeCloseTo(spikes ? 0.9 * synapticOperations : 4.14 * macs, 3);
      expect([milliseconds.chosen, milliseconds.dense, milliseconds.sparse].filter((ms) => ms !== undefined && ms > 0)).toHaveLength(spikes ? 3 : 1);
      expect(bytesKept).toBeGreaterThan(0);
    }
    const sum = (of: (layer: (typeof layers)[number]) => number): number => layers.reduce((all, layer) => all + of(layer), 0);
    expect(total.macs).toBe(sum(({ macs }) => macs));
    expect(total.picojoules.clean).toBe(sum(({ picojoules }) => picojoules.clean));
    expect(total.milliseconds.dense).toBeCloseTo(sum(({ milliseconds: { chosen, dense } }) => dense ?? chosen), 9);
  });

  test("keeps what a recorded forward pass keeps, within a tenth", () => {
    const { total } = profile(model, images, { turns: 1 }), { memory } = host();
    model.eval();
    const kept = scope(() => { const before = memory.inUse; model.forward(images); return memory.inUse - before; });
    model.train();
    expect(Math.abs(total.bytesKept / kept - 1)).toBeLessThan(0.1);
  });

  test("names layers that are dead and layers that are saturated", () => {
    const { expandNorm } = model.stage3[0].separable, before = expandNorm.bias.data.slice();
    for (const [shift, state] of [[-100, "dead"], [100, "saturated"]] as const) {
      expandNorm.bias.data.fill(shift);
      const { layers } = profile(model, images, { turns: 1 });
      expect(layers.find(({ name }) => name === "stage3.0.separable.depthwise")!.spikes!.state).toBe(state);
      expect(layers.filter(({ spikes }) => spikes && spikes.state !== "alive").length).toBeLessThan(layers.length / 2);
    }
    expandNorm.bias.data.set(before);
  });

  test("leaves the model as it was, in its mode and to the bit", () => {
    const values = (): number[] => model.namedBuffers().flatMap(([, buffer]) => Array.from(buffer.data)), before = values(), used = host().memory.inUse;
    profile(model, images, { turns: 1 });
    expect(values()).toEqual(before);
    expect(model.training).toBe(true);
    expect(host().memory.inUse).toBe(used);
  });

  test("of no images, or with no turns, is refused in one sentence", () => {
    expect(() => profile(model, { shape: [S, S, 3], data: images.data })).toThrow("profile: expected images [B, H, W, 3] or a sequence [T, B, H, W, 3], got [64, 64, 3]");
    expect(() => profile(model, images, { turns: 0 })).toThrow("profile: turns must be a whole number from 1, got 0");
  });
});
