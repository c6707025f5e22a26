import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { energy, type EnergyLayer } from "../../detection/energy.ts";

const fixture = JSON.parse(readFileSync(new URL("../fixtures/energy-sheet.json", import.meta.url), "utf8"));
const layers = (fixture.rows as [string | null, number, number, number][])
  .map(([neuron, macs, rate]): EnergyLayer => ({ name: neuron ?? "first", macs, rate, kind: neuron ? "accumulate" : "mac" }));

describe("energy", () => {
  test("the sheet's way gives the published 34.49 mJ, row by row", () => {
    const report = energy(layers, "sheet");
    for (const [i, [, , , picojoules]] of fixture.rows.entries()) expect(Math.abs(report.layers[i].picojoules / picojoules - 1)).toBeLessThan(1e-12);
    expect(report.millijoules).toBeCloseTo(fixture.totals.snn_mJ, 9);
    expect(report.millijoules).toBeCloseTo(34.4893704192, 9);
    expect(report.macs).toBe(fixture.totals.macs);
    expect(report.denseMillijoules).toBeCloseTo(fixture.totals.ann_mJ, 9);
  });
  test("the clean way charges the first layer in full, which gives the paper's 34.6 mJ", () => {
    const clean = energy(layers), sheet = energy(layers, "sheet");
    expect(clean.millijoules.toFixed(1)).toBe("34.6");
    expect(clean.millijoules - sheet.millijoules).toBeCloseTo(fixture.rows[0][1] * 0.1 * 4.6 / 1e9, 9);
    expect(clean.layers.slice(1)).toEqual(sheet.layers.slice(1));
  });
  test("a spike layer costs 0.9 pJ per accumulation, of which there are MACs times rate", () => {
    const { layers: [row], synapticOperations } = energy([{ name: "conv", macs: 1000, rate: 0.25, kind: "accumulate" }]);
    expect([row.synapticOperations, row.picojoules, row.densePicojoules]).toEqual([250, 225, 4600]);
    expect(synapticOperations).toBe(250);
  });
  test("a layer on real numbers costs 4.6 pJ per MAC whatever its rate, and makes no synaptic operations", () => {
    const { layers: [row] } = energy([{ name: "stem", macs: 1000, rate: NaN, kind: "mac" }]);
    expect([row.synapticOperations, row.picojoules]).toEqual([0, 4600]);
  });
  test("a silent network costs nothing, and so does no network", () => {
    expect(energy([{ name: "conv", macs: 1000, rate: 0, kind: "accumulate" }]).millijoules).toBe(0);
    expect(energy([])).toEqual({ layers: [], macs: 0, synapticOperations: 0, millijoules: 0, denseMillijoules: 0 });
  });
  test("impossible rates and counts are named", () => {
    expect(() => energy([{ name: "conv", macs: 1, rate: -0.1, kind: "accumulate" }])).toThrow("energy: expected a firing rate of 0 or more for conv, got -0.1");
    expect(() => energy([{ name: "conv", macs: 1, rate: NaN, kind: "accumulate" }])).toThrow("got NaN");
    expect(() => energy([{ name: "conv", macs: Infinity, rate: 1, kind: "mac" }])).toThrow("energy: expected a number of MACs for conv, got Infinity");
  });
});
