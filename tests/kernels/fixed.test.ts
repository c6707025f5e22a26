import { describe, expect, it } from "vitest";
import { expectAgreement, expectSame, expectSplits, ints, reals, run, type Setup } from "./agreement.ts";
import { SIZES, benches, values, type Workbench } from "./harness.ts";
import { asBytes, eventLists, spikeBytes, table3x3 } from "./spikes.ts";

const all = await benches();
const { fast, plain, twin } = all;
const every = [...fast, plain, twin];

const quantize = (w: Float64Array, size: number, D: number): Setup => (bench) => {
  const N = w.length / size, q = bench.ints(w.length), scale = bench.real(N);
  return { n: N, args: [bench.real(w), q, scale, size, D], writes: [ints(q, w.length), reals(scale, N)] };
};

describe("quantised weights", () => {
  it("are the same in every build and in the twin, at every size and split", () => {
    for (const size of SIZES) expectAgreement(all, "fixed_quantize", quantize(values(5 * size), size, 4), { twin: 0 });
  });

  it("lie within half a grid step of the weights, on the finest grid that keeps D times their sum below 2^30", () => {
    for (const spread of [1e-12, 1e-3, 1, 1e6, 1e30]) {
      for (const D of [1, 4, 15]) {
        const size = 17, w = values(3 * size, 7).map((x) => Math.fround(x * spread)), [q, scale] = run(plain, "fixed_quantize", quantize(w, size, D));
        for (let j = 0; j < 3; j++) {
          let sum = 0, integers = 0;
          for (let i = j * size; i < (j + 1) * size; i++) {
            expect(Math.abs(q[i] - w[i] / scale[j])).toBeLessThanOrEqual(0.5);
            sum += Math.abs(w[i]);
            integers += Math.abs(q[i]);
          }
          const e = -Math.log2(scale[j]);
          expect(Number.isInteger(e)).toBe(true);
          expect((D * sum) / scale[j]).toBeLessThan(2 ** 30);
          expect(e === 40 || (D * sum) / (scale[j] / 2) >= 2 ** 30).toBe(true);
          expect(D * integers).toBeLessThan(2 ** 31);
        }
      }
    }
  });

  it("stay strictly below the bound where a power of two would meet it", () => {
    for (const bench of every) {
      const [q, scale] = run(bench, "fixed_quantize", quantize(Float64Array.of(1, 0, -0.5, 0.5), 2, 1));
      expectSame(scale, [2 ** -29, 2 ** -29], bench.loaded.build);
      expectSame(q, [2 ** 29, 0, -(2 ** 28), 2 ** 28], bench.loaded.build);
    }
  });

  it("round half to even", () => {
    for (const bench of every) {
      const [q, scale] = run(bench, "fixed_quantize", quantize(Float64Array.of(0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 2 ** 29), 7, 1));
      expectSame(scale, [1], bench.loaded.build);
      expectSame(q, [0, 2, 2, 0, -2, -2, 2 ** 29], bench.loaded.build);
    }
  });

  it("have scale 1 when all are zero, and scale NaN when one is not finite", () => {
    for (const bench of every) {
      const [q, scale] = run(bench, "fixed_quantize", quantize(Float64Array.of(0, -0, 0, 1, NaN, 2, 1, -Infinity, 2, 1, 1, 1), 3, 4));
      expectSame(scale, [1, NaN, NaN, 2 ** -26], bench.loaded.build);
      expectSame(q, [0, 0, 0, 0, 0, 0, 0, 0, 0, 2 ** 26, 2 ** 26, 2 ** 26], bench.loaded.build);
    }
  });
});

const H = 4, W = 5, pixels = H * W, D = 4;
const integers = (size: number, seed: number): Int32Array => Int32Array.from(values(size, seed), (x) => Math.round(x * 100000));
const START = 7; // what the accumulators hold before

interface Layer { s: Uint8Array; K: number; N: number; taps: 1 | 9; q: Int32Array }
const layer = (K: number, N: number, taps: 1 | 9, density: number): Layer => ({ s: spikeBytes(pixels * K, density, D), K, N, taps, q: integers(N * taps * K, 5) });

