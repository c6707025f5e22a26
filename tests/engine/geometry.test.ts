/** Tables of convolutions: kept for the next step, and not for ever. */
import { beforeAll, expect, it } from "vitest";
import { loadKernels, scope, withHost, type Host } from "../../engine/index.ts";
import { geometryOf, inputTable, outputTable, outputTableByPhase, type Geometry } from "../../engine/ops/geometry.ts";

const MB = 1 << 20;
let kernels: Host;
beforeAll(async () => { kernels = await loadKernels({ build: "simd", threads: 1 }); });
const test = (name: string, run: () => void): void => it(name, () => withHost(kernels, () => scope(run)));

/** A 3 x 3 convolution of a picture of one channel. */
const of = (H: number, W: number): Geometry => geometryOf([1, H, W, 1], [1, 3, 3, 1], [1, H, W, 1], { stride: 1, padding: 1, dilation: 1, groups: 1 });
const read = (pointer: number, n: number): number[] => Array.from(new Int32Array(kernels.memory.wasm.buffer, pointer, n));
/** Which pixel each output sees through the upper left tap. */
const upperLeft = (H: number, W: number): number[] => Array.from({ length: H * W }, (_, p) => (p < W || p % W === 0 ? -1 : p - W - 1));

test("the tables of one network are made once", () => {
  const network = [of(8, 8), of(16, 8), of(4, 4)], made = network.map((g) => [inputTable(g), outputTable(g)]);
  expect(network.map((g) => [inputTable(g), outputTable(g)])).toEqual(made);
});

test("tables of ever new sizes take 128 MB and a little, not more", () => {
  const before = kernels.memory.reserved;
  for (let W = 300; W < 360; W++) expect(read(inputTable(of(400, W)), 2 * W)).toEqual(upperLeft(400, W).slice(0, 2 * W)); // 4 to 5 MB each
  expect(kernels.memory.reserved - before).toBeLessThan(150 * MB);
});

test("a table that had to go is made again, and right", () => {
  expect(read(inputTable(of(5, 7)), 35)).toEqual(upperLeft(5, 7));
  for (let W = 300; W < 340; W++) inputTable(of(400, W));
  expect(read(inputTable(of(5, 7)), 35)).toEqual(upperLeft(5, 7));
});

test("a table that is in use does not go", () => {
  const used = inputTable(of(6, 6));
  for (let W = 300; W < 340; W++) {
    inputTable(of(400, W));
    expect(inputTable(of(6, 6))).toBe(used);
  }
});

test("the table by phase is the plain one with the pixels of a phase side by side", () => {
  const g = geometryOf([2, 5, 6, 1], [1, 3, 3, 1], [2, 3, 3, 1], { stride: 2, padding: 1, dilation: 1, groups: 1 }), P = g.inputPixels;
  const plain = read(outputTable(g), 9 * P), { places, table } = outputTableByPhase(g), place = read(places, P), sorted = read(table, 9 * P);
  expect([...place].sort((a, b) => a - b)).toEqual(Array.from({ length: P }, (_, p) => p));
  for (let tap = 0; tap < 9; tap++) for (let p = 0; p < P; p++) expect(sorted[tap * P + place[p]]).toBe(plain[tap * P + p]);
  const phase = (p: number): number => 2 * (Math.floor((p % 30) / 6) % 2) + (p % 2);
  const inOrder = Array.from({ length: P }, (_, p) => p).sort((a, b) => place[a] - place[b]).map(phase);
  expect(inOrder).toEqual([...inOrder].sort());
  expect(inOrder.filter((f) => f === 0).length).toBe(18);
});
