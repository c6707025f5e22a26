/** Records of neurons, the module that trains one, and the surrogates as they are written. */
import { beforeAll, describe, expect, it } from "vitest";
import { backward, fire, fireFrom, loadKernels, Random, scope, tensor, valuesOf, withHost, type Host, type Surrogate } from "../../engine/index.ts";
import { ilif, integrateAndFire, leaky, Neurons, parametricLeaky, SGD, surrogates } from "../../nn/index.ts";

let host: Host;
beforeAll(async () => { host = await loadKernels({ build: "reference64" }); });
const test = (name: string, run: () => void): void => it(name, () => withHost(host, () => scope(run)));

describe("neurons", () => {
  test("with a learnable leak start at the tau of their record, and go back to it", () => {
    const neurons = new Neurons(parametricLeaky({ tau: 4 })), { w, learned } = neurons;
    expect(w!.item()).toBeCloseTo(-Math.log(3), 12); // 1/(1 + e^-w) = 1/4
    expect([learned.decay, learned.gain]).toEqual([expect.closeTo(0.75, 12), expect.closeTo(0.25, 12)]);
    w!.data[0] = 7;
    neurons.initialize(new Random(1));
    expect(w!.item()).toBeCloseTo(-Math.log(3), 12);
    expect(new Neurons(parametricLeaky({ tau: 4, decayInput: false })).learned.gain).toBe(1);
  });

  test("have a parameter only where something is learnable", () => {
    expect(new Neurons(parametricLeaky()).namedParameters().map(([name]) => name)).toEqual(["w"]);
    for (const record of [ilif(), leaky(), integrateAndFire()]) expect(new Neurons(record).parameters()).toEqual([]);
  });

  test("fire as their record does at the tau of the moment", () => {
    const random = new Random(3), x = tensor(Float64Array.from({ length: 60 }, () => random.uniform(-1, 3)), [4, 15]), neurons = new Neurons(parametricLeaky({ tau: 2 }));
    neurons.w!.data[0] = Math.log(1 / 3); // tau 4
    const spikes = [...neurons.forward(x).values()];
    expect(spikes).toEqual([...fire(x, leaky({ tau: 4 })).values()]);
    expect(spikes).not.toEqual([...fire(x, leaky({ tau: 2 })).values()]);
    expect([...neurons.forwardFrom(x).spikes.values()]).toEqual(spikes);
  });

  test("learn their tau: steps down the gradient bring a leak near the one that made the spikes", () => {
    const random = new Random(8), x = tensor(Float64Array.from({ length: 8 * 200 }, () => random.uniform(0, 2)), [8, 200]);
    const wanted = fire(x, leaky({ tau: 2.5, threshold: 0.9 })).values(), neurons = new Neurons(parametricLeaky({ tau: 8, threshold: 0.9 })), sgd = new SGD(neurons.parameters(), { lr: 0.002 });
    const tau = (): number => 1 + Math.exp(-neurons.w!.item());
    expect(tau()).toBeCloseTo(8, 9);
    for (let step = 0; step < 60; step++) scope(() => {
      const y = valuesOf(neurons.forward(x));
      backward(y, [tensor(Float64Array.from(y.data, (s, i) => s - wanted[i]), y.shape)]); // of half the squared distance
      sgd.step();
    });
    expect(Math.abs(tau() - 2.5)).toBeLessThan(0.25);
  });

  test("reset to any voltage as if everything were measured from there", () => {
    // vReset -0.5, threshold 1, tau 2:  v starts at -0.5;  h = v + (x - (v + 0.5))/2;  fires at 1;  then back to -0.5
    const x = [1.5, 2.5, 4, -1, 3.5, 1.25], fired: number[] = [], left: number[] = [];
    let v = -0.5;
    for (const current of x) {
      const h = v + (current - (v + 0.5)) / 2, s = h >= 1 ? 1 : 0;
      v = s ? -0.5 : h;
      fired.push(s);
      left.push(v + 0.5);
    }
    expect(fired).toContain(1);
    const neuron = leaky({ tau: 2, vReset: -0.5 }), xs = tensor(x, [6, 1]);
    expect([...fire(xs, neuron).values()]).toEqual(fired);
    expect([...fireFrom(xs, neuron).state.data]).toEqual([left.at(-1)]);
    expect(() => leaky({ reset: "subtract", vReset: 0.1 })).toThrow('neuron: vReset 0.1 is where a hard reset leads; with reset "subtract" leave it out');
  });

  test("refuse a tau that no sigmoid gives", () => {
    expect(() => parametricLeaky({ tau: 1 })).toThrow("parametricLeaky: tau must be above 1, since 1/tau is a sigmoid; got 1");
  });
});

describe("surrogates", () => {
  it.each(Object.entries(surrogates) as [string, (alpha?: number) => Surrogate][])("%s is even, highest at the threshold, and encloses an area of 1", (_, make) => {
    for (const alpha of [0.5, 1, 3]) {
      const { derivative } = make(alpha), step = 1 / 1024;
      let area = 0;
      for (let u = -400 + step / 2; u < 400; u += step) area += step * derivative(u);
      expect(Math.abs(area - 1)).toBeLessThan(4e-3); // the tails of atan beyond 400
      expect(derivative(0.3)).toBeCloseTo(derivative(-0.3), 12);
      expect(derivative(0)).toBeGreaterThanOrEqual(derivative(0.1));
    }
  });
});
