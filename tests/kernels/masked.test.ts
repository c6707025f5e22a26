/** The input gradient of 1x1 convolutions through open windows: products where they are open, zeros elsewhere. */
import { beforeAll, expect, test } from "vitest";
import { expectAgreement, reals, run, type Setup } from "./agreement.ts";
import { benches, SIZES, values, type Workbench } from "./harness.ts";
import { spikeBytes } from "./spikes.ts";

let builds: { fast: Workbench[]; plain: Workbench; twin: Workbench };
beforeAll(async () => { builds = await benches(); });

interface Case { P: number; C: number; N: number; s: Uint8Array; dy?: Float64Array; wt?: Float64Array }
const masked = ({ P, C, N, s, dy = values(P * N, 4), wt = values(C * N, 5) }: Case): Setup => (bench) => {
  const dx = bench.real(P * C);
  return { n: P, args: [bench.bytes(s), bench.real(dy), bench.real(wt), dx, C, N], writes: [reals(dx, P * C)] };
};
const windows = (size: number, open: number): Uint8Array => values(size, 7).reduce((bytes, dice, i) => { if ((dice + 1) / 2 < open) bytes[i] |= 16; return bytes; }, spikeBytes(size, 0.5).map((byte) => byte & 15));

const shapes = [
  ...SIZES.map((P) => [P, 17, 5]), ...SIZES.map((C) => [5, C, 7]), ...SIZES.map((N) => [5, 7, N]), // one of them at a time
  [33, 64, 64], [40, 80, 300], [3, 130, 1], [65, 31, 33], // blocks of pixels and of channels, and what is left over
];
test.each(shapes)("of %i pixels, %i channels and %i outputs agree in every build, at any share of open windows", (P, C, N) => {
  for (const open of [0, 0.1, 0.5, 1]) expectAgreement(builds, "f32_gemm_masked", masked({ P, C, N, s: windows(P * C, open) }), { fast: 2e-6, twin: 2e-6, scale: 1 });
});

test("a closed window keeps everything out, NaN and infinity too, and an open one lets it in", () => {
  const P = 6, C = 21, N = 9, s = windows(P * C, 0.4), dy = values(P * N, 1);
  dy.set([NaN, Infinity], 2 * N);
  for (const bench of [...builds.fast, builds.plain]) {
    const [dx] = run(bench, "f32_gemm_masked", masked({ P, C, N, s, dy }));
    s.forEach((byte, i) => {
      if (!(byte & 16)) expect(dx[i], `${i}`).toBe(0);
      else expect(Number.isNaN(dx[i]), `${i}`).toBe(Math.floor(i / C) === 2);
    });
  }
});

test("a window that is taken for a value would be found", () => {
  const s = Uint8Array.of(16, 3, 0, 19), dy = Float64Array.of(2), wt = Float64Array.of(1, 10, 100, 1000);
  for (const bench of [...builds.fast, builds.plain]) expect(Array.from(run(bench, "f32_gemm_masked", masked({ P: 1, C: 4, N: 1, s, dy, wt }))[0])).toEqual([2, 0, 0, 2000]);
});
