import { describe, expect, it } from "vitest";
import { expectAgreement, expectSame, expectSplits, ints, run, shorts, type Setup } from "./agreement.ts";
import { SIZES, benches, values } from "./harness.ts";
import { asBytes, eventLists, spikeBytes, table3x3 } from "./spikes.ts";

const all = await benches();
const { fast, plain, twin } = all;
const every = [...fast, plain, twin];
const H = 4, W = 5, pixels = H * W;
const DENSITIES = [0, 0.01, 0.5, 1];

interface Layer { s: Uint8Array; K: number; N: number; taps: 1 | 9; w: Int16Array; gap: number; together: number }

/** Weights as large as the events of the taps that are summed together allow, were every channel to fire 4. */
function layer(K: number, N: number, taps: 1 | 9, density: number, gap = 0, together = 1): Layer {
  const most = Math.floor(32767 / (4 * K * together));
  return { s: spikeBytes(pixels * K, density, 4), K, N, taps, w: Int16Array.from(values(N * taps * K, 5), (v) => Math.round(v * most)), gap, together };
}

const place = (w: Int16Array): Uint8Array => asBytes(new Uint16Array(w.buffer));

const convolve = ({ s, K, N, taps, w, gap, together }: Layer): Setup => (bench) => {
  const { events, spans } = eventLists(s, K), blocks = Math.ceil(N / 64), packed = bench.bytes(2 * blocks * 64 * taps * K), ldy = N + gap, y = bench.ints(pixels * ldy);
  bench.kernels.spike_conv_i16_pack(blocks, bench.bytes(place(w)), packed, N, taps, K);
  const table = taps === 9 ? bench.ints(table3x3(H, W)) : 0;
  return {
    n: pixels,
    args: [bench.bytes(asBytes(events)), bench.ints(spans), table, pixels, taps, K, packed, together, y, ldy, N],
    writes: Array.from({ length: pixels }, (_, p) => ints(y + 4 * p * ldy, N)),
  };
};

/** The sum over all channels of all taps, spikes as numbers. */
function dense({ s, K, N, taps, w }: Layer): number[] {
  const table = table3x3(H, W);
  return Array.from({ length: pixels * N }, (_, i) => {
    const p = Math.floor(i / N), j = i % N;
    let sum = 0;
    for (let tap = 0; tap < taps; tap++) {
      const q = taps === 9 ? table[tap * pixels + p] : p;
      if (q >= 0) for (let c = 0; c < K; c++) sum += (s[q * K + c] & 15) * w[(j * taps + tap) * K + c];
    }
    return sum;
  });
}

describe("int16 spike convolution", () => {
  it("is the dense convolution of the spikes as numbers, 1x1 and 3x3, at every density, in every build", () => {
    for (const taps of [1, 9] as const) {
      for (const density of DENSITIES) {
        const l = layer(20, 9, taps, density), want = dense(l);
        for (const bench of every) expectSame(run(bench, "spike_conv_i16", convolve(l)).flatMap((y) => Array.from(y)), want, `${bench.loaded.build} ${taps} taps, density ${density}`);
      }
    }
  });

  it("agrees to the bit for every number of output channels and any split", () => {
    for (const N of [1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 45, 63, 64, 65, 80, 130]) {
      for (const taps of [1, 9] as const) expectAgreement(all, "spike_conv_i16", convolve(layer(17, N, taps, 0.5, N % 3)), { twin: 0 });
    }
  });

  it("agrees to the bit for every number of input channels, where taps go in groups and where one alone is more than the cache holds", () => {
    for (const K of SIZES) for (const density of DENSITIES) expectAgreement(all, "spike_conv_i16", convolve(layer(K, 33, 9, density)), { twin: 0 });
  });

  it("agrees to the bit however many taps are summed together, in groups that they divide or not", () => {
    for (const K of [4, 30, 100, 300]) {
      for (const together of [2, 3, 4, 9]) for (const density of DENSITIES) expectAgreement(all, "spike_conv_i16", convolve(layer(K, 33, 9, density, 0, together)), { twin: 0 });
    }
  });

  it("is exact up to its reach: sums of 32767 and of -32767 in every tap", () => {
    const K = 31, s = new Uint8Array(pixels * K).fill(7), w = Int16Array.from({ length: 2 * 9 * K }, (_, i) => (i < 9 * K ? 151 : -151)), l: Layer = { s, K, N: 2, taps: 9, w, gap: 0, together: 1 };
    for (const bench of every) {
      const y = run(bench, "spike_conv_i16", convolve(l));
      expectSame(y[W + 1], [9 * 32767, -9 * 32767], bench.loaded.build);
    }
  });
});

describe("the reach of int16 weights", () => {
  const reach = (w: Int16Array, N: number, taps: number, K: number): Setup => (bench) => { const out = bench.ints(N); return { n: N, args: [bench.bytes(place(w)), out, taps, K], writes: [ints(out, N)] }; };

  it("is the largest sum of magnitudes of a tap, alike in every build, at every size and split", () => {
    for (const K of SIZES) expectAgreement(all, "spike_conv_i16_reach", reach(Int16Array.from(values(5 * 3 * K, 2), (v) => v * 32767), 5, 3, K), { twin: 0 });
    const w = Int16Array.of(1, -2, 3, 4, 0, 0, -32768, 32767, 0, 0, -1, 1);
    for (const bench of every) expectSame(run(bench, "spike_conv_i16_reach", reach(w, 2, 3, 2))[0], [7, 65535], bench.loaded.build);
  });

  it("tells which weights would overflow: one more than it allows gives a wrong sum", () => {
    const K = 31, s = new Uint8Array(pixels * K).fill(7), w = new Int16Array(K).fill(151), l: Layer = { s, K, N: 1, taps: 1, w, gap: 0, together: 1 };
    for (const extra of [0, 1]) {
      w[0] = 151 + extra;
      const fits = 7 * run(plain, "spike_conv_i16_reach", reach(w, 1, 1, K))[0][0] <= 32767;
      expect(fits).toBe(extra === 0);
      for (const bench of fast) expect(run(bench, "spike_conv_i16", convolve(l))[0][0] === dense(l)[0], bench.loaded.build).toBe(fits);
    }
  });
});

describe("packing", () => {
  it("is the same for any split of its blocks", () => {
    for (const N of [1, 64, 65, 200]) {
      for (const bench of [...fast, plain]) {
        expectSplits(bench, "spike_conv_i16_pack", (b) => {
          const blocks = Math.ceil(N / 64), size = blocks * 64 * 9 * 5, packed = b.bytes(2 * size);
          return { n: blocks, args: [b.bytes(place(Int16Array.from(values(N * 9 * 5), (v) => v * 999))), packed, N, 9, 5], writes: [shorts(packed, size)] };
        });
      }
    }
  });
});
