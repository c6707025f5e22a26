/** The weight gradient of spikes: lists by channel, blocks of dy, and their product against the definition. */
import { beforeAll, describe, expect, test } from "vitest";
import { BAND, LISTED } from "../../kernels/signatures.ts";
import { expectAgreement, expectSame, expectSplits, ints, reals, run, shorts, type Setup } from "./agreement.ts";
import { benches, values, type Workbench } from "./harness.ts";
import { listed, spikeBytes, table3x3 } from "./spikes.ts";

let builds: { fast: Workbench[]; plain: Workbench; twin: Workbench };
beforeAll(async () => { builds = await benches(); });

/** The transposed table of a symmetric 3x3 window is the table with its taps reversed. */
const transposed3x3 = (H: number, W: number): Int32Array => {
  const table = table3x3(H, W), P = H * W;
  return Int32Array.from(table, (_, i) => table[(8 - Math.floor(i / P)) * P + (i % P)]);
};


const listing = (s: Uint8Array, [B, H, W, C]: readonly number[], halo: number, step = 1, top = 0, left = 0): Setup => (bench) => {
  const Hp = Math.ceil((H - top) / step) + halo, Wp = Math.ceil((W - left) / step) + halo, bands = Math.ceil((B * Hp * Wp) / BAND), size = bands * LISTED * C;
  const events = bench.bytes(new Uint8Array(2 * size)), spans = bench.ints(2 * bands * C);
  return { n: bands, args: [bench.bytes(s), events, spans, B, H, W, C, Hp, Wp, step, top, left], writes: [shorts(events, size), ints(spans, 2 * bands * C)] };
};

describe("events by channel", () => {
  for (const shape of [[1, 1, 1, 1], [2, 3, 5, 3], [2, 8, 16, 17], [3, 17, 16, 5], [1, 1, 300, 32], [1, 15, 16, 1000]] as const) {
    for (const halo of [0, 2, 6]) {
      test(`of ${shape} in a halo of ${halo} are those that a plain loop finds, at every density and split`, () => {
        const [B, H, W, C] = shape, Hp = H + halo, Wp = W + halo;
        for (const density of [0, 0.01, 0.5, 1]) {
          const s = spikeBytes(B * H * W * C, density), want: number[][] = Array.from({ length: Math.ceil((B * Hp * Wp) / BAND) * C }, () => []);
          for (let p = 0; p < B * H * W; p++) {
            const place = (Math.floor(p / W / H) * Hp + Math.floor(p / W) % H) * Wp + p % W, band = Math.floor(place / BAND);
            for (let c = 0; c < C; c++) if (s[p * C + c] & 15) want[band * C + c].push(place % BAND << 4 | (s[p * C + c] & 15));
          }
          for (const bench of [...builds.fast, builds.plain]) {
            const [events, spans] = run(bench, "spike_channel_events", listing(s, shape, halo));
            expect(listed(events, spans), bench.loaded.build).toEqual(want);
            expectSplits(bench, "spike_channel_events", listing(s, shape, halo));
          }
        }
      });
    }
  }
});

describe("events by channel of every other pixel", () => {
  for (const [B, H, W, C] of [[2, 8, 16, 17], [3, 17, 16, 5], [1, 31, 37, 32]]) for (const step of [2, 3]) test(`of ${[B, H, W, C]}, every ${step}th in either direction, are those that a plain loop finds, from every first one`, () => {
    for (let top = 0; top < step; top++) for (let left = 0; left < step; left++) for (const density of [0.01, 0.5, 1]) {
      const s = spikeBytes(B * H * W * C, density), Hp = Math.ceil((H - top) / step) + 1, Wp = Math.ceil((W - left) / step) + 1;
      const want: number[][] = Array.from({ length: Math.ceil((B * Hp * Wp) / BAND) * C }, () => []);
      for (let b = 0; b < B; b++) for (let y = top; y < H; y += step) for (let x = left; x < W; x += step) for (let c = 0; c < C; c++) {
        const place = (b * Hp + (y - top) / step) * Wp + (x - left) / step, value = s[((b * H + y) * W + x) * C + c] & 15;
        if (value) want[Math.floor(place / BAND) * C + c].push(place % BAND << 4 | value);
      }
      for (const bench of [...builds.fast, builds.plain]) {
        const [events, spans] = run(bench, "spike_channel_events", listing(s, [B, H, W, C], 1, step, top, left));
        expect(listed(events, spans), bench.loaded.build).toEqual(want);
        expectSplits(bench, "spike_channel_events", listing(s, [B, H, W, C], 1, step, top, left));
      }
    }
  });
});

