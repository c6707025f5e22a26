import { describe, expect, it } from "vitest";
import { SPECIAL, bytes, expectAgreement, expectSame, expectSplits, ints, reals, run, shorts, type Setup } from "./agreement.ts";
import { SIZES, benches, relativeError, values, type Workbench } from "./harness.ts";
import { asBytes, eventLists, listed, spikeBytes, table3x3 } from "./spikes.ts";

const all = await benches();
const { fast, plain, twin } = all;
const every = [...fast, plain, twin];
const relaxed = fast.filter((bench) => bench.loaded.build === "relaxed"), simd = fast.filter((bench) => bench.loaded.build === "simd");
const DENSITIES = [0, 0.01, 0.5, 1];

describe("spike bytes", () => {
  it("become numbers alike in every build, whatever their window, at every size and split", () => {
    for (const n of SIZES) {
      for (const density of DENSITIES) {
        const s = spikeBytes(n, density), setup: Setup = (bench) => { const y = bench.real(n); return { n, args: [bench.bytes(s), y], writes: [reals(y, n)] }; };
        expectAgreement(all, "spikes_to_f32", setup, { twin: 0 });
        for (const bench of every) expectSame(run(bench, "spikes_to_f32", setup)[0], Array.from(s, (byte) => byte & 15), bench.loaded.build);
      }
    }
  });

  const fromNumbers = (x: ArrayLike<number>): Setup => (bench) => { const s = bench.bytes(x.length); return { n: x.length, args: [bench.real(x), s], writes: [bytes(s, x.length)] }; };

  it("are made from the integers 0 to 15 with their windows closed, at every size and split", () => {
    for (const n of SIZES) {
      const x = Array.from({ length: n }, (_, i) => i % 16);
      expectAgreement(all, "spikes_from_f32", fromNumbers(x), { twin: 0 });
      for (const bench of every) expectSame(run(bench, "spikes_from_f32", fromNumbers(x))[0], x, bench.loaded.build);
    }
  });

  it("made from anything else saturate alike in every build, and NaN is silent", () => {
    expectAgreement({ fast, plain }, "spikes_from_f32", fromNumbers([...SPECIAL, 16, 15.5, 14.5, 1e9, -3].map(Math.fround)));
    for (const bench of every) expectSame(run(bench, "spikes_from_f32", fromNumbers([NaN, Infinity, -Infinity, 99, -1]))[0], [0, 15, 0, 15, 0], bench.loaded.build);
  });

  it("are counted alike in every build, at every size and split", () => {
    for (const n of [...SIZES, 100003]) {
      const setup: Setup = (bench) => { const partial = bench.bytes(24 * Math.ceil(n / 65536)); return { n: Math.ceil(n / 65536), args: [bench.bytes(spikeBytes(n, 0.3)), partial, n, 65536, 65536], writes: [bytes(partial, 24 * Math.ceil(n / 65536))] }; };
      expectAgreement({ fast, plain }, "spike_statistics", setup);
      for (const density of DENSITIES) {
        const s = spikeBytes(n, density), want = [0, 0, 0];
        for (const byte of s) { want[0] += byte & 15; want[1] += byte & 15 ? 1 : 0; want[2] += byte >> 4; }
        for (const bench of every) {
          bench.clear();
          const S = bench.bytes(s), blocks = Math.ceil(n / 65536), partial = bench.bytes(24 * blocks), got = [0, 0, 0];
          bench.kernels.spike_statistics(blocks, S, partial, n, 65536, 65536);
          new Float64Array(bench.loaded.memory.buffer, partial, 3 * blocks).forEach((count, i) => { got[i % 3] += count; });
          expectSame(got, want, `${bench.loaded.build} n=${n}`);
        }
      }
    }
  });
});

