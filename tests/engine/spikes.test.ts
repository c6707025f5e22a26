import { beforeAll, describe, expect, it } from "vitest";
import {
  backward, conv2d, fire, fireFrom, host, loadKernels, noGrad, Random, reshape, scope, spikesOf, sum, tensor, valuesOf, withHost, withSpikePath, type Host, type Neuron, type Spikes, type Tensor,
} from "../../engine/index.ts";
import { ilif, ilifGen1, integrateAndFire, leaky, parametricLeaky } from "../../nn/neurons.ts";
import { atan } from "../../nn/surrogates.ts";
import { kernelSets } from "./hosts.ts";

const OPEN = 16;

describe.each(kernelSets)("spikes on %s", (_, load) => {
  let kernels: Host;
  beforeAll(async () => { kernels = await load(); });
  const test = (name: string, run: () => void): void => it(name, () => withHost(kernels, () => scope(run)));
  const eventsOf = (s: Spikes, lists = s.events()): [channel: number, value: number][][] => {
    const { buffer } = host().memory.wasm, C = s.shape[s.shape.length - 1], pixels = s.size / C;
    const spans = new Int32Array(buffer, lists.spans, 2 * pixels), events = new Uint16Array(buffer, lists.events, s.size);
    return Array.from({ length: pixels }, (_, p) => Array.from(events.subarray(spans[2 * p], spans[2 * p + 1]), (event) => [event >> 4, event & 15]));
  };
  const eventsAbove = (s: Spikes, d: number) => host().memory.withWorkspace(() => eventsOf(s, s.eventsAbove(d)));

  describe("of an integer neuron", () => {
    test("are the membrane, clamped to 0..D and rounded half to even", () => {
      const s = fire(tensor([-1, 0, 0.4, 0.5, 0.6, 1.5, 2.5, 3.5, 4, 4.4, 9], [1, 11]), ilif(4));
      expect([...s.values()]).toEqual([0, 0, 0, 0, 1, 2, 2, 4, 4, 4, 4]);
    });

    test("carry an open window where 0 <= h <= D, both ends included", () => {
      const s = fire(tensor([-0.001, 0, 0.2, 2, 4, 4.001], [1, 6]), ilif(4));
      expect([...s.bytes]).toEqual([0, OPEN, OPEN, OPEN + 2, OPEN + 4, 4]);
    });

    test("emit nothing at one half, and nothing below", () => {
      expect([...fire(tensor([0.1, 0.3, 0.4999, 0.5], [1, 4]), ilif(4)).values()]).toEqual([0, 0, 0, 0]);
    });

    test("leave a quarter of what is left for the next timestep", () => {
      // h = 1.75, 0.25 (1.75 - 2) + 1.75 = 1.6875, 0.25 (1.6875 - 2) + 0.75 = 0.671875, 0.25 (0.671875 - 1) + 0.5 = 0.41796875
      expect([...fire(tensor([1.75, 1.75, 0.75, 0.5], [4, 1]), ilif(4)).values()]).toEqual([2, 2, 1, 0]);
    });

    test("see half of the current in the Gen1 neuron", () => {
      // h = 1.5, then (1.5 - 2) / 2 + 3 / 2 = 1.25
      expect([...fire(tensor([3, 3], [2, 1]), ilifGen1(4)).values()]).toEqual([2, 1]);
    });

    test("reach 15 and no further: a spike has four bits", () => {
      expect([...fire(tensor([14.6, 99], [1, 2]), ilif(15)).values()]).toEqual([15, 15]);
      for (const D of [0, 16, 2.5]) expect(() => fire(tensor([1], [1, 1]), ilif(D))).toThrow(`fireInteger: D must be an integer from 1 to 15 (a spike has four bits), got ${D}`);
    });
  });

  describe("of a binary neuron", () => {
    const currents = (value: number, T: number) => tensor(new Float32Array(T).fill(value), [T, 1]);

    test("come when the membrane reaches the threshold, which is then taken off", () => {
      // h = 0.375 0.75 1.125, 0.5 0.875 1.25, 0.625 1
      expect([...fire(currents(0.375, 8), integrateAndFire()).values()]).toEqual([0, 0, 1, 0, 0, 1, 0, 1]);
    });

    test("start over from zero with a hard reset", () => {
      expect([...fire(currents(0.375, 8), integrateAndFire({ reset: "zero" })).values()]).toEqual([0, 0, 1, 0, 0, 1, 0, 0]);
    });

    test("go on without any reset once the membrane is above", () => {
      expect([...fire(currents(0.375, 5), integrateAndFire({ reset: "none" })).values()]).toEqual([0, 0, 1, 1, 1]);
    });

    test("never come where the leak balances the current", () => {
      // h approaches 0.75 from below
      expect([...fire(currents(0.75, 20), leaky({ tau: 2, decayInput: true })).values()]).toEqual(new Array(20).fill(0));
    });
  });

  describe("of a stream", () => {
    const neurons: [string, Neuron][] = [
      ["I-LIF", ilif(4)], ["I-LIF of Gen1", ilifGen1(2)], ["IF", integrateAndFire()], ["IF without reset", integrateAndFire({ reset: "none", threshold: 3 })], ["LIF", leaky({ tau: 3 })],
    ];
    const random = new Random(5), values = Float32Array.from({ length: 6 * 35 }, () => random.uniform(-1, 4));
    for (const [name, neuron] of neurons) {
      test(`are those of the whole sequence however it is cut, state handed on: ${name}`, () => {
        const whole = fire(tensor(values, [6, 5, 7]), neuron);
        for (const cuts of [[1, 1, 1, 1, 1, 1], [2, 4], [5, 1], [6]]) {
          const bytes: number[] = [];
          let from = 0, before: Tensor | undefined;
          for (const T of cuts) {
            const { spikes, state } = fireFrom(tensor(values.subarray(35 * from, 35 * (from + T)), [T, 5, 7]), neuron, before);
            bytes.push(...spikes.bytes);
            before = state;
            from += T;
          }
          expect(bytes).toEqual([...whole.bytes]);
        }
      });
    }

    test("leave the membrane after reset, and the state that they came from as it was", () => {
      const before = tensor([0.5, 0.25], [2]);
      expect([...fireFrom(tensor([0.75, 0.5], [1, 2]), integrateAndFire(), before).state.data]).toEqual([0.25, 0.75]);
      expect([...fireFrom(tensor([2.75, 0.5], [1, 2]), ilif(4, 0.5), before).state.data]).toEqual([0, -0.375]);
      expect([...before.data]).toEqual([0.5, 0.25]);
    });

    test("hand the state out of its scope", () => {
      const state = scope(() => fireFrom(tensor([0.75, 0.5], [1, 2]), integrateAndFire()).state);
      expect([...fireFrom(tensor([0.25, 0.25], [1, 2]), integrateAndFire(), state).spikes.values()]).toEqual([1, 0]);
    });

    test("refuse a state of another shape, and gradients", () => {
      expect(() => fireFrom(tensor([1, 2], [1, 2]), ilif(), tensor([0, 0, 0]))).toThrow("fireFrom: x [1, 2] expects a state [2], got [3]");
      const x = tensor([1, 2], [1, 2], { requiresGrad: true });
      expect(() => backward(sum(valuesOf(fireFrom(x, ilif()).spikes)))).toThrow("fireFrom: no gradient goes through a state that is carried between calls");
    });
  });

  test("of a binary neuron keep no membrane for gradients: one byte an element", () => {
    const x = tensor(new Float32Array(4 * 64000), [4, 64000], { requiresGrad: true }), before = host().memory.inUse;
    const s = fire(x, integrateAndFire());
    expect(host().memory.inUse - before).toBeLessThan(1.01 * s.size);
  });

  test("refuse a surrogate that is nowhere, and a w that does not belong", () => {
    const x = tensor([1], [1, 1]);
    expect(() => fire(x, integrateAndFire({ surrogate: atan(0) }))).toThrow("fireBinary: alpha of the atan surrogate must be above 0, got 0");
    expect(() => fire(x, ilif(), tensor([1], []))).toThrow("fire: got a w for a neuron of which nothing is learnable");
    expect(() => fire(x, parametricLeaky())).toThrow("fire: a neuron with learnable decay and gain needs its w; a module of nn, Neurons, keeps one");
  });

  test("need a time axis", () => {
    expect(() => fire(tensor([1, 2, 3]), ilif(4))).toThrow("fireInteger: expected [T, ...] with T of at least 1, got [3]");
    expect(() => fire(tensor([1, 2, 3]), integrateAndFire())).toThrow("fireBinary: expected [T, ...] with T of at least 1, got [3]");
  });

  test("are made from recorded integers, and from nothing else", () => {
    expect([...spikesOf(tensor([0, 3, 4]), { D: 4 }).values()]).toEqual([0, 3, 4]);
    for (const wrong of [-1, 5, 0.5, NaN]) expect(() => spikesOf(tensor([0, wrong]), { D: 4 })).toThrow(`spikesOf: expected integers from 0 to 4, got ${wrong}`);
  });

  const HAND = [0, 2, 0, 1, /**/ 0, 0, 0, 0, /**/ 4, 1, 3, 2]; // three pixels of four channels

  test("list their events by pixel, in channel order, with their values", () => {
    const s = spikesOf(tensor(HAND, [1, 3, 4]), { D: 4 });
    expect(eventsOf(s)).toEqual([[[1, 2], [3, 1]], [], [[0, 4], [1, 1], [2, 3], [3, 2]]]);
  });

  test("list for virtual step d every element above d, as a spike of 1", () => {
    const s = spikesOf(tensor(HAND, [1, 3, 4]), { D: 4 });
    expect(eventsAbove(s, 0)).toEqual([[[1, 1], [3, 1]], [], [[0, 1], [1, 1], [2, 1], [3, 1]]]);
    expect(eventsAbove(s, 1)).toEqual([[[1, 1]], [], [[0, 1], [2, 1], [3, 1]]]);
    expect(eventsAbove(s, 3)).toEqual([[], [], [[0, 1]]]);
    expect(eventsAbove(s, 4)).toEqual([[], [], []]);
  });

  test("list for a virtual step in workspace memory: nothing stays after the op", () => {
    const s = spikesOf(tensor(HAND, [1, 3, 4]), { D: 4 }), before = host().memory.inUse;
    eventsAbove(s, 0);
    expect(host().memory.inUse).toBe(before);
  });

  test("list their events anew when the scope has ended in which they were listed", () => {
    const s = spikesOf(tensor(HAND, [1, 3, 4]), { D: 4 }), first = scope(() => eventsOf(s));
    scope(() => {
      tensor(new Float32Array(1000).fill(-1)); // takes the memory of the old lists
      expect(eventsOf(s)).toEqual(first);
      expect(eventsOf(reshape(s, [3, 1, 4]))).toEqual(first);
    });
  });

  test("refuse to list their events after their own scope", () => {
    const s = scope(() => [spikesOf(tensor(HAND, [1, 3, 4]), { D: 4 })])[0];
    expect(() => s.events()).toThrow("spikes [1, 3, 4]: their scope has ended; read them inside");
  });

  test("sum to their values over the virtual steps, at any number of channels", () => {
    for (const C of [1, 3, 5, 17, 64, 100]) {
      const random = new Random(C), values = Array.from({ length: 4 * C }, () => Math.max(0, random.integer(-4, 9))), s = spikesOf(tensor(values, [4, C]), { D: 8 });
      const total = new Array<number>(4 * C).fill(0);
      for (let d = 0; d < 8; d++) eventsAbove(s, d).forEach((events, p) => events.forEach(([c, value]) => { total[p * C + c] += value; }));
      expect(total).toEqual(values);
      expect(eventsOf(s).map((events) => events.length)).toEqual([0, 1, 2, 3].map((p) => values.slice(p * C, (p + 1) * C).filter(Boolean).length));
    }
  });

  test("ignore the window bit in their events", () => {
    const s = fire(tensor([0.2, 1, 7], [1, 1, 3]), ilif(4));
    expect([...s.bytes]).toEqual([OPEN, OPEN + 1, 4]);
    expect(eventsOf(s)).toEqual([[[1, 1], [2, 4]]]);
  });

  test("count how often they fire: mean value, share that fired, share with an open window", () => {
    const s = fire(tensor([-1, 0.2, 1, 2, 7, 9, -3, 0.4], [1, 2, 4]), ilif(4)); // 0 0 1 2 4 4 0 0
    expect(s.statistics()).toEqual({ rate: 11 / 8, density: 4 / 8, open: 4 / 8 });
    expect(spikesOf(tensor(new Float32Array(5), [1, 5]), { D: 4 }).statistics()).toEqual({ rate: 0, density: 0, open: 0 });
  });

  test("count every element once at any length", () => {
    for (const n of [1, 15, 16, 17, 63, 64, 65, 1000]) {
      const s = fire(tensor(new Float32Array(n).fill(3), [1, n]), ilif(4));
      expect(s.statistics()).toEqual({ rate: 3, density: 1, open: 1 });
    }
  });

  test("tell their density roughly from samples where they are many, exactly where they are few", () => {
    const random = new Random(3), many = 1 << 18, values = Float32Array.from({ length: many }, () => (random.uniform() < 0.3 ? 2 : 0));
    const few = spikesOf(tensor(values.slice(0, 1000), [1000, 1]), { D: 4 });
    expect(few.roughDensity()).toBe(few.statistics().density);
    const s = spikesOf(tensor(values, [many >> 3, 8]), { D: 4 }), rough = s.roughDensity();
    expect(Math.abs(rough - s.statistics().density)).toBeLessThan(0.015);
    expect(rough).not.toBe(s.statistics().density);
    expect(s.roughDensity()).toBe(s.statistics().density); // once that is known
  });

  test("share lists and statistics through reshapes, and keep their channels", () => {
    const s = spikesOf(tensor(HAND, [1, 3, 4]), { D: 4 }), t = reshape(s, [3, 1, 4]);
    expect(t.events()).toBe(s.events());
    expect(t.statistics()).toBe(s.statistics());
    expect([...t.values()]).toEqual(HAND);
    expect(() => reshape(s, [4, 3])).toThrow("reshape: spikes [1, 3, 4] keep their channels, got [4, 3]");
    expect(() => reshape(s, [2, 4])).toThrow("reshape: [1, 3, 4] does not fit [2, 4]");
  });

  test("refuse event lists of more channels than an event can name", () => {
    expect(() => spikesOf(tensor(new Float32Array(4096), [1, 4096]), { D: 1 }).events()).toThrow("spikes: event lists hold channels up to 4095, got [1, 4096]");
  });

  test("know the largest value they can have", () => {
    expect(fire(tensor([1], [1, 1]), ilif(8)).D).toBe(8);
    expect(fire(tensor([1], [1, 1]), integrateAndFire()).D).toBe(1);
  });

  test("pass gradients to the current only where their window is open", () => {
    const x = tensor([-0.5, 0.25, 3, 4.5], [1, 4], { requiresGrad: true });
    backward(valuesOf(fire(x, ilif(4))), [tensor([1, 2, 3, 4], [1, 4])]);
    expect(Array.from(x.grad!.data)).toEqual([0, 2, 3, 0]);
  });

  describe("through a convolution", () => {
    interface Case { C: number; out: number; k: number; stride?: number; padding?: number; dilation?: number; groups?: number }
    const cases: Case[] = [
      { C: 3, out: 5, k: 1 }, { C: 64, out: 33, k: 1 }, { C: 5, out: 17, k: 3, padding: 1 }, { C: 17, out: 3, k: 3, stride: 2, padding: 1 }, { C: 6, out: 4, k: 3, padding: 1, groups: 2 },
      { C: 5, out: 5, k: 3, padding: 1, groups: 5 }, { C: 17, out: 17, k: 7, padding: 3, groups: 17 }, { C: 8, out: 8, k: 3, stride: 2, groups: 8 }, { C: 3, out: 7, k: 3, padding: 2, dilation: 2 },
    ];
    it.each(cases)("$C -> $out, $k x $k: every way gives the same, and the exact ways the same bits", ({ C, out, k, stride, padding, dilation, groups = 1 }) => withHost(kernels, () => scope(() => noGrad(() => {
      const random = new Random(C, out, k), D = 8, draw = (n: number) => Float32Array.from({ length: n }, () => random.uniform(-1, 1));
      const s = spikesOf(tensor(Float32Array.from({ length: 2 * 7 * 6 * C }, () => Math.max(0, random.integer(-8, D + 1))), [2, 7, 6, C]), { D });
      const weight = tensor(draw((out * k * k * C) / groups), [out, k, k, C / groups]), bias = tensor(draw(out), [out]);
      const run = (x: Spikes | Tensor) => Array.from(conv2d(x, weight, bias, { stride, padding, dilation, groups }).data);
      const onReals = run(valuesOf(s)), largest = Math.max(...onReals.map(Math.abs));
      const ways = (["auto", "dense", "sparse", "integer", "binary"] as const).map((path) => withSpikePath(path, () => run(s)));
      for (const way of ways) way.forEach((value, i) => expect(Math.abs(value - onReals[i])).toBeLessThanOrEqual(4e-6 * largest));
      expect(ways[4]).toEqual(ways[3]);
    }))));

    test("the exact ways refuse to record, since they keep no gradient", () => {
      const s = spikesOf(tensor(HAND, [1, 1, 3, 4]), { D: 4 }), weight = tensor(Float32Array.from({ length: 8 }, (_, i) => Math.sin(i)), [2, 1, 1, 4], { requiresGrad: true });
      for (const path of ["integer", "binary"] as const) {
        expect(() => withSpikePath(path, () => conv2d(s, weight))).toThrow(`conv2d: the ${path} path keeps no gradient; run it inside noGrad, or take another path`);
      }
      backward(sum(withSpikePath("sparse", () => conv2d(s, weight))));
      expect(Array.from(weight.grad!.data)).toEqual([4, 3, 3, 3, 4, 3, 3, 3]); // column sums of the spikes, for each output
    });

    test("groups are exact too: the bits of one group whose other weights are zero", () => noGrad(() => {
      const random = new Random(5), groups = 3, C = 6, out = 9, K = C / groups, N = out / groups, D = 4;
      const s = spikesOf(tensor(Float32Array.from({ length: 2 * 5 * 4 * C }, () => Math.max(0, random.integer(-4, D + 1))), [2, 5, 4, C]), { D });
      const narrow = Float32Array.from({ length: out * 9 * K }, () => random.uniform(-1, 1)), wide = new Float32Array(out * 9 * C);
      narrow.forEach((w, i) => { wide[Math.floor(i / K) * C + Math.floor(i / (9 * K * N)) * K + (i % K)] = w; });
      const one = withSpikePath("integer", () => conv2d(s, tensor(wide, [out, 3, 3, C]), undefined, { padding: 1 }));
      for (const path of ["integer", "binary"] as const) {
        expect(withSpikePath(path, () => conv2d(s, tensor(narrow, [out, 3, 3, K]), undefined, { padding: 1, groups })).data).toEqual(one.data);
      }
    }));
  });
});

describe("spikes of the float32 builds", () => {
  it("are those of the plain kernels, byte for byte", async () => {
    const [plain, best] = [await loadKernels({ build: "reference" }), await loadKernels()];
    const random = new Random(3), current = Float32Array.from({ length: 4 * 2 * 173 }, () => random.uniform(-2, 6));
    for (const neuron of [ilif(1), ilif(4), ilif(8), ilifGen1(4), integrateAndFire(), leaky(), leaky({ tau: 1.5, decayInput: false, reset: "subtract" })]) {
      const [a, b] = [plain, best].map((kernels) => withHost(kernels, () => scope(() => [...fire(tensor(current, [4, 2, 173]), neuron).bytes])));
      expect(b).toEqual(a);
    }
  });
});
