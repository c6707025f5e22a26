/** The weight gradient of spikes: lists by channel, blocks of dy, and their product against the definition. */
import { beforeAll, describe, expect, test } from "vitest";
import { bytes, expectAgreement, ints, reals, run } from "./agreement.ts";
import { benches, values, type Workbench } from "./harness.ts";
import { spikeBytes, table3x3 } from "./spikes.ts";

let builds: { fast: Workbench[]; plain: Workbench; twin: Workbench };
beforeAll(async () => { builds = await benches(); });

/** The transposed table of a symmetric 3x3 window is the table with its taps reversed. */
const transposed3x3 = (H: number, W: number): Int32Array => {
  const table = table3x3(H, W), P = H * W;
  return Int32Array.from(table, (_, i) => table[(8 - Math.floor(i / P)) * P + (i % P)]);
};

describe("spike weight gradient", () => {
  for (const density of [0, 0.01, 0.5, 1]) {
    for (const [H, W, C] of [[1, 1, 1], [3, 5, 3], [8, 16, 17], [17, 16, 5]] as const) {
      test(`events by channel of ${H}x${W}x${C} at density ${density} are those that a plain loop finds`, () => {
        const pixels = H * W, bands = Math.ceil(pixels / 128), s = spikeBytes(pixels * C, density);
        expectAgreement({ fast: builds.fast, plain: builds.plain }, "spike_channel_events", (bench) => {
          const events = bench.bytes(2 * bands * 128 * C), counts = bench.ints(bands * C);
          return { n: bands, args: [bench.bytes(s), events, counts, pixels, C], writes: [bytes(events, 2 * bands * 128 * C), ints(counts, bands * C)] };
        });
      });

      for (const N of [1, 5, 8, 33]) {
        for (const taps of [1, 9]) {
          test(`dw of ${H}x${W}x${C} -> ${N}, ${taps} taps, at density ${density} is the sum that defines it`, () => {
            const pixels = H * W, bands = Math.ceil(pixels / 128), s = spikeBytes(pixels * C, density), dy = values(pixels * N, 9), table = transposed3x3(H, W);
            const setup = (bench: Workbench) => {
              bench.clear();
              const events = bench.bytes(2 * bands * 128 * C), counts = bench.ints(bands * C), blocks = bench.real(Math.ceil(N / 32) * 32 * pixels);
              bench.kernels.spike_channel_events(bands, bench.bytes(s), events, counts, pixels, C);
              bench.kernels.spike_gradient_blocks(pixels, bench.real(dy), blocks, pixels, N);
              const dwt = bench.real(taps * C * N);
              return { n: C, args: [events, counts, taps === 9 ? bench.ints(table) : 0, pixels, pixels, taps, C, blocks, dwt, N], writes: [reals(dwt, taps * C * N)] };
            };
            const most = 15 * pixels * 2 ** -23;
            expectAgreement(builds, "spike_weight_grad", setup, { fast: most, twin: most, scale: 15 });
            const [got] = run(builds.twin, "spike_weight_grad", setup);
            for (let tap = 0; tap < taps; tap++) for (let k = 0; k < C; k++) for (let j = 0; j < N; j++) {
              let sum = 0;
              for (let q = 0; q < pixels; q++) {
                const p = taps === 1 ? q : table[tap * pixels + q];
                if (p >= 0) sum += (s[q * C + k] & 15) * dy[p * N + j];
              }
              expect(got[(tap * C + k) * N + j]).toBeCloseTo(sum, 9);
            }
          });
        }
      }
    }
  }

  test("dy in blocks holds every column once, and zeros past the last", () => {
    const pixels = 7, N = 37, dy = values(pixels * N, 3);
    expectAgreement(builds, "spike_gradient_blocks", (bench) => {
      const blocks = bench.real(64 * pixels);
      return { n: pixels, args: [bench.real(dy), blocks, pixels, N], writes: [reals(blocks, 64 * pixels)] };
    });
    const [got] = run(builds.plain, "spike_gradient_blocks", (bench) => {
      const blocks = bench.real(64 * pixels);
      return { n: pixels, args: [bench.real(dy), blocks, pixels, N], writes: [reals(blocks, 64 * pixels)] };
    });
    expect(got[32 * pixels + 3 * 32 + 4]).toBe(dy[3 * N + 36]);
    expect(got[32 * pixels + 3 * 32 + 5]).toBe(0);
  });
});
