/** The sparsity lab: the spikes that it makes, kernels that agree on them, and the command as people meet it. */
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Desk } from "../../bench/desk.ts";
import { layKernels, nameOf, square, type Layer } from "../../bench/lab/layer.ts";
import { labOptions } from "../../bench/lab/options.ts";
import { patterns, spikeBytes } from "../../bench/lab/patterns.ts";
import { higher, leastMs } from "../../bench/lab/roofline.ts";

vi.setConfig({ testTimeout: 180_000, hookTimeout: 300_000 });

describe("synthetic spikes", () => {
  const frames = { B: 2, H: 20, W: 24, C: 32 }, picture = 20 * 24 * 32;
  test("have the density asked for, to one element in each picture, and values 1..D", () => {
    for (const pattern of patterns) for (const density of [0, 0.005, 0.1, 0.5, 1]) for (const D of [1, 4]) {
      const bytes = spikeBytes(frames, { pattern, density, D });
      for (const b of [0, 1]) expect(bytes.subarray(b * picture, (b + 1) * picture).filter(Boolean).length, `${pattern} ${density}`).toBe(Math.round(density * picture));
      expect(Math.max(...bytes)).toBe(density === 0 ? 0 : D);
    }
  });

  test("in clusters leave most pixels silent, and those that fire lie side by side", () => {
    const firing = (pattern: "uniform" | "clustered"): boolean[] => {
      const bytes = spikeBytes({ ...frames, B: 1 }, { pattern, density: 0.04, D: 4 });
      return Array.from({ length: 20 * 24 }, (_, p) => bytes.subarray(32 * p, 32 * (p + 1)).some(Boolean));
    };
    const share = (pixels: boolean[]): number => pixels.filter(Boolean).length / pixels.length;
    /** Of firing pixels, how many have a neighbour on the right that fires. */
    const together = (pixels: boolean[]): number => pixels.filter((fires, p) => fires && p % 24 < 23 && pixels[p + 1]).length / pixels.filter(Boolean).length;
    expect(share(firing("uniform"))).toBeGreaterThan(0.6);
    expect(share(firing("clustered"))).toBeLessThan(0.21);
    expect(together(firing("clustered"))).toBeGreaterThan(2 * share(firing("clustered")));
  });

  test("are the same from the same seed, and others from another", () => {
    const of = (seed: number): number[] => [...spikeBytes(frames, { pattern: "clustered", density: 0.1, D: 4, seed })];
    expect(of(1)).toEqual(of(1));
    expect(of(1)).not.toEqual(of(2));
  });
});