it("spikes are counted in samples that stand apart, and in those that overlap", () => {
  const n = 20011, s = spikeBytes(n, 0.3);
  for (const [blocks, step, length] of [[5, 4001, 2048], [4, 5003, 65536], [7, 100, 333]]) {
    const setup: Setup = (bench) => { const partial = bench.bytes(24 * blocks); return { n: blocks, args: [bench.bytes(s), partial, n, step, length], writes: [bytes(partial, 24 * blocks)] }; };
    expectAgreement({ fast, plain }, "spike_statistics", setup);
    const [raw] = run(plain, "spike_statistics", setup), counts = new Float64Array(Uint8Array.from(raw).buffer);
    for (let b = 0; b < blocks; b++) expect(counts[3 * b + 1]).toBe(s.subarray(b * step, Math.min(n, b * step + length)).filter((byte) => byte & 15).length);
  }
});

describe("spikes made of spikes", () => {
  /** Values 0..7, so that two of them fit a byte. */
  const low = (n: number, density: number): Uint8Array => spikeBytes(n, density).map((byte, i) => (i % 3 ? byte & 23 : byte & 7));
  const sum = (x: Uint8Array, y: Uint8Array): Setup => (bench) => { const z = bench.bytes(x.length); return { n: x.length, args: [bench.bytes(x), bench.bytes(y), z], writes: [bytes(z, x.length)] }; };

  it("add up their values and keep a window open that one of them has, in every build, at every size and split", () => {
    for (const n of SIZES) for (const density of DENSITIES) {
      const x = low(n, density), y = low(n, 0.5).reverse();
      expectAgreement(all, "spikes_add", sum(x, y), { twin: 0 });
      for (const bench of every) expectSame(run(bench, "spikes_add", sum(x, y))[0], Array.from(x, (byte, i) => (byte & 15) + (y[i] & 15) + ((byte | y[i]) & 16)), bench.loaded.build);
    }
  });

  it("are copied by columns and stay where they were between them", () => {
    for (const width of [1, 3, 16, 17]) {
      const ldx = width + 2, ldy = width + 5, rows = 7, x = spikeBytes(rows * ldx, 0.5);
      const setup: Setup = (bench) => { const y = bench.bytes(new Uint8Array(rows * ldy).fill(9)); return { n: rows, args: [bench.bytes(x), ldx, y, ldy, width], writes: [bytes(y, rows * ldy)] }; };
      expectAgreement(all, "spikes_copy_columns", setup, { twin: 0 });
      for (const bench of every) expectSame(run(bench, "spikes_copy_columns", setup)[0], Array.from({ length: rows * ldy }, (_, i) => (i % ldy < width ? x[Math.floor(i / ldy) * ldx + (i % ldy)] : 9)), bench.loaded.build);
    }
  });

  it("become factor x factor pixels each", () => {
    for (const C of [1, 3, 16, 17]) for (const factor of [1, 2, 3]) {
      const [B, H, W] = [2, 3, 2], x = spikeBytes(B * H * W * C, 0.5), n = x.length * factor ** 2;
      const setup: Setup = (bench) => { const y = bench.bytes(n); return { n: B * H * factor, args: [bench.bytes(x), y, H, W, C, factor], writes: [bytes(y, n)] }; };
      expectAgreement(all, "spikes_upsample_nearest", setup, { twin: 0 });
      const wide = W * factor, want = Array.from({ length: n }, (_, i) => { const p = Math.floor(i / C), row = Math.floor(Math.floor(p / wide) / factor); return x[(row * W + Math.floor((p % wide) / factor)) * C + (i % C)]; });
      for (const bench of every) expectSame(run(bench, "spikes_upsample_nearest", setup)[0], want, bench.loaded.build);
    }
  });
});

