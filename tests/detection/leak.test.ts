/** SpikeYOLO with a learnable leak: one for each place that fires, and nothing else changes its name. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { backward, loadKernels, noGrad, scope, withHost, type Host } from "../../engine/index.ts";
import { planTraining, SpikeYOLO, spikeYOLO, toReference, type SpikeYOLOConfig } from "../../detection/index.ts";
import { leaky, loadCheckpoint, Neurons, parametricLeaky, restore, saveCheckpoint, SGD, tensorsOf } from "../../nn/index.ts";
import { noise } from "./noise.ts";

vi.setConfig({ testTimeout: 60_000 });

let host: Host;
beforeAll(async () => { host = await loadKernels({ threads: 1 }); });
afterAll(() => host.stop());

const boxes = { image: Int32Array.of(0), class: Int32Array.of(1), xywh: Float32Array.of(0.5, 0.5, 0.5, 0.5) };
const make = (fields: Partial<SpikeYOLOConfig> = {}) => new SpikeYOLO({ ...spikeYOLO.tiny, classes: 2, T: 2, norm: { eps: 1e-3, momentum: 0.7 }, neuron: parametricLeaky({ tau: 2, decayInput: false }), ...fields });
const leaks = (model: SpikeYOLO) => model.namedParameters().filter(([name]) => name.endsWith(".w"));

describe("a SpikeYOLO with a learnable leak", () => {
  test("has one for each of the 88 places that fire in size n, and all other names as ever", async () => {
    class Named extends SpikeYOLO { override initialize(): void {} }
    const names = (neuron: SpikeYOLOConfig["neuron"]) => { const model = new Named({ ...spikeYOLO.n, classes: 2, neuron }); return { all: [...tensorsOf(model).keys()], places: model.namedModules().filter(([, module]) => module instanceof Neurons).map(([name]) => name) }; };
    const learned = names(parametricLeaky()), fixed = names(leaky());
    expect(learned.places).toHaveLength(88);
    expect(learned.all.filter((name) => !name.endsWith(".w"))).toEqual(fixed.all);
    expect(learned.all.filter((name) => name.endsWith(".w"))).toEqual(learned.places.map((name) => `${name}.w`));
    expect(fixed.all.some((name) => name.endsWith(".w"))).toBe(false);
    host = await loadKernels({ threads: 1 });
  });

  test("fires as with the fixed leak until a leak has moved", () => {
    const learned = make(), fixed = make({ neuron: leaky({ tau: 2, decayInput: false }) }), run = (model: SpikeYOLO) => scope(() => noGrad(() => Array.from(model.forward(noise(1, 64)).classes.data)));
    const before = run(learned);
    expect(before).toEqual(run(fixed));
    leaks(learned)[30][1].data[0] += 1;
    expect(run(learned)).not.toEqual(before);
  });

  test("learns it: every leak moves, and comes back from a checkpoint", () => {
    const model = make(), sgd = new SGD(model.namedParameters(), { lr: 0.05 }), before = leaks(model).map(([, { data }]) => data[0]);
    for (let step = 0; step < 2; step++) {
      scope(() => backward(model.loss(model.forward(noise(2, 64, step)), boxes).total));
      sgd.step({ clip: 10 });
    }
    const after = leaks(model).map(([, { data }]) => data[0]);
    const stood = leaks(model).filter((_, i) => after[i] === before[i]).map(([name]) => name);
    expect(stood.filter((name) => !name.startsWith("head.box."))).toEqual([]); // a level at which no object is found has no gradient of boxes
    const saved = loadCheckpoint(saveCheckpoint({ model: tensorsOf(model), ema: tensorsOf(model), momentum: new Map(), state: {} })), again = make();
    restore(again, saved.model);
    expect(leaks(again).map(([, { data }]) => data[0])).toEqual(after);
    expect(() => toReference(model)).toThrow("weights: the reference has no name for stage2.0.separable.neurons.0.w");
  });

  test("is planned for like any other", () => {
    const [learned, fixed] = [parametricLeaky(), leaky()].map((neuron) => planTraining({ model: { ...spikeYOLO.tiny, classes: 2, T: 2, neuron }, batch: 2, imgsz: 64 }).total);
    expect(learned / fixed).toBeGreaterThanOrEqual(1);
    expect(learned / fixed).toBeLessThan(1.05);
  });
});

/** Gradients of all leaks in eval mode, of a network with these weights. */
async function gradients(build: "reference" | "reference64", weights?: ReadonlyMap<string, ArrayLike<number>>): Promise<{ of: Map<string, number>; weights: Map<string, ArrayLike<number>> }> {
  const here = await loadKernels({ build });
  return withHost(here, () => {
    const model = make();
    if (!weights) for (let pass = 0; pass < 2; pass++) scope(() => noGrad(() => { model.forward(noise(2, 64, pass)); }));
    for (const [name, tensor] of tensorsOf(model)) if (weights) tensor.data.set(weights.get(name)!);
    model.eval();
    scope(() => backward(model.loss(model.forward(noise(1, 32, 5)), boxes).total));
    return { of: new Map(leaks(model).map(([name, { grad }]) => [name, grad!.data[0]])), weights: new Map([...tensorsOf(model)].map(([name, { data }]) => [name, Array.from(data)])) };
  });
}

test("gradients of the leaks in float32 are those in float64; a hundredth more, or another place's, would show", async () => {
  const single = await gradients("reference"), double = await gradients("reference64", single.weights), names = [...double.of.keys()];
  const wrong = (found: ReadonlyMap<string, number>): string[] => names.filter((name) => !(Math.abs(found.get(name)! - double.of.get(name)!) <= 1e-3 * Math.abs(double.of.get(name)!) + 1e-9));
  expect(names.length).toBeGreaterThan(50);
  expect(names.filter((name) => double.of.get(name) !== 0).length).toBeGreaterThan(40);
  expect(wrong(single.of)).toEqual([]);
  const [some, other] = names.sort((a, b) => Math.abs(double.of.get(b)!) - Math.abs(double.of.get(a)!));
  expect(Math.abs(double.of.get(some)!)).toBeGreaterThan(1e-6);
  expect(wrong(new Map([...single.of, [some, 1.01 * single.of.get(some)!]]))).toEqual([some]);
  expect(wrong(new Map([...single.of, [some, single.of.get(other)!]]))).toEqual([some]);
}, 120_000);