describe("kernels on a desk", () => {
  const LAYERS: Layer[] = [square(7, 20, 35, 3), square(6, 17, 40, 1), { ...square(9, 16, 24, 3), B: 2, stride: 2 }, { B: 1, H: 5, W: 8, C: 12, N: 3, k: 1, stride: 1, padding: 1 }];

  test("give the same bits as the dense ones, at every density, pattern, stride and padding, in whole sums", async () => {
    for (const layer of LAYERS) for (const D of [1, 4]) {
      const desk = await Desk.of({ threads: 1 }), laid = layKernels(desk, layer, D);
      for (const pattern of patterns) for (const density of [0, 0.02, 0.5, 1]) {
        laid.set(spikeBytes(layer, { pattern, density, D }));
        laid.expectAgreement();
        const result = laid.kernels.find(({ name }) => name === "sparse f32")!.result();
        expect(result.some(Boolean)).toBe(density > 0);
        expect(result.every(Number.isInteger)).toBe(true);
      }
      const names = laid.kernels.map(({ name }) => name);
      expect(names).toEqual(expect.arrayContaining(["dense f32", "dense i8", "sparse f32", "sparse i16"]));
      expect([names.includes("sparse i16, 3 taps at once"), names.includes("dW sparse f32")]).toEqual([layer.k === 3, layer.stride === 1 && 2 * layer.padding === layer.k - 1]);
    }
  });

  test("that left other bits would be found", async () => {
    const desk = await Desk.of({ threads: 1 }), laid = layKernels(desk, square(5, 16, 16, 3), 4), [dense] = laid.kernels;
    laid.set(spikeBytes({ B: 1, H: 5, W: 5, C: 16 }, { pattern: "uniform", density: 0.3, D: 4 }));
    (laid.kernels as { name: string }[]).push({ ...dense, name: "planted", result: () => dense.result().map((value, i) => (i === 7 ? value + 1 : value)) } as never);
    expect(() => laid.expectAgreement()).toThrow(/^bench: planted gives -?\d+ at 7, dense f32 gives -?\d+$/);
  });

  test("count operations one by one: an event for each output channel and each tap that leads into the picture", async () => {
    const desk = await Desk.of({ threads: 1 }), layer = square(4, 8, 5, 3), laid = layKernels(desk, layer, 4), bytes = new Uint8Array(4 * 4 * 8);
    bytes[0] = 3;                   // the corner is seen by 4 outputs
    bytes[(1 * 4 + 2) * 8 + 5] = 1; // the inside by 9
    laid.set(bytes);
    const operations = Object.fromEntries(laid.kernels.map((kernel) => [kernel.name, kernel.operations()]));
    expect(operations["sparse f32"]).toBe(2 * 5 * (4 + 9));
    expect(operations["dW sparse f32"]).toBe(operations["sparse f32"]);
    expect(operations["dense f32"]).toBe(2 * 5 * 16 * 8 * 9);
  });

  test("stand under the lower of two roofs", () => {
    const roofs = { peak: { f32: 50, i16: 80, i8: 160 }, copy: 10 };
    expect(leastMs(roofs, { arithmetic: "f32", operations: 1e8, bytes: 1e6 })).toBeCloseTo(2);  // 100 Mop at 50 Gop/s
    expect(leastMs(roofs, { arithmetic: "i8", operations: 1e8, bytes: 1e6 })).toBeCloseTo(0.625);
    expect(leastMs(roofs, { arithmetic: "f32", operations: 1e6, bytes: 1e8 })).toBeCloseTo(10); // 100 MB at 10 GB/s
    expect(higher(roofs, { peak: { f32: 60, i16: 70, i8: 160 }, copy: 9 })).toEqual({ peak: { f32: 60, i16: 80, i8: 160 }, copy: 10 });
  });
});

describe("its options", () => {
  test("are quick, and key=value", () => {
    expect(labOptions([])).toEqual({ quick: false, pictures: 8, threads: 1 });
    expect(labOptions(["quick", "spikes=runs/a=b", "pictures=2", "threads=2", "picture=a.svg"])).toEqual({ quick: true, spikes: "runs/a=b", pictures: 2, threads: 2, picture: "a.svg" });
  });
  test.each([
    [["spike=x"], 'sparsity: expected quick, or one of spikes=..., pictures=..., threads=..., picture=..., got "spike=x"; did you mean spikes=...?'],
    [["slow"], 'sparsity: expected quick, or one of spikes=..., pictures=..., threads=..., picture=..., got "slow"'],
    [["quick=1"], 'got "quick=1"; did you mean quick?'],
    [["threads=0"], "sparsity: threads is 0, expected a whole number from 1 to 64"],
    [["quick", "quick"], "sparsity: quick is given twice; keep one"],
    [["spikes="], "sparsity: spikes is empty, expected a path"],
    [["pictures=3"], "sparsity: pictures= belongs to spikes=RUN, whose pictures they are"],
    [["picture=a.pdf"], "picture: a.pdf ends in neither .svg nor .png; name it so, as in picture=figure.svg"],
  ])("%j is refused in one sentence", (args, sentence) => { expect(() => labOptions(args)).toThrow(sentence); });
});