describe("event lists", () => {
  const CHANNELS = [1, 3, 8, 15, 16, 17, 31, 32, 40, 47, 48, 63, 64, 65, 79, 80, 128, 200];
  /** Slots are zeroed first, so that what a list does not use compares equal. */
  const listing = (s: Uint8Array, C: number, ...d: number[]): Setup => (bench) => {
    const pixels = s.length / C, events = bench.bytes(new Uint8Array(2 * s.length)), spans = bench.ints(2 * pixels);
    return { n: Math.ceil(pixels / 64), args: [bench.bytes(s), events, spans, pixels, C, ...d], writes: [shorts(events, s.length), ints(spans, 2 * pixels)] };
  };
  const expectLists = (bench: Workbench, name: "spike_events" | "spike_events_above", s: Uint8Array, C: number, ...d: number[]): void => {
    const [events, spans] = run(bench, name, listing(s, C, ...d)), want = eventLists(s, C, d[0]), what = `${bench.loaded.build} C=${C}`;
    expectSame(spans, want.spans, what);
    expectSame(listed(events, spans).flat(), listed(want.events, want.spans).flat(), what);
  };

  it("hold (c << 4 | value) of every channel that fired, in channel order, at every density and split", () => {
    for (const C of CHANNELS) {
      for (const density of DENSITIES) {
        const s = spikeBytes(150 * C, density);
        for (const bench of every) expectLists(bench, "spike_events", s, C);
        for (const bench of [...fast, plain]) expectSplits(bench, "spike_events", listing(s, C));
      }
    }
  });

  it("of virtual step d hold (c << 4 | 1) where value > d", () => {
    for (const C of CHANNELS) {
      const s = spikeBytes(5 * C, 0.5);
      for (const d of [0, 1, 3, 14, 15]) for (const bench of every) expectLists(bench, "spike_events_above", s, C, d);
      for (const bench of [...fast, plain]) expectSplits(bench, "spike_events_above", listing(s, C, 2));
    }
  });

  it("of all virtual steps together hold each value as many times as it counts", () => {
    const C = 40, s = spikeBytes(3 * C, 0.5, 8);
    for (const bench of every) {
      const total = new Int32Array(C * 3);
      for (let d = 0; d < 8; d++) {
        const [events, spans] = run(bench, "spike_events_above", listing(s, C, d));
        listed(events, spans).forEach((list, p) => list.forEach((event) => total[p * C + (event >> 4)]++));
      }
      expectSame(total, Array.from(s, (byte) => byte & 15), bench.loaded.build);
    }
  });

  it("reach the last of 4095 channels", () => {
    const s = new Uint8Array(4095);
    s[4094] = 15;
    for (const bench of every) expectLists(bench, "spike_events", s, 4095);
  });
});

describe("lists joined over taps", () => {
  const H = 7, W = 13, pixels = H * W, table = table3x3(H, W);

  for (const K of [3, 8, 16, 33]) for (const size of [1, 3, 9]) it(`hold what pixels see through ${size} of 9 taps, ${K} channels, at every density and split, from any pixel on`, () => {
    for (const density of DENSITIES) for (const [from, count] of [[0, pixels], [5, 70], [64, 1]]) {
      const s = spikeBytes(pixels * K, density), lists = eventLists(s, K), groups = 9 / size, runs = Math.ceil(count / 64), entries = groups * runs * ((64 * size + 1) * K + 8);
      const setup: Setup = (bench) => {
        const events = bench.bytes(new Uint8Array([...asBytes(lists.events), ...new Uint8Array(2 * (K + 8))])), unfolded = bench.bytes(new Uint8Array(2 * entries)), open = bench.ints(2 * groups * count);
        return { n: runs, args: [events, bench.ints(lists.spans), bench.ints(table) + 4 * from, pixels, count, 9, K, size, unfolded, open], writes: [shorts(unfolded, entries), ints(open, 2 * groups * count)] };
      };
      const byPixel = listed(lists.events, lists.spans), want: number[][] = [];
      for (let group = 0; group < groups; group++) for (let p = from; p < from + count; p++) want.push(Array.from({ length: size }, (_, i) => {
        const pixel = table[(group * size + i) * pixels + p];
        return pixel < 0 ? [] : byPixel[pixel].map((event) => event + (i * K << 4));
      }).flat());
      for (const bench of every) {
        const [unfolded, open] = run(bench, "spike_unfold", setup);
        expect(listed(unfolded, open), bench.loaded.build).toEqual(want);
      }
      for (const bench of [...fast, plain]) expectSplits(bench, "spike_unfold", setup);
    }
  });
});