/** Places a layer and its accumulators; the lists are of the values, or of virtual step d. */
function place(bench: Workbench, { s, K, N, taps, q }: Layer, d?: number): { y: number; args: number[] } {
  const { events, spans } = eventLists(s, K, d), packed = bench.ints(Math.ceil(N / 32) * 32 * taps * K), y = bench.ints(new Int32Array(pixels * N).fill(START));
  bench.kernels.fixed_pack(Math.ceil(N / 32), bench.ints(q), packed, N, taps, K);
  return { y, args: [bench.bytes(asBytes(events)), bench.ints(spans), taps === 9 ? bench.ints(table3x3(H, W)) : 0, pixels, taps, K, packed, y, N] };
}

const gather = (l: Layer, d?: number): Setup => (bench) => { const { y, args } = place(bench, l, d); return { n: pixels, args, writes: [ints(y, pixels * l.N)] }; };

/** The sum as it should be: START + sum of value * q, exact in float64. */
function exact({ s, K, N, taps, q }: Layer): number[] {
  const table = table3x3(H, W);
  return Array.from({ length: pixels * N }, (_, i) => {
    const p = Math.floor(i / N), j = i % N;
    let sum = START;
    for (let tap = 0; tap < taps; tap++) {
      const pixel = taps === 9 ? table[tap * pixels + p] : p;
      if (pixel >= 0) for (let c = 0; c < K; c++) sum += (s[pixel * K + c] & 15) * q[(j * taps + tap) * K + c];
    }
    return sum;
  });
}

describe("accumulation of quantised weights", () => {
  it("is exact for every number of output channels, density and split, by multiplication and by additions alone", () => {
    for (const N of [1, 3, 4, 5, 8, 9, 16, 17, 31, 32, 33, 45, 64]) {
      for (const taps of [1, 9] as const) {
        const l = layer(17, N, taps, 0.5), want = exact(l);
        for (const bench of every) expectSame(run(bench, "fixed_multiply_accumulate", gather(l))[0], want, `${bench.loaded.build} N=${N}`);
        for (const bench of [...fast, plain]) {
          expectSplits(bench, "fixed_multiply_accumulate", gather(l));
          expectSplits(bench, "fixed_accumulate", gather(l, 1));
        }
      }
    }
  });

  it("by D virtual steps of additions gives the bits of one pass of multiplications", () => {
    for (const [K, N] of [[1, 1], [17, 9], [64, 33], [300, 40]]) {
      for (const density of [0, 0.01, 0.5, 1]) {
        const l = layer(K, N, 9, density), want = exact(l);
        for (const bench of every) {
          bench.clear();
          const { y, args } = place(bench, l);
          for (let d = 0; d < D; d++) {
            const { events, spans } = eventLists(l.s, K, d);
            bench.kernels.fixed_accumulate(pixels, bench.bytes(asBytes(events)), bench.ints(spans), args[2], pixels, 9, K, args[6], y, N);
          }
          expectSame(bench.readInts(y, pixels * N), want, `additions, ${bench.loaded.build} K=${K} N=${N}`);
          expectSame(run(bench, "fixed_multiply_accumulate", gather(l))[0], want, `multiplications, ${bench.loaded.build} K=${K} N=${N}`);
        }
      }
    }
  });

  it("cannot overflow where every channel fires at D with weights of one sign", () => {
    const K = 50, N = 4, w = values(N * 9 * K, 3).map((x) => Math.fround(Math.abs(x)));
    const s = new Uint8Array(pixels * K).fill(D), [q] = run(plain, "fixed_quantize", quantize(w, 9 * K, D));
    const l: Layer = { s, K, N, taps: 9, q: Int32Array.from(q) }, want = exact(l);
    expect(Math.max(...want)).toBeGreaterThan(2 ** 28);
    expect(Math.max(...want)).toBeLessThan(2 ** 31);
    for (const bench of every) expectSame(run(bench, "fixed_multiply_accumulate", gather(l))[0], want, bench.loaded.build);
  });

  it("packs the same for any split of its blocks", () => {
    for (const bench of [...fast, plain]) {
      expectSplits(bench, "fixed_pack", (b) => { const packed = b.ints(128 * 45); return { n: 4, args: [b.ints(integers(100 * 45, 1)), packed, 100, 9, 5], writes: [ints(packed, 128 * 45)] }; });
    }
  });
});

