import { describe, expect, it } from "vitest";
import { SPECIAL, bytes, differences, expectAgreement, expectSame, expectSplits, ints, reals, run, shorts, type Setup } from "./agreement.ts";
import type { Kernels } from "../../kernels/signatures.ts";
import { SIZES, benches, relativeError, values, type Workbench } from "./harness.ts";
import { listed } from "./spikes.ts";

const all = await benches();
const { fast, plain, twin } = all;
const OPEN = 16;

interface Integer { T: number; decay: number; gain: number; D: number }
interface Binary { T: number; decay: number; gain: number; threshold: number; reset: number }
interface Surrogate { attached: number; kind: number; alpha: number }
const SUBTRACT = 0, ZERO = 1, NONE = 2;

/** The first n neurons of x [T][stride]. */
function fireInteger(x: Float64Array, { T, decay, gain, D }: Integer, n = x.length / T): Setup {
  const stride = x.length / T;
  return (bench) => { const s = bench.bytes(new Uint8Array(x.length)); return { n, args: [bench.real(x), s, T, stride, decay, gain, D], writes: Array.from({ length: T }, (_, t) => bytes(s + t * stride, n)) }; };
}

/** Fires [T, pixels, C] and lists the events; slots are zeroed first, so that what a list does not use compares equal. */
function fireIntegerEvents(x: Float64Array, C: number, { T, decay, gain, D }: Integer): Setup {
  const pixels = x.length / T / C;
  return (bench) => {
    const s = bench.bytes(x.length), events = bench.bytes(new Uint8Array(2 * x.length)), spans = bench.ints(2 * T * pixels);
    return { n: Math.ceil(pixels / 64), args: [bench.real(x), s, events, spans, T, pixels, C, decay, gain, D], writes: [bytes(s, x.length), shorts(events, x.length), ints(spans, 2 * T * pixels)] };
  };
}

function fireIntegerBackward(s: ArrayLike<number>, ds: Float64Array, { T, decay, gain }: Integer): Setup {
  return (bench) => { const dx = bench.real(s.length); return { n: s.length / T, args: [bench.bytes(s), bench.real(ds), dx, T, s.length / T, decay, gain], writes: [reals(dx, s.length)] }; };
}

/** Firing from membranes v, if any are given, which are then written. */
function fireBinary(x: Float64Array, { T, decay, gain, threshold, reset }: Binary, { kind, alpha }: { kind: number; alpha: number } = { kind: 1, alpha: 2 }, v?: ArrayLike<number>): Setup {
  return (bench) => {
    const s = bench.bytes(x.length), n = x.length / T, state = v ? bench.real(v) : 0;
    return { n, args: [bench.real(x), state, s, T, n, decay, gain, threshold, reset, kind, alpha], writes: [bytes(s, x.length), ...(v ? [reals(state, n)] : [])] };
  };
}

function fireBinaryBackward(x: ArrayLike<number>, ds: ArrayLike<number>, { T, decay, gain, threshold, reset }: Binary, { attached, kind, alpha }: Surrogate, share = gain): Setup {
  return (bench) => {
    const dx = bench.real(x.length);
    return { n: x.length / T, args: [bench.real(x), bench.real(ds), dx, T, x.length / T, decay, gain, threshold, reset, attached, kind, alpha, share], writes: [reals(dx, x.length)] };
  };
}

function leakGrad(x: ArrayLike<number>, dh: ArrayLike<number>, { T, decay, gain, threshold, reset }: Binary): Setup {
  return (bench) => {
    const stride = x.length / T, n = Math.ceil(stride / 1024), partial = bench.real(2 * n);
    return { n, args: [bench.real(x), bench.real(dh), partial, T, stride, decay, gain, threshold, reset], writes: [reals(partial, 2 * n)] };
  };
}

function fireIntegerOnward(x: Float64Array, { T, decay, gain, D }: Integer, v: ArrayLike<number>): Setup {
  return (bench) => {
    const s = bench.bytes(x.length), n = x.length / T, state = bench.real(v);
    return { n, args: [bench.real(x), state, s, T, n, decay, gain, D], writes: [bytes(s, x.length), reals(state, n)] };
  };
}