describe("spike convolution", () => {
  const H = 4, W = 5, pixels = H * W;

  interface Layer { s: Uint8Array; K: number; N: number; taps: 1 | 9; w: Float64Array; bias?: Float64Array; gap?: number }
  const layer = (K: number, N: number, taps: 1 | 9, density: number, bias = true, gap = 0): Layer => ({
    s: spikeBytes(pixels * K, density, 4), K, N, taps, w: values(N * taps * K, 5), bias: bias ? values(N, 6) : undefined, gap,
  });

  const convolve = ({ s, K, N, taps, w, bias, gap = 0 }: Layer): Setup => (bench) => {
    const { events, spans } = eventLists(s, K), packed = bench.real(Math.ceil(N / 32) * 32 * taps * K), ldy = N + gap, y = bench.real(pixels * ldy);
    bench.kernels.spike_conv_pack(Math.ceil(N / 32), bench.real(w), packed, N, taps, K, 0);
    const table = taps === 9 ? bench.ints(table3x3(H, W)) : 0;
    return {
      n: pixels,
      args: [bench.bytes(asBytes(events)), bench.ints(spans), table, pixels, taps, K, packed, bias ? bench.real(bias) : 0, y, ldy, N],
      writes: Array.from({ length: pixels }, (_, p) => reals(y + p * ldy * bench.loaded.bytes, N)),
    };
  };

  /** The sum over all channels of all taps, spikes as numbers. */
  function dense({ s, K, N, taps, w, bias }: Layer): number[][] {
    const table = table3x3(H, W);
    return Array.from({ length: pixels }, (_, p) => Array.from({ length: N }, (_, j) => {
      let sum = bias ? bias[j] : 0;
      for (let tap = 0; tap < taps; tap++) {
        const q = taps === 9 ? table[tap * pixels + p] : p;
        if (q >= 0) for (let c = 0; c < K; c++) sum += (s[q * K + c] & 15) * w[(j * taps + tap) * K + c];
      }
      return sum;
    }));
  }

  it("is the dense convolution of the spikes as numbers, 1x1 and 3x3, at every density", () => {
    for (const taps of [1, 9] as const) {
      for (const density of DENSITIES) {
        for (const bias of [true, false]) {
          const l = layer(20, 9, taps, density, bias), want = dense(l).flat();
          expect(relativeError(run(twin, "spike_conv", convolve(l)).flatMap((y) => Array.from(y)), want)).toBeLessThan(1e-14);
        }
      }
    }
  });

  /** Fused or not, a sum of a few thousand terms keeps 5e-7 of the sum of their magnitudes. */
  function expectConvolution(l: Layer): void {
    const setup = convolve(l), scale = Math.max(...dense({ ...l, w: l.w.map(Math.abs), bias: l.bias?.map(Math.abs) }).flat());
    expectAgreement({ fast: simd, plain, twin }, "spike_conv", setup, { twin: 5e-7, scale });
    expectAgreement({ fast: relaxed, plain, twin }, "spike_conv", setup, { fast: 5e-7, twin: 5e-7, scale });
  }

  it("agrees with the reference for every number of output channels and any split, bit for bit where sums are not fused", () => {
    for (const N of [1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 45, 64, 80]) {
      for (const taps of [1, 9] as const) {
        expectConvolution(layer(17, N, taps, 0.5, N % 2 === 0, N % 3));
      }
    }
  });

  it("agrees with the reference where taps go in groups, and where one tap alone is more than the cache holds", () => {
    for (const K of [1, 30, 100, 300]) for (const density of [0, 0.01, 1]) expectConvolution(layer(K, 33, 9, density));
  });

  it("writes the bias alone where nothing fired, and zero without a bias", () => {
    for (const bench of every) {
      const silent = layer(16, 5, 9, 0);
      for (const y of run(bench, "spike_conv", convolve(silent))) expectSame(y, silent.bias!, bench.loaded.build);
      for (const y of run(bench, "spike_conv", convolve({ ...silent, bias: undefined }))) expectSame(y, [0, 0, 0, 0, 0], bench.loaded.build);
    }
  });

  it("packs the same for any split of its blocks", () => {
    for (const N of [1, 32, 33, 100]) {
      for (const bench of [...fast, plain]) {
        expectSplits(bench, "spike_conv_pack", (b) => {
          const size = Math.ceil(N / 32) * 32 * 9 * 5, packed = b.real(size);
          return { n: Math.ceil(N / 32), args: [b.real(values(N * 9 * 5)), packed, N, 9, 5], writes: [reals(packed, size)] };
        });
      }
    }
  });
});