describe("depthwise accumulation", () => {
  /** q is [taps][C], one weight per channel and tap. */
  function placeDepthwise(bench: Workbench, s: Uint8Array, C: number, q: Int32Array, d?: number): { y: number; args: number[] } {
    const { events, spans } = eventLists(s, C, d), y = bench.ints(new Int32Array(pixels * C).fill(START));
    return { y, args: [bench.bytes(asBytes(events)), bench.ints(spans), bench.ints(table3x3(H, W)), pixels, 9, C, bench.ints(q), y] };
  }

  it("is exact for every number of channels, density and split, by multiplication and by D steps of additions", () => {
    const table = table3x3(H, W);
    for (const C of [1, 3, 16, 17, 40]) {
      for (const density of [0, 0.01, 0.5, 1]) {
        const s = spikeBytes(pixels * C, density, D), q = integers(9 * C, 2);
        const want = Array.from({ length: pixels * C }, (_, i) => {
          let sum = START;
          for (let tap = 0; tap < 9; tap++) {
            const pixel = table[tap * pixels + Math.floor(i / C)];
            if (pixel >= 0) sum += (s[pixel * C + (i % C)] & 15) * q[tap * C + (i % C)];
          }
          return sum;
        });
        const setup = (d?: number): Setup => (bench) => { const { y, args } = placeDepthwise(bench, s, C, q, d); return { n: pixels, args, writes: [ints(y, pixels * C)] }; };
        for (const bench of every) {
          expectSame(run(bench, "fixed_depthwise_multiply_accumulate", setup())[0], want, `${bench.loaded.build} C=${C}`);
          bench.clear();
          const { y, args } = placeDepthwise(bench, s, C, q);
          for (let d = 0; d < D; d++) {
            const { events, spans } = eventLists(s, C, d);
            bench.kernels.fixed_depthwise_accumulate(pixels, bench.bytes(asBytes(events)), bench.ints(spans), args[2], pixels, 9, C, args[6], y);
          }
          expectSame(bench.readInts(y, pixels * C), want, `additions, ${bench.loaded.build} C=${C}`);
        }
        for (const bench of [...fast, plain]) {
          expectSplits(bench, "fixed_depthwise_multiply_accumulate", setup());
          expectSplits(bench, "fixed_depthwise_accumulate", setup(1));
        }
      }
    }
  });
});

describe("fixed_to_f32", () => {
  const convert = (acc: Int32Array, N: number, bias: boolean): Setup => (bench) => {
    const y = bench.real(acc.length), scale = Array.from({ length: N }, (_, j) => 2 ** -(j % 30));
    return { n: acc.length / N, args: [bench.ints(acc), bench.real(scale), bias ? bench.real(values(N, 3)) : 0, y, N], writes: [reals(y, acc.length)] };
  };

  it("is the same bit for bit in every build, with and without bias, at every size and split", () => {
    for (const N of SIZES) for (const bias of [true, false]) expectAgreement(all, "fixed_to_f32", convert(integers(3 * N, 1).map((x) => x * 20000), N, bias), { twin: 1.2e-7 });
  });

  it("is exact in the twin", () => {
    const acc = Int32Array.of(2 ** 31 - 1, -(2 ** 31), 1), [y] = run(twin, "fixed_to_f32", convert(acc, 3, false));
    expectSame(y, [2 ** 31 - 1, -(2 ** 30), 0.25], "value * 2^-j");
  });

  it("may write over its accumulators in the float32 builds", () => {
    const acc = integers(3 * 7, 1);
    for (const bench of [...fast, plain]) {
      const [want] = run(bench, "fixed_to_f32", convert(acc, 7, true));
      const [got] = run(bench, "fixed_to_f32", (b) => { const call = convert(acc, 7, true)(b), args = [...call.args]; args[3] = args[0]; return { n: 3, args, writes: [reals(args[0], 21)] }; });
      expectSame(got, want, bench.loaded.build);
    }
  });
});