describe("spike weight gradient", () => {
  for (const density of [0, 0.01, 0.5, 1]) {
    for (const [H, W, C] of [[1, 1, 1], [3, 5, 3], [8, 16, 17], [17, 16, 5]] as const) {
      for (const N of [1, 5, 8, 9, 33]) {
        for (const way of ["1x1", "3x3 with a table", "3x3 in a halo", "3x3 among 25 taps"] as const) {
          test(`dw of ${H}x${W}x${C} -> ${N}, ${way}, at density ${density} is the sum that defines it`, () => {
            const B = 2, taps = way === "1x1" ? 1 : 9, tabled = way === "3x3 with a table", grow = way === "3x3 in a halo" || way === "3x3 among 25 taps" ? 2 : 0;
            const [all, top, step, line] = way === "3x3 among 25 taps" ? [25, 1, 2, 7] : [taps, 0, 1, 3], toOf = (tap: number): number => top + Math.floor(tap / 3) * line + (tap % 3) * step;
            const Hp = H + grow, Wp = W + grow, places = B * Hp * Wp, bands = Math.ceil(places / BAND), edge = grow / 2;
            const one = transposed3x3(H, W), P = H * W, table = Int32Array.from({ length: 9 * B * P }, (_, i) => {
              const tap = Math.floor(i / (B * P)), b = Math.floor(i / P) % B, p = one[tap * P + (i % P)];
              return p < 0 ? -1 : b * P + p;
            });
            const s = spikeBytes(B * P * C, density), dy = values(B * P * N, 9);
            const setup = (bench: Workbench) => {
              bench.clear();
              const events = bench.bytes(2 * bands * LISTED * C), spans = bench.ints(2 * bands * C), blocks = bench.real(Math.ceil(N / 32) * 32 * places);
              bench.kernels.spike_channel_events(bands, bench.bytes(s), events, spans, B, H, W, C, Hp, Wp, 1, 0, 0);
              bench.kernels.spike_gradient_blocks(B * Hp, bench.real(dy), blocks, B, H, W, N, Hp, Wp, edge, edge);
              const size = Math.ceil(N / 32) * 32 * all * C, dwt = bench.real(size);
              return { n: Math.ceil(N / 32) * C, args: [events, spans, tabled ? bench.ints(table) : 0, places, places, taps, taps === 9 ? 3 : 1, Wp, C, blocks, dwt, N, all, top, step, line], writes: [reals(dwt, size)] };
            };
            const most = 15 * B * P * 2 ** -23;
            expectAgreement(builds, "spike_weight_grad", setup, { fast: most, twin: most, scale: 15 });
            const [got] = run(builds.twin, "spike_weight_grad", setup);
            for (let tap = 0; tap < taps; tap++) for (let k = 0; k < C; k++) for (let j = 0; j < N; j++) {
              let sum = 0;
              for (let q = 0; q < B * P; q++) {
                const p = taps === 1 ? q : table[tap * B * P + q];
                if (p >= 0) sum += (s[q * C + k] & 15) * dy[p * N + j];
              }
              expect(got[(j - j % 32) * all * C + (toOf(tap) * C + k) * 32 + j % 32]).toBeCloseTo(sum, 9);
            }
          });
        }
      }
    }
  }

  test("dy in blocks holds every column once, and zeros around the image and past the last column", () => {
    const [B, H, W, N] = [2, 3, 2, 37], dy = values(B * H * W * N, 3);
    for (const [Hp, Wp, top, left] of [[H, W, 0, 0], [H + 2, W + 2, 1, 1], [H + 6, W + 4, 5, 0]]) {
      const places = B * Hp * Wp, setup: Setup = (bench) => {
        const blocks = bench.real(64 * places);
        return { n: B * Hp, args: [bench.real(dy), blocks, B, H, W, N, Hp, Wp, top, left], writes: [reals(blocks, 64 * places)] };
      };
      expectAgreement(builds, "spike_gradient_blocks", setup);
      const want = new Float64Array(64 * places);
      for (let p = 0; p < B * H * W; p++) {
        const place = (Math.floor(p / W / H) * Hp + Math.floor(p / W) % H + top) * Wp + p % W + left;
        for (let j = 0; j < N; j++) want[(j - j % 32) * places + place * 32 + j % 32] = dy[p * N + j];
      }
      expectSame(run(builds.plain, "spike_gradient_blocks", setup)[0], want, `${Hp} x ${Wp}`);
    }
  });
});