/** Runs T timesteps one at a time, each from the membranes that the one before left. */
function oneByOne(bench: Workbench, x: Float64Array, T: number, step: (now: Float64Array, v: ArrayLike<number>) => [keyof Kernels, Setup]): { s: number[]; v: number[][] } {
  const n = x.length / T, s: number[] = [], v: number[][] = [];
  for (let t = 0; t < T; t++) {
    const [fired, left] = run(bench, ...step(x.subarray(t * n, (t + 1) * n), v.at(-1) ?? new Float64Array(n)));
    s.push(...Array.from(fired));
    v.push(Array.from(left));
  }
  return { s, v };
}

describe("integer firing", () => {
  const neurons: Integer[] = [{ T: 1, decay: 0.25, gain: 1, D: 4 }, { T: 4, decay: 0.25, gain: 1, D: 4 }, { T: 3, decay: 0.5, gain: 0.5, D: 1 }, { T: 2, decay: 0.9, gain: 1.1, D: 15 }];

  it("is the same bit for bit in every build, at every size and split", () => {
    for (const neuron of neurons) for (const n of SIZES) expectAgreement({ fast, plain }, "f32_fire_integer", fireInteger(values(neuron.T * n).map((x) => Math.fround(x * (neuron.D + 2))), neuron));
  });

  it("lists in the same pass the events that its bytes hold, at every size and split", () => {
    for (const neuron of neurons) {
      for (const [pixels, C] of [[1, 1], [3, 17], [64, 5], [65, 16], [150, 40]]) {
        const x = values(neuron.T * pixels * C).map((v) => Math.fround(v * (neuron.D + 2))), setup = fireIntegerEvents(x, C, neuron);
        const want = run(plain, "f32_fire_integer", fireInteger(x, neuron)).flatMap((s) => Array.from(s));
        for (const bench of [...fast, plain]) {
          const [s, events, spans] = run(bench, "f32_fire_integer_events", setup);
          expectSame(s, want, bench.loaded.build);
          const lists = Array.from({ length: neuron.T * pixels }, (_, p) => Array.from({ length: C }, (_, c) => c << 4 | (s[p * C + c] & 15)).filter((event) => event & 15));
          expect(listed(events, spans), bench.loaded.build).toEqual(lists);
          expectSplits(bench, "f32_fire_integer_events", setup);
        }
      }
    }
  });

  /** Currents in place of a normalised x: what affine_row, add and fire_integer_events make of it one after the other. */
  function inSteps(bench: Workbench, x: Float64Array, C: number, withResidual: boolean, { T, decay, gain, D }: Integer): { u: ArrayLike<number>; s: ArrayLike<number>; lists: number[][] } {
    bench.clear();
    const { kernels } = bench, n = x.length, rows = n / C, pixels = rows / T, u = bench.real(n), s = bench.bytes(n), events = bench.bytes(2 * n), spans = bench.ints(2 * rows);
    kernels.f32_affine_row(rows, bench.real(x), bench.real(values(C, 2)), bench.real(values(C, 3)), u, C);
    if (withResidual) kernels.f32_add(n, u, bench.real(values(n, 4)), u);
    kernels.f32_fire_integer_events(Math.ceil(pixels / 64), u, s, events, spans, T, pixels, C, decay, gain, D);
    return { u: bench.readReal(u, n), s: bench.readBytes(s, n), lists: listed(bench.readU16(events, n), bench.readInts(spans, 2 * rows)) };
  }

  it("fires on a norm and a residual in one pass as norm, sum and firing do in three, bit for bit, whatever is asked for", () => {
    for (const neuron of neurons) {
      for (const [pixels, C] of [[1, 1], [3, 17], [64, 5], [65, 16], [150, 40], ...SIZES.map((size) => [size, 3]), ...SIZES.map((size) => [3, size])]) {
        const n = neuron.T * pixels * C, rows = neuron.T * pixels, x = values(n).map((v) => Math.fround(v * 3 * (neuron.D + 2)));
        for (const [residual, kept, listing] of [[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0], [1, 1, 1]]) {
          const setup: Setup = (bench) => {
            const [X, scale, shift, r] = [x, values(C, 2), values(C, 3), values(n, 4)].map((at) => bench.real(at));
            const u = bench.real(n), s = bench.bytes(n), events = bench.bytes(new Uint8Array(2 * n)), spans = bench.ints(2 * rows);
            return {
              n: Math.ceil(pixels / 64),
              args: [X, scale, shift, residual && r, kept && u, s, listing && events, listing && spans, neuron.T, pixels, C, neuron.decay, neuron.gain, neuron.D],
              writes: [bytes(s, n), ...(kept ? [reals(u, n)] : []), ...(listing ? [shorts(events, n), ints(spans, 2 * rows)] : [])],
            };
          };
          for (const bench of [...fast, plain]) {
            const what = `${bench.loaded.build} T=${neuron.T} ${pixels} x ${C}`, want = inSteps(bench, x, C, residual === 1, neuron);
            const [s, ...rest] = run(bench, "f32_norm_fire_integer", setup);
            expectSame(s, want.s, what);
            if (kept) expectSame(rest.shift()!, want.u, `${what}, current`);
            if (listing) expect(listed(rest[0], rest[1]), what).toEqual(want.lists);
            if (n < 4000) expectSplits(bench, "f32_norm_fire_integer", setup);
          }
        }
      }
    }
  });

  it("may keep the current over the residual", () => {
    const C = 17, n = 3 * C, neuron = neurons[0], x = values(n).map((v) => Math.fround(4 * v));
    for (const bench of [...fast, plain]) {
      const want = inSteps(bench, x, C, true, neuron);
      const [u, s] = run(bench, "f32_norm_fire_integer", (b) => {
        const u = b.real(values(n, 4)), s = b.bytes(n);
        return { n: 1, args: [b.real(x), b.real(values(C, 2)), b.real(values(C, 3)), u, u, s, 0, 0, 1, 3, C, neuron.decay, neuron.gain, neuron.D], writes: [reals(u, n), bytes(s, n)] };
      });
      expectSame(u, want.u, bench.loaded.build);
      expectSame(s, want.s, bench.loaded.build);
    }
  });

  it("agrees with the twin bit for bit where float32 is exact", () => {
    const neuron = { T: 4, decay: 0.25, gain: 1, D: 4 };
    for (const n of SIZES) expectAgreement(all, "f32_fire_integer", fireInteger(values(4 * n).map((x) => Math.round(x * 384) / 64), neuron), { twin: 0 });
  });

  it("leaves what lies between timesteps alone", () => {
    expectAgreement(all, "f32_fire_integer", fireInteger(values(3 * 26).map((x) => Math.round(x * 384) / 64), { T: 3, decay: 0.25, gain: 1, D: 4 }, 21), { twin: 0 });
  });

  it("a constant current of 0.625 without leak makes these nine membranes", () => {
    //    h: 0.625  0.25  0.875  0.5  1.125  0.75  0.375  1.0  0.625, each open; one half rounds to the even 0
    const want = [1, 0, 1, 0, 1, 1, 0, 1, 1].map((s) => s | OPEN);
    for (const bench of [...fast, plain, twin]) {
      for (const n of [1, 16]) { // the scalar tail and the body
        const got = run(bench, "f32_fire_integer", fireInteger(new Float64Array(9 * n).fill(0.625), { T: 9, decay: 1, gain: 1, D: 4 }));
        expectSame(got.map((s) => s[n - 1]), want, `${bench.loaded.build} n=${n}`);
      }
    }
  });

  it("a membrane above D or below 0 closes the window and is carried over", () => {
    const x = Float64Array.of(3, -2, 1, 1.25, 0.5, -1, 0, 4, -1.5);
    //    h: 3  -1  0.5  1.5  0.75  -1.125  -0.5625  3.71875  -0.140625        (D = 1, decay 1/2)
    const want = [1, 0, 0 | OPEN, 1, 1 | OPEN, 0, 0, 1, 0];
    for (const bench of [...fast, plain, twin]) expectSame(run(bench, "f32_fire_integer", fireInteger(x, { T: 9, decay: 0.5, gain: 1, D: 1 })).map((s) => s[0]), want, bench.loaded.build);
  });

  it("rounds half to even, and keeps the window open on both ends of [0, D]", () => {
    const x = Float64Array.of(-0.5, -0, 0, 0.5, 1.5, 2.5, 3.5, 4, 4.5, 0.49999997, -1e-45, 4.0000005, 3.4999998, 1e-45, 0.50000006, 1);
    const want = [0, OPEN, OPEN, OPEN, 2 | OPEN, 2 | OPEN, 4 | OPEN, 4 | OPEN, 4, OPEN, 0, 4, 3 | OPEN, OPEN, 1 | OPEN, 1 | OPEN];
    for (const bench of [...fast, plain]) {
      expectSame(run(bench, "f32_fire_integer", fireInteger(x, { T: 1, decay: 0.25, gain: 1, D: 4 }))[0], want, bench.loaded.build);
      expectSame(run(bench, "f32_fire_integer", fireInteger(x.subarray(1), { T: 1, decay: 0.25, gain: 1, D: 4 }))[0], want.slice(1), `${bench.loaded.build}, tail`);
    }
  });

  it("a NaN never fires and closes the window for good, an infinity fires at D", () => {
    const x = Float64Array.from([NaN, 1, 1, Infinity, 1, 1, -Infinity, 1, 1].flatMap((v) => new Array(17).fill(v)));
    for (const bench of [...fast, plain, twin]) {
      const at = (t: number): ArrayLike<number> => run(bench, "f32_fire_integer", fireInteger(x.subarray(17 * t, 17 * (t + 3)), { T: 3, decay: 0.5, gain: 1, D: 4 })).flatMap((s) => [s[0], s[16]]);
      expectSame(at(0), [0, 0, 0, 0, 0, 0], `NaN, ${bench.loaded.build}`);
      expectSame(at(3), [4, 4, 4, 4, 4, 4], `infinity, ${bench.loaded.build}`);
      expectSame(at(6), [0, 0, 0, 0, 0, 0], `minus infinity, ${bench.loaded.build}`);
    }
  });

  it("special currents fire alike in every build", () => {
    const x = Float64Array.from([...SPECIAL, ...SPECIAL.slice().reverse(), ...SPECIAL, ...SPECIAL, ...SPECIAL, ...SPECIAL.slice().reverse()].map(Math.fround));
    expectAgreement({ fast, plain }, "f32_fire_integer", fireInteger(x, { T: 3, decay: 0.25, gain: 1, D: 4 }));
  });

  it("its backward is the same bit for bit in every build, and passes no gradient through a closed window", () => {
    for (const neuron of neurons) {
      for (const n of SIZES) {
        const s = Uint8Array.from(values(neuron.T * n, 3), (v) => (v > 0 ? OPEN : 0) | 1);
        expectAgreement(all, "f32_fire_integer_backward", fireIntegerBackward(s, values(neuron.T * n, 4), neuron));
      }
    }
    for (const bench of [...fast, plain]) {
      const [dx] = run(bench, "f32_fire_integer_backward", fireIntegerBackward([1, OPEN, 0, OPEN], Float64Array.of(NaN, 2, Infinity, 3), { T: 1, decay: 0.25, gain: 0.5, D: 4 }));
      expectSame(dx, [0, 1, 0, 1.5], bench.loaded.build);
    }
  });

  it("its backward is the straight-through gradient: rounding counts as the identity inside the window, and the reset as a constant", () => {
    const neuron = { T: 4, decay: 0.3, gain: 0.7, D: 2 }, n = 5, x = values(4 * n, 5).map((v) => 4 * v), ds = values(4 * n, 6);
    const s = run(twin, "f32_fire_integer", fireInteger(x, neuron)).flatMap((now) => Array.from(now));
    const clamped = (at: Float64Array): number[] => {
      const y = new Array<number>(4 * n);
      for (let i = 0; i < n; i++) {
        for (let t = 0, v = 0; t < 4; t++) {
          const h = neuron.decay * v + neuron.gain * at[t * n + i];
          y[t * n + i] = Math.min(Math.max(h, 0), neuron.D);
          v = h - (s[t * n + i] & 15);
        }
      }
      return y;
    };
    const [dx] = run(twin, "f32_fire_integer_backward", fireIntegerBackward(s, ds, neuron));
    expect(relativeError(dx, differences(clamped, x, ds))).toBeLessThan(1e-8);
  });

  it("goes on from the membranes that it left as if it had not stopped, bit for bit", () => {
    for (const neuron of neurons) for (const n of SIZES) {
      const x = values(neuron.T * n).map((v) => Math.fround(v * (neuron.D + 2)));
      const want = run(plain, "f32_fire_integer", fireInteger(x, neuron)).flatMap((s) => Array.from(s));
      for (const bench of [...fast, plain]) {
        const { s } = oneByOne(bench, x, neuron.T, (now, v) => ["f32_fire_integer_onward", fireIntegerOnward(now, { ...neuron, T: 1 }, v)]);
        expectSame(s, want, `${bench.loaded.build} T=${neuron.T} n=${n}`);
      }
      expectAgreement({ fast, plain }, "f32_fire_integer_onward", fireIntegerOnward(x, neuron, values(n, 3)));
    }
  });

  it("leaves the membranes of its equation: h - s", () => {
    //  decay 1/2, D 1   h: 3 -1 0.5 1.5 0.75, as above
    const x = Float64Array.of(3, -2, 1, 1.25, 0.5), neuron = { T: 1, decay: 0.5, gain: 1, D: 1 };
    for (const bench of [...fast, plain, twin]) expectSame(oneByOne(bench, x, 5, (now, v) => ["f32_fire_integer_onward", fireIntegerOnward(now, neuron, v)]).v.flat(), [2, -1, 0.5, 0.5, -0.25], bench.loaded.build);
  });
});