describe("npm run bench -- sparsity", () => {
  const ROOT = resolve(import.meta.dirname, "../.."), room = mkdtempSync(join(tmpdir(), "spiketrain-lab-")), at = (name: string): string => join(room, name);
  const node = (...args: string[]) => promisify(execFile)(process.execPath, args, { cwd: room, maxBuffer: 1 << 26 });
  const bench = (...args: string[]) => node(join(ROOT, "dist/bench/main.js"), "sparsity", ...args);
  const resultsOf = (out: string) => JSON.parse(out.trimEnd().split("\n").at(-1)!).results;
  beforeAll(async () => { await node(join(ROOT, "cli/bootstrap.mjs"), "build"); });
  afterAll(() => { rmSync(room, { recursive: true, force: true }); });
  const drawn = existsSync(join(ROOT, "node_modules/vega-lite"));

  test("quick sweeps two layers over patterns, values and densities, with table, JSON and figure", async () => {
    const { stdout } = await bench("quick", ...(drawn ? [`picture=${at("s.svg")}`] : [])), { roofs, rows } = resultsOf(stdout);
    expect(rows).toHaveLength(2 * 2 * 2 * 3);
    expect(new Set(rows.map((row: { pattern: string; D: number }) => `${row.pattern} ${row.D}`)).size).toBe(4);
    for (const { kernels } of rows) {
      expect(kernels["dense f32"].times).toBe(1);
      for (const { ms, times, operations, gops } of Object.values<{ ms: number; times: number; operations: number; gops: number }>(kernels)) {
        expect(ms > 0 && times > 0).toBe(true);
        expect(gops).toBeCloseTo(operations / ms / 1e6, 6);
      }
    }
    for (const peak of Object.values<number>(roofs.peak)) expect(peak).toBeGreaterThan(0.1);
    expect(stdout).toMatch(/^roofs, 1 thread, Node /);
    expect(stdout.split("\n").filter((line) => line.startsWith(nameOf(square(12, 32, 32, 3))))).toHaveLength(12);
    if (drawn) expect(readFileSync(at("s.svg"), "utf8")).toContain(">1x1 32-&gt;64 @12, clustered<");
  });

  test("takes the spikes of a run: a row for each convolution of spikes, beside uniform ones of its density", async () => {
    await node(join(ROOT, "dist/cli/main.js"), "train", "train=16", "val=4", "test=4", "imgsz=64", "batch=8", "epochs=1", `out=${at("run")}`);
    await node(join(ROOT, "dist/cli/main.js"), "profile", `weights=${at("run")}`, "batch=2", `json=${at("p.json")}`);
    const { stdout } = await bench("quick", `spikes=${at("run")}`, "pictures=2", ...(drawn ? [`picture=${at("r.svg")}`] : [])), { recorded, rows } = resultsOf(stdout);
    expect(recorded).toMatch(/^SpikeYOLO tiny, T 1 x D 4, on 2 of .*, 64 x 64$/);
    // the profile of the same two pictures met the same densities
    const { layers } = JSON.parse(readFileSync(at("p.json"), "utf8"));
    const met = layers.filter((layer: { spikes?: object; kernel: string }) => layer.spikes && !layer.kernel.startsWith("depthwise")).map(({ name, spikes }: { name: string; spikes: { density: number } }) => [name, spikes.density]);
    const densities = (pattern: string) => rows.filter((row: { pattern: string }) => row.pattern === pattern).map(({ layer, density }: { layer: string; density: number }) => [layer, density]);
    expect(met.length).toBeGreaterThan(50);
    expect(densities("recorded")).toEqual(met);
    densities("uniform").forEach(([layer, density]: [string, number], i: number) => { expect([layer, density.toFixed(3)]).toEqual([met[i][0], met[i][1].toFixed(3)]); });
    if (drawn) expect(readFileSync(at("r.svg"), "utf8")).toContain("stage2.0.conv1.conv");
  });

  test("says in one sentence what it cannot do, and exits with 2", async () => {
    for (const [args, sentence] of [[["spikes=nowhere"], "checkpoint: cannot open nowhere: no such file or directory (ENOENT)"], [["fast"], "sparsity: expected quick"]] as const) {
      const failure = await bench("quick", ...args).then(() => undefined, (error: { code: number; stderr: string }) => error);
      expect(failure!.code).toBe(2);
      expect(failure!.stderr.trimEnd().split("\n")).toHaveLength(1);
      expect(failure!.stderr).toContain(sentence);
    }
  });
});
