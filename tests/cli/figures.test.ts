/** Figures as files: what a profile shows in one picture, and what is said where no picture can be. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { drawFigure, expectDrawable, expectPicture, svgOf, type Figure } from "../../cli/figures/draw.ts";
import { partsOf, profileFigure } from "../../cli/figures/profile.ts";
import { showProfile } from "../../cli/profile.ts";
import { UserError } from "../../cli/user-error.ts";
import { decodeImage } from "../../datasets/index.ts";
import { profile, SpikeYOLO, spikeYOLO, type Profile } from "../../detection/index.ts";
import { loadKernels, Random, scope } from "../../engine/index.ts";

const room = mkdtempSync(join(tmpdir(), "spiketrain-figures-"));
afterAll(() => { rmSync(room, { recursive: true, force: true }); });

const S = 64, random = new Random(1), images = { shape: [1, S, S, 3], data: Float32Array.from({ length: S * S * 3 }, () => random.uniform()) };
const caption = { title: "SpikeYOLO tiny", lines: ["noise"] };
let alive: Profile, silent: Profile;
beforeAll(async () => {
  await loadKernels({ threads: 1 });
  const model = new SpikeYOLO({ ...spikeYOLO.tiny, classes: 3, norm: { eps: 1e-3, momentum: 1 } });
  scope(() => { model.forward(images); });
  alive = profile(model, images, { turns: 1 });
  model.stage3[0].separable.expandNorm.bias.data.fill(-100);
  model.stage2[0].separable.expandNorm.bias.data.fill(100);
  silent = profile(model, images, { turns: 1 });
});

/** Words written in a figure. */
const words = (svg: string): string[] => [...svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, text]) => text);
const count = (svg: string, colour: string): number => svg.split(`fill="${colour}"`).length - 1;

/** Vega and resvg are optional packages. */
const installed = await Promise.all(["vega", "vega-lite", "@resvg/resvg-js"].map((name) => import(name) as Promise<unknown>)).then(() => true, () => false);

describe.skipIf(!installed)("the figure of a profile", () => {
  test("names every part of the network once, and has a bar for each layer of spikes and a point for each time", async () => {
    const svg = await svgOf(profileFigure(alive, caption)), said = words(svg);
    for (const part of ["stem", "stage2", "stage5", "pool5", "out5", "head"]) expect(said.filter((word) => word === part)).toHaveLength(1);
    expect(partsOf(alive.layers).map(({ part }) => part).filter((part) => !said.includes(part))).toEqual([]);
    const spiking = alive.layers.filter(({ spikes }) => spikes), choosing = alive.layers.filter(({ milliseconds }) => milliseconds.dense !== undefined);
    expect(count(svg, "#56B4E9")).toBe(spiking.length + 1);                       // and its entry in the legend
    expect(count(svg, "#D55E00")).toBe(choosing.length + 1);
    expect(count(svg, "#0072B2")).toBe(spiking.length + choosing.length + 2);     // densities and sparse times
    expect(count(svg, "#8A8A8A")).toBe(alive.layers.length - choosing.length + 1);
    expect(said).not.toContain("dead");
  });

  test("marks dead and saturated layers, as the table does", async () => {
    const said = words(await svgOf(profileFigure(silent, caption))), states = silent.layers.map(({ spikes }) => spikes?.state);
    for (const state of ["dead", "saturated"] as const) {
      const silentOnes = states.filter((one) => one === state).length;
      expect(silentOnes).toBeGreaterThan(0);
      expect(said.filter((word) => word === state)).toHaveLength(silentOnes);
      expect(showProfile(silent).filter((line) => line.includes(`  ${state.toUpperCase()} `))).toHaveLength(silentOnes);
    }
  });

  test("is a PNG of twice the size where the path says so", async () => {
    await drawFigure(join(room, "p.svg"), profileFigure(alive, caption));
    await drawFigure(join(room, "p.png"), profileFigure(alive, caption));
    const [, width] = /width="(\d+)"/.exec(readFileSync(join(room, "p.svg"), "utf8"))!, picture = await decodeImage(readFileSync(join(room, "p.png")), "p.png");
    expect(picture.width).toBe(2 * Number(width));
    const dark = picture.pixels.filter((value, i) => i % 3 === 0 && value < 60).length;
    expect(dark).toBeGreaterThan(2000);                                           // letters are there
  });

  test("can be drawn here, as is found out beforehand", async () => {
    await expectDrawable("a.svg");
    await expectDrawable("a.png");
    await expect(expectDrawable("a.gif")).rejects.toThrow("ends in neither");
  });

  test("goes into a file that says what it is", () => {
    expect(expectPicture("a.b/figure.PNG")).toBe("png");
    expect(() => expectPicture("figure.gif")).toThrow(new UserError("picture: figure.gif ends in neither .svg nor .png; name it so, as in picture=figure.svg"));
    expect(() => expectPicture("svg")).toThrow("ends in neither");
  });

  test("of a network in which nothing fires is drawn too", async () => {
    const layers = silent.layers.map((layer) => ({ ...layer, spikes: layer.spikes && { ...layer.spikes, rate: 0, density: 0, open: undefined, state: "dead" as const } }));
    const said = words(await svgOf(profileFigure({ ...silent, layers }, caption)));
    expect(said.filter((word) => word === "dead")).toHaveLength(layers.filter(({ spikes }) => spikes).length);
    expect(said.join(" ")).not.toMatch(/NaN|null|undefined/);
  });
});

test("a table has a line for each layer, every column as wide as what is in it", () => {
  const lines = showProfile(alive), rows = lines.slice(0, alive.layers.length + 2);
  expect(rows[0]).toMatch(/^layer +in +out +reads +rate +density +open +MACs +synaptic ops +energy +sheet +kernel +ms +dense +sparse +kept$/);
  expect(new Set(rows.map(({ length }) => length)).size).toBe(1);
  expect(rows.at(-1)).toMatch(/^total /);
  const { name, spikes, kernel } = alive.layers[1];
  expect(rows[2]).toContain(name);
  expect(rows[2]).toContain(`${spikes!.rate.toFixed(3)}`);
  expect(rows[2]).toContain(kernel);
});

test.skipIf(!installed)("a figure that vega-lite does not know is our mistake, not a sentence for the person", async () => {
  await expect(svgOf({ mark: { type: "nothing" } } as Figure)).rejects.not.toBeInstanceOf(UserError);
});
