/** What a profile says of a network: the same figures as counting says, and which layers are silent. */
import { beforeAll, describe, expect, test } from "vitest";
import { profile, SpikeYOLO, spikeYOLO } from "../../detection/index.ts";
import { host, loadKernels, observeKernels, noGrad, Random, scope, Spikes } from "../../engine/index.ts";
import { fold, integrateAndFire, observeConvolutions, unfold } from "../../nn/index.ts";

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
    for (const { name, kernel, output: [N, H, W, C], input: [M, h, w], macs, sheetMacs, synapticOperations, spikes, picojoules, milliseconds, bytesKept } of layers) {
      const working = kernel.endsWith("1x1") ? Math.min(H * W, h * w) : H * W, perOutput = macs / ((N * working * C) / B); // a border around a 1x1 is its bias alone
      expect(Number.isInteger(perOutput) && perOutput >= 1 && M === N, name).toBe(true);
      expect(synapticOperations).toBe(spikes ? macs * spikes.rate : 0);
      expect(picojoules.clean).toBeCloseTo(spikes ? 0.9 * synapticOperations : 4.6 * macs, 3);
      expect(picojoules.sheet).toBeCloseTo(spikes ? 0.9 * sheetMacs * spikes.rate : 4.14 * sheetMacs, 3);
      expect([milliseconds.chosen, milliseconds.dense, milliseconds.sparse].filter((ms) => ms !== undefined && ms > 0), name).toHaveLength(spikes && !kernel.startsWith("depthwise") ? 3 : 1);
      expect(spikes?.neuron).toBe(spikes && "I-LIF 0..4");
      expect(bytesKept).toBeGreaterThan(0);
    }
    const sum = (of: (layer: (typeof layers)[number]) => number): number => layers.reduce((all, layer) => all + of(layer), 0);
    expect(total.macs).toBe(sum(({ macs }) => macs));
    expect(total.picojoules.clean).toBe(sum(({ picojoules }) => picojoules.clean));
    expect(total.milliseconds.dense).toBeCloseTo(sum(({ milliseconds: { chosen, dense } }) => dense ?? chosen), 9);
  });

  test("counts operations of spikes as adding them one by one does", () => {
    const counted = new Map<string, number>(), names = new Map(model.namedModules().map(([name, module]) => [module, name]));
    model.eval();
    scope(() => noGrad(() => observeConvolutions((layer, x, y) => {
      if (x instanceof Spikes && layer.kernel === 1) counted.set(names.get(layer)!, (x.values().reduce((a, b) => a + b, 0) * y.shape[3]) / B);
    }, () => { model.forward(images); })));
    model.train();
    const { layers } = profile(model, images, { turns: 1 });
    expect(counted.size).toBeGreaterThan(20);
    for (const [name, operations] of counted) expect(layers.find((layer) => layer.name === name)!.synapticOperations / operations).toBeCloseTo(1, 9);
  });

  test("in the sheet's way counts a chain as the convolution that it folds into, folded or not", () => {
    const sheetOf = () => profile(model, images, { turns: 1 }), apart = sheetOf();
    expect(apart.layers.filter(({ spikes, sheetMacs }) => !spikes && sheetMacs > 0).map(({ name }) => name)).toEqual(["stem.conv"]);
    model.eval();
    fold(model);
    const folded = sheetOf();
    unfold(model);
    model.train();
    expect(folded.layers.length).toBeLessThan(apart.layers.length);
    expect(folded.total.sheetMacs).toBe(apart.total.sheetMacs);
    expect(folded.total.macs).toBe(folded.total.sheetMacs);
    expect(folded.total.picojoules.clean - folded.total.picojoules.sheet).toBeCloseTo(0.46 * folded.layers[0].macs, 3);
    expect(apart.total.macs).toBeLessThan(apart.total.sheetMacs); // factors are fewer
  });

  test("of SpikeYOLO-n has the sheet's MACs: 59,291,980,800 at 640 x 640 without the 537,600 of a frozen layer, a hundredth of it at 64 x 64", () => {
    const n = new SpikeYOLO({ ...spikeYOLO.n, classes: 80, T: 1, D: 4 }), picture = { shape: [1, S, S, 3], data: images.data.subarray(0, S * S * 3) };
    expect(profile(n, picture, { turns: 1 }).total.sheetMacs).toBe((59_291_980_800 - 537_600) / 100);
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

  test("of binary neurons names them, and no share of windows where the surrogate closes nowhere", () => {
    const binary = new SpikeYOLO({ ...spikeYOLO.tiny, classes: 3, T: 2, neuron: integrateAndFire(), norm: { eps: 1e-3, momentum: 1 } });
    scope(() => { binary.forward(images); });
    const spiking = profile(binary, images, { turns: 1 }).layers.flatMap(({ spikes }) => (spikes ? [spikes] : []));
    expect(new Set(spiking.map(({ neuron, D, open }) => `${neuron} ${D} ${open}`))).toEqual(new Set(["IF 1 undefined"]));
    expect(Math.max(...spiking.map(({ rate }) => rate))).toBeGreaterThan(0);
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