describe("binary firing", () => {
  const neurons: Binary[] = [SUBTRACT, ZERO, NONE].flatMap((reset) => [{ T: 1, decay: 0.5, gain: 0.5, threshold: 1, reset }, { T: 4, decay: 0.9, gain: 1, threshold: 0.7, reset }]);
  const surrogates = [0, 1, 2, 3].flatMap((kind) => [0, 1].map((attached) => ({ attached, kind, alpha: 1.75 })));
  const currents = (size: number, seed = 1): Float64Array => values(size, seed).map((x) => 2 * x);

  it("is the same bit for bit in every build, at every size and split", () => {
    for (const neuron of neurons) for (const n of SIZES) for (const surrogate of [{ kind: 0, alpha: 1 }, { kind: 1, alpha: 2 }, { kind: 3, alpha: 0.6 }]) {
      expectAgreement({ fast, plain }, "f32_fire_binary", fireBinary(currents(neuron.T * n), neuron, surrogate));
      if (n < 1000) expectAgreement({ fast, plain }, "f32_fire_binary", fireBinary(currents(neuron.T * n), neuron, surrogate, values(n, 5)));
    }
  });

  it("agrees with the twin bit for bit where float32 is exact", () => {
    for (const reset of [SUBTRACT, ZERO, NONE]) {
      expectAgreement(all, "f32_fire_binary", fireBinary(values(4 * 17).map((x) => Math.round(x * 128) / 64), { T: 4, decay: 0.5, gain: 1, threshold: 0.75, reset }), { twin: 0 });
    }
  });

  it("special currents fire alike in every build, and NaN does not fire", () => {
    const x = Float64Array.from([...SPECIAL, ...SPECIAL.slice().reverse(), ...SPECIAL].map(Math.fround));
    for (const reset of [SUBTRACT, ZERO, NONE]) {
      for (const kind of [0, 1, 2, 3]) expectAgreement({ fast, plain }, "f32_fire_binary", fireBinary(x, { T: 3, decay: 0.5, gain: 1, threshold: 1, reset }, { kind, alpha: 2 }));
      for (const bench of [...fast, plain]) expectSame(run(bench, "f32_fire_binary", fireBinary(Float64Array.of(NaN, 5), { T: 2, decay: 0.5, gain: 1, threshold: 1, reset }, { kind: 0, alpha: 1 }))[0], [0, 0], bench.loaded.build);
    }
  });

  const constant = { T: 1, decay: 0.5, gain: 1, threshold: 1 };
  it.each([
    ["subtract", SUBTRACT, [0.75, 0.125, 0.8125, 0.15625, 0.828125, 0.1640625, 0.83203125, 0.166015625, 0.8330078125], [0, 1, 0, 1, 0, 1, 0, 1, 0]],
    ["zero", ZERO, [0.75, 0, 0.75, 0, 0.75, 0, 0.75, 0, 0.75], [0, 1, 0, 1, 0, 1, 0, 1, 0]],
    ["none", NONE, [0.75, 1.125, 1.3125, 1.40625, 1.453125, 1.4765625, 1.48828125, 1.494140625, 1.4970703125], [0, 1, 1, 1, 1, 1, 1, 1, 1]],
  ])("a constant current of 0.75 with reset %s leaves these nine membranes", (_name, reset, membranes, spikes) => {
    for (const bench of [...fast, plain, twin]) for (const n of [1, 16]) { // the tail and the body
      const { s, v } = oneByOne(bench, new Float64Array(9 * n).fill(0.75), 9, (now, v) => ["f32_fire_binary", fireBinary(now, { ...constant, reset }, { kind: 0, alpha: 0.25 }, v)]);
      expectSame(v.map((at) => at[n - 1]), membranes, bench.loaded.build);
      expectSame(s.filter((_, i) => i % n === n - 1), spikes.map((fired) => fired | OPEN), bench.loaded.build);
    }
  });

  it("goes on from the membranes that it left as if it had not stopped, bit for bit", () => {
    for (const neuron of neurons) for (const n of SIZES) {
      const x = currents(neuron.T * n), [want] = run(plain, "f32_fire_binary", fireBinary(x, neuron));
      for (const bench of [...fast, plain]) {
        const { s } = oneByOne(bench, x, neuron.T, (now, v) => ["f32_fire_binary", fireBinary(now, { ...neuron, T: 1 }, undefined, v)]);
        expectSame(s, want, `${bench.loaded.build} T=${neuron.T} n=${n}`);
      }
    }
  });

  it("fires at the threshold, not below it", () => {
    for (const bench of [...fast, plain]) {
      const [s] = run(bench, "f32_fire_binary", fireBinary(Float64Array.of(1, 0.99999994), { T: 1, decay: 0.5, gain: 1, threshold: 1, reset: SUBTRACT }));
      expectSame(s, [1 | OPEN, OPEN], bench.loaded.build);
    }
  });

  it.each([["rectangular", 0], ["atan", 1], ["sigmoid", 2], ["triangular", 3]])("the window bit of the %s surrogate is set just where a gradient passes", (_name, kind) => {
    const edge = [0, -0.25, 0.25, -0.24999999, 0.2499999, -0.5, 0.5, -0.49999997, 0.49999997, -1, 1, 0.99999994, -0.99999994, 3, -7], neuron = { T: 1, decay: 0, gain: 1, threshold: 0.5, reset: SUBTRACT };
    for (const alpha of [0.5, 1, 1.75, 2]) {
      const x = Float64Array.from([...edge.map((u) => u + 0.5), ...values(64, 2).map((u) => u + 0.5)].map(Math.fround));
      for (const bench of [...fast, plain]) {
        const [s] = run(bench, "f32_fire_binary", fireBinary(x, neuron, { kind, alpha })), [dx] = run(bench, "f32_fire_binary_backward", fireBinaryBackward(x, new Float64Array(x.length).fill(1), neuron, { attached: 1, kind, alpha }));
        expectSame(Array.from(s, (byte) => (byte & OPEN ? 1 : 0)), Array.from(dx, (at) => (at > 0 ? 1 : 0)), `${bench.loaded.build}, alpha ${alpha}`);
      }
    }
  });

  it("its backward is the same bit for bit in every build, but for the sigmoid's exponential, at every size and split", () => {
    for (const neuron of neurons) {
      for (const n of SIZES) {
        const x = currents(neuron.T * n), ds = values(neuron.T * n, 7);
        for (const surrogate of surrogates) expectAgreement({ fast, plain }, "f32_fire_binary_backward", fireBinaryBackward(x, ds, neuron, surrogate), surrogate.kind === 2 ? { fast: 1e-6 } : {});
      }
    }
  });

  it("its backward agrees with the twin where no membrane is near the edge of a decision", () => {
    for (const neuron of neurons) for (const surrogate of surrogates) {
      const n = 64, x = values(neuron.T * n).map((v) => Math.fround(Math.round(v * 128) / 64 + 0.003)), ds = values(neuron.T * n, 7);
      expectAgreement(all, "f32_fire_binary_backward", fireBinaryBackward(x, ds, { ...neuron, decay: 0.5 }, surrogate), { ...(surrogate.kind === 2 ? { fast: 1e-6 } : {}), twin: 2e-6 });
    }
  });

  const DERIVATIVES: [string, number, (u: number, alpha: number) => number][] = [
    ["rectangular", 0, (u, alpha) => (Math.abs(u) < 1 / (2 * alpha) ? alpha : 0)],
    ["atan", 1, (u, alpha) => alpha / (2 * (1 + ((Math.PI / 2) * alpha * u) ** 2))],
    ["sigmoid", 2, (u, alpha) => (alpha / (1 + Math.exp(-alpha * u))) * (1 - 1 / (1 + Math.exp(-alpha * u)))],
    ["triangular", 3, (u, alpha) => Math.max(0, 1 - Math.abs(alpha * u)) * alpha],
  ];
  it.each(DERIVATIVES)("the %s surrogate is the derivative that is written", (_name, kind, derivative) => {
    const neuron = { T: 1, decay: 0.5, gain: 0.5, threshold: 0.25, reset: SUBTRACT }, h = Float64Array.from({ length: 65 }, (_, i) => (i - 32) / 16 + 0.25);
    for (const alpha of [0.5, 2, 4]) {
      const want = h.map((at) => 0.5 * derivative(at - 0.25, alpha));
      for (const bench of [...fast, plain, twin]) {
        const [dx] = run(bench, "f32_fire_binary_backward", fireBinaryBackward(h.map((at) => 2 * at), new Float64Array(65).fill(1), neuron, { attached: 1, kind, alpha }));
        expect(relativeError(dx, want), bench.loaded.build).toBeLessThan(bench === twin ? 1e-14 : 1e-6);
      }
    }
  });

  it("the sigmoid surrogate vanishes far from the threshold instead of overflowing", () => {
    const neuron = { T: 1, decay: 0.5, gain: 1, threshold: 1, reset: SUBTRACT };
    for (const bench of [...fast, plain]) {
      const [dx] = run(bench, "f32_fire_binary_backward", fireBinaryBackward([-1e30, 1e30, -Infinity, Infinity], new Float64Array(4).fill(1), neuron, { attached: 0, kind: 2, alpha: 4 }));
      expectSame(dx, [0, 0, 0, 0], bench.loaded.build);
    }
  });

  /**
   * The network that a surrogate stands for, near given currents: its spikes are straight lines through those that fired, with the slope of the surrogate,
   *
   *   s = s0 + surrogate(h0 - threshold) (h - h0)
   *
   * so that central differences of it are the gradient that is meant. A detached reset takes s0 in place of s.
   */
  function lines(x0: Float64Array, base: Binary, { attached, kind, alpha }: Surrogate): (x: Float64Array, leak?: { decay: number; gain: number }) => number[] {
    const { T, threshold, reset } = base, n = x0.length / T, h0 = new Float64Array(x0.length), derivative = DERIVATIVES[kind][2];
    const walk = (x: Float64Array, { decay, gain }: { decay: number; gain: number }, spike: (now: number, h: number) => { s: number; felt: number }): number[] => {
      const y = new Array<number>(x.length);
      for (let i = 0; i < n; i++) for (let t = 0, v = 0; t < T; t++) {
        const now = t * n + i, h = decay * v + gain * x[now], { s, felt } = spike(now, h);
        y[now] = s;
        v = reset === SUBTRACT ? h - threshold * felt : reset === ZERO ? h * (1 - felt) : h;
      }
      return y;
    };
    const s0 = walk(x0, base, (now, h) => { h0[now] = h; const s = h >= threshold ? 1 : 0; return { s, felt: s }; });
    return (x, leak = base) => walk(x, leak, (now, h) => { const s = s0[now] + derivative(h0[now] - threshold, alpha) * (h - h0[now]); return { s, felt: attached ? s : s0[now] }; });
  }

  const T = 4, n = 6, x = currents(T * n, 8), ds = values(T * n, 9);
  const whole = [SUBTRACT, ZERO, NONE].map((reset) => ({ T, decay: 0.8, gain: 0.6, threshold: 0.5, reset }));
  const ofLeak = (at: Float64Array, neuron: Binary, surrogate: Surrogate): ArrayLike<number> => {
    const [dh] = run(twin, "f32_fire_binary_backward", fireBinaryBackward(at, ds, neuron, surrogate, 1));
    return run(twin, "f32_fire_leak_grad", leakGrad(at, dh, neuron))[0];
  };

  it("its backward is the gradient of the network in which a spike is a line with the surrogate's slope: every reset, attached or not, every surrogate", () => {
    for (const neuron of whole) for (const surrogate of surrogates) {
      const [dx] = run(twin, "f32_fire_binary_backward", fireBinaryBackward(x, ds, neuron, surrogate));
      expect(relativeError(dx, differences(lines(x, neuron, surrogate), x, ds)), JSON.stringify({ neuron, surrogate })).toBeLessThan(1e-8);
    }
  });

  it("the gradients of decay and gain are those of that network too", () => {
    for (const neuron of whole) for (const surrogate of surrogates) {
      const near = lines(x, neuron, surrogate), want = differences(([decay, gain]) => near(x, { decay, gain }), Float64Array.of(neuron.decay, neuron.gain), ds);
      expect(relativeError(ofLeak(x, neuron, surrogate), want), JSON.stringify({ neuron, surrogate })).toBeLessThan(1e-8);
    }
  });

  it("an error in any of its parts would be seen", () => {
    for (const neuron of whole) for (const surrogate of surrogates) {
      const near = lines(x, neuron, surrogate), want = differences(near, x, ds), wantLeak = differences(([decay, gain]) => near(x, { decay, gain }), Float64Array.of(neuron.decay, neuron.gain), ds);
      const wrong: [string, Binary, Surrogate][] = [
        ["a leak 1 % off", { ...neuron, decay: neuron.decay * 1.01 }, surrogate], ["another reset", { ...neuron, reset: (neuron.reset + 1) % 3 }, { ...surrogate, attached: 1 }],
        ["another surrogate", neuron, { ...surrogate, kind: (surrogate.kind + 1) % 4 }], ["another threshold", { ...neuron, threshold: 0.7 }, surrogate],
        ...(neuron.reset === NONE ? [] : [["the other way of attaching", neuron, { ...surrogate, attached: 1 - surrogate.attached }] as [string, Binary, Surrogate]]),
      ];
      for (const [what, other, otherSurrogate] of wrong) {
        const [dx] = run(twin, "f32_fire_binary_backward", fireBinaryBackward(x, ds, other, otherSurrogate));
        expect(relativeError(dx, want), `${what}: ${JSON.stringify({ neuron, surrogate })}`).toBeGreaterThan(1e-6);
        expect(relativeError(ofLeak(x, other, otherSurrogate), wantLeak), `${what}, leak: ${JSON.stringify({ neuron, surrogate })}`).toBeGreaterThan(1e-6);
      }
    }
  });

  it("sums for decay and gain are the same bit for bit in every build, at every size and split, and those of the twin", () => {
    for (const neuron of neurons) for (const size of [...SIZES, 1023, 1024, 1025, 2500]) {
      const at = values(neuron.T * size).map((v) => Math.fround(Math.round(v * 128) / 64)), exact = { ...neuron, decay: 0.5, threshold: 0.75 };
      expectAgreement(all, "f32_fire_leak_grad", leakGrad(at, values(at.length, 4), exact), { twin: 1e-6, scale: size });
    }
  });

  it("a reset to zero cuts the path through the membrane, and when attached adds the path through the spike", () => {
    const neuron = { T: 2, decay: 0.5, gain: 0.25, threshold: 1, reset: ZERO }, alpha = 2;
    const g = (h: number): number => alpha / (2 * (1 + (Math.PI * (h - 1)) ** 2));
    //  h: 1.5 0.5, then 0.75 1.25; the first is cleared, the second goes on
    const x = [6, 2, 3, 4], ds = Float64Array.of(1, 2, 3, 4);
    for (const attached of [0, 1]) {
      const dv = [0.5 * g(0.75) * 3, 0.5 * g(1.25) * 4];
      const want = [
        0.25 * (g(1.5) * (1 - attached * 1.5 * dv[0]) + 0 * dv[0]), 0.25 * (g(0.5) * (2 - attached * 0.5 * dv[1]) + 1 * dv[1]),
        0.25 * g(0.75) * 3, 0.25 * g(1.25) * 4,
      ];
      for (const bench of [...fast, plain, twin]) {
        const [dx] = run(bench, "f32_fire_binary_backward", fireBinaryBackward(x, ds, neuron, { attached, kind: 1, alpha }));
        expect(relativeError(dx, want), bench.loaded.build).toBeLessThan(bench === twin ? 1e-14 : 1e-6);
      }
    }
  });
});
