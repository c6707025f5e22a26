import { describe, it } from "vitest";
import { bytes, expectAgreement, expectSame, expectSplits, ints, run, type Setup } from "./agreement.ts";
import { SIZES, benches, values } from "./harness.ts";
import { spikeBytes, table3x3 } from "./spikes.ts";

const all = await benches();
const { fast, plain, twin } = all;
const every = [...fast, plain, twin];
const H = 4, W = 5;

/** x [pixels][K] in rows of ldx bytes, weights [N][taps][K]. */
interface Layer { x: Uint8Array; K: number; N: number; taps: 1 | 9; w: Int8Array; D: number; pixels: number; gap: number }

const upTo = (D: number, size: number): Uint8Array => Uint8Array.from(values(size, 3), (v) => Math.floor(((v + 1) / 2) * (D + 1)));
const weights = (size: number): Int8Array => Int8Array.from(values(size, 5), (v) => Math.floor(v * 128));

function layer(K: number, N: number, taps: 1 | 9, { D = 15, pixels = H * W, gap = 0, x = upTo(D, pixels * (K + gap)), w = weights(N * taps * K) }: Partial<Layer> = {}): Layer {
  return { x, K, N, taps, w, D, pixels, gap };
}

const convolve = ({ x, K, N, taps, w, D, pixels, gap }: Layer): Setup => (bench) => {
  const panels = Math.ceil(N / 8), packed = bench.bytes(panels * 8 * taps * Math.ceil(K / 4) * 4), ldy = N + gap, y = bench.ints(pixels * ldy);
  bench.kernels.dot_i8_pack(panels, bench.bytes(new Uint8Array(w.buffer)), packed, N, taps, K);
  const table = taps === 9 ? bench.ints(table3x3(H, W)) : 0;
  return { n: pixels, args: [bench.bytes(x), K + gap, table, pixels, taps, K, packed, D, y, ldy, N], writes: Array.from({ length: pixels }, (_, p) => ints(y + 4 * p * ldy, N)) };
};

/** What every pixel should be, tap by tap, by multiplying whole images. */
function expected({ x, K, N, taps, w, pixels, gap }: Layer): number[] {
  const table = taps === 9 ? table3x3(H, W) : Int32Array.from({ length: pixels }, (_, p) => p), y = new Array<number>(pixels * N).fill(0);
  table.forEach((row, i) => {
    const tap = Math.floor(i / pixels), p = i % pixels;
    if (row >= 0) for (let k = 0; k < K; k++) for (let j = 0; j < N; j++) y[p * N + j] += x[row * (K + gap) + k] * w[(j * taps + tap) * K + k];
  });
  return y;
}

/** The twin takes part too: integers are the same in float64. */
function expectConvolution(l: Layer): void {
  expectAgreement(all, "dot_i8", convolve(l), { twin: 0 });
}

describe("the values of spikes", () => {
  it("are their bytes without the window bit, alike in every build, at every size and split", () => {
    for (const n of SIZES) {
      const s = spikeBytes(n, 0.6), setup: Setup = (bench) => { const y = bench.bytes(n); return { n, args: [bench.bytes(s), y], writes: [bytes(y, n)] }; };
      expectAgreement(all, "spike_values", setup, { twin: 0 });
      for (const bench of every) expectSame(run(bench, "spike_values", setup)[0], Array.from(s, (byte) => byte & 15), bench.loaded.build);
    }
  });
});

describe("int8 convolution", () => {
  it("is the sum of value times weight, 1x1 and 3x3, in every build", () => {
    for (const taps of [1, 9] as const) {
      const l = layer(20, 9, taps), want = expected(l);
      for (const bench of every) expectSame(run(bench, "dot_i8", convolve(l)).flatMap((y) => Array.from(y)), want, `${bench.loaded.build} ${taps} taps`);
    }
  });

  it("agrees to the bit for every number of input channels and any split", () => {
    for (const K of SIZES) for (const taps of [1, 9] as const) expectConvolution(layer(K, 9, taps, { gap: K % 3 }));
  });

  it("agrees to the bit for every number of output channels", () => {
    for (const N of [1, 3, 4, 5, 7, 8, 17, 64]) for (const taps of [1, 9] as const) expectConvolution(layer(17, N, taps, { gap: N % 2 }));
  });

  it("agrees to the bit for every number of pixels", () => {
    for (const pixels of SIZES) expectConvolution(layer(5, 3, 1, { pixels }));
  });

  it("is exact where all weights are the largest and all values are D, for any D up to 127", () => {
    for (const D of [1, 2, 3, 4, 8, 15, 16, 42, 43, 63, 64, 127]) {
      for (const weight of [-128, 127]) {
        for (const K of [1, 4, 30, 300, 1000]) {
          const l = layer(K, 3, 9, { D, x: new Uint8Array(H * W * K).fill(D), w: new Int8Array(3 * 9 * K).fill(weight) }), middle = W + 1;
          for (const bench of every) {
            const y = run(bench, "dot_i8", convolve(l));
            expectSame(y[middle], new Array(3).fill(9 * K * D * weight), `${bench.loaded.build} D=${D} K=${K}`);
            expectSame(y[0], new Array(3).fill(4 * K * D * weight), `${bench.loaded.build} D=${D} K=${K}, corner`);
          }
        }
      }
    }
  });

  it("gives zero where every tap sees padding", () => {
    const l = layer(7, 5, 9);
    for (const bench of every) {
      const outside: Setup = (b) => { const call = convolve(l)(b), args = [...call.args]; args[2] = b.ints(new Int32Array(9 * l.pixels).fill(-1)); return { ...call, args }; };
      for (const y of run(bench, "dot_i8", outside)) expectSame(y, [0, 0, 0, 0, 0], bench.loaded.build);
    }
  });

  it("packs the same for any split of its panels", () => {
    for (const N of [1, 8, 9, 40]) {
      for (const K of [1, 4, 7]) {
        for (const bench of [...fast, plain]) {
          expectSplits(bench, "dot_i8_pack", (b) => {
            const panels = Math.ceil(N / 8), size = panels * 8 * 9 * Math.ceil(K / 4) * 4, packed = b.bytes(size);
            return { n: panels, args: [b.bytes(new Uint8Array(weights(N * 9 * K).buffer)), packed, N, 9, K], writes: [bytes(packed, size)] };
          });
        }
      }
    }
  });
});
