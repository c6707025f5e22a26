import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkCommand } from "../../cli/check.ts";
import { drawContactSheet } from "../../cli/contact-sheet.ts";
import { parseOptions } from "../../cli/options.ts";
import { Progress } from "../../cli/progress.ts";
import { checkable, locate, look, shared } from "../../datasets/check.ts";
import { colourOf, decodeImage, encodePng, shapes, writeEventScenes, type DetectionSet, type Picture, type Sample } from "../../datasets/index.ts";
import { truncatedJpeg, writeVoc } from "./voc-folder.ts";

const home = mkdtempSync(join(tmpdir(), "check-"));
afterAll(() => rmSync(home, { recursive: true }));

/** Runs the command; what it said, line by line. */
async function check(data: string | undefined, out: string, signal = new AbortController().signal): Promise<string[]> {
  const said: string[] = [], progress = new Progress({ write: (text: string) => { said.push(...text.split("\n")); return true; } } as unknown as NodeJS.WriteStream);
  await checkCommand({ data, out }, progress, signal);
  return said.filter((line) => line.trim() !== "");
}
const report = (out: string, split: string) => JSON.parse(readFileSync(join(out, `${split}.json`), "utf8"));

describe("spiketrain check on a VOC folder", async () => {
  const data = join(home, "voc"), out = join(home, "voc-out");
  await writeVoc(data, [
    { id: "good" },
    { id: "point", objects: [{ name: "ball", corners: [1, 1, 20, 20] }, { name: "cube", corners: [30, 30, 30, 30] }] },
    { id: "wide", objects: [{ name: "ball", corners: [40, 40, 70, 60] }] },
    { id: "half", jpeg: truncatedJpeg },
    { id: "nothing", objects: [] },
    { id: "twice", objects: [{ name: "ring", corners: [2, 2, 30, 30] }, { name: "ring", corners: [2, 2, 30, 30] }] },
    { id: "later" },
    { id: "strange", objects: [{ name: "dog", corners: [2, 2, 30, 30] }] },
  ], { train: ["good", "point", "wide", "half", "nothing", "twice", "twice"], val: ["later", "good"], trainval: ["good", "point", "wide", "nothing", "twice", "later"], test: ["strange"], ball_train: [] });
  let said: string[];
  beforeAll(async () => { said = await check(data, out); });

  test("names each problem with its file and line", () => {
    const lineOf = (file: string, text: string, nth = 1): number => { const rows = readFileSync(join(data, file), "utf8").split("\n"); return rows.findIndex((row) => row.includes(text) && --nth === 0) + 1; };
    const problems = report(out, "train").problems as { sentence: string; file: string; line?: number }[];
    const at = (pattern: RegExp) => { const found = problems.filter(({ sentence }) => pattern.test(sentence)); expect(found.length, `${pattern}`).toBe(1); return [found[0].file, found[0].line]; };
    expect(at(/30, 30 and 30, 30, which is no area/)).toEqual(["Annotations/point.xml", lineOf("Annotations/point.xml", "<object")]);
    expect(at(/40, 40 and 70, 60, partly outside/)).toEqual(["Annotations/wide.xml", lineOf("Annotations/wide.xml", "<object")]);
    expect(at(/lists "twice" more than once/)).toEqual(["ImageSets/Main/train.txt", 7]);
    expect(at(/half\.jpg.*truncated/)[0]).toBe("JPEGImages/half.jpg");
    expect(at(/same box of class "ring" twice/)[0]).toMatch(/^twice\./);
    expect(problems.length).toBe(5);
    expect(said.some((line) => line.includes("Annotations/point.xml:1: voc: object 2"))).toBe(true);
  });

  test("counts pictures, boxes, classes and sizes", () => {
    const { pictures, usable, empty, boxes, sizes, classes } = report(out, "train");
    expect([pictures, usable, empty]).toEqual([6, 5, 1]);
    expect(sizes).toEqual([{ width: 64, height: 64, pictures: 5 }]);
    expect(classes.reduce((sum: number, c: { boxes: number }) => sum + c.boxes, 0)).toBe(boxes);
    const ring = classes.find((c: { name: string }) => c.name === "ring");
    expect(ring.small + ring.medium + ring.large).toBe(ring.boxes);
    expect(said.some((line) => line.includes("5 pictures (1 of 6 cannot be used, 1 without a box)"))).toBe(true);
  });

  test("finds pictures of one split in another", () => {
    expect(report(out, "val").problems.some(({ sentence }: { sentence: string }) => /^good\.png of .* train is also in .* val; a figure measured there/.test(sentence))).toBe(true);
  });

  test("goes on where a split cannot be opened, and says why", () => {
    const { usable, problems } = report(out, "test");
    expect(usable).toBe(0);
    expect(problems.length).toBe(1);
    expect(problems[0]).toMatchObject({ sentence: expect.stringContaining('is of class "dog", which is not in the class list'), file: "Annotations/strange.xml", line: 1 });
  });

  test("leaves a list alone that joins two others", () => {
    expect(existsSync(join(out, "trainval.json"))).toBe(false);
  });

  test("draws labelled pictures on a sheet for each split", async () => {
    for (const split of ["train", "val"]) {
      const { width, height } = await decodeImage(readFileSync(join(out, `${split}.png`)), split);
      expect(Math.min(width, height)).toBeGreaterThan(400);
    }
  });

  test("stops when it is told to", async () => {
    await expect(check(data, join(home, "stopped"), AbortSignal.abort())).rejects.toThrow(/^stopped after 1 of 6 pictures/);
  });
});

describe("spiketrain check on recordings of events", () => {
  test("reads every labelled time and shows it", async () => {
    const data = join(home, "gen1"), out = join(home, "gen1-out");
    await writeEventScenes(data, { recordings: 1, seconds: 1, camera: { width: 96, height: 64 } });
    const said = await check(data, out), { pictures, usable, boxes, sizes, problems } = report(out, "train");
    expect(usable).toBe(pictures);
    expect(boxes).toBeGreaterThan(0);
    expect(sizes).toEqual([{ width: 96, height: 64, pictures }]);
    expect(problems).toEqual([]);
    expect(said).toContain("no problems");
    expect(existsSync(join(out, "train.png"))).toBe(true);
  });
});

describe("spiketrain check on COCO, by a path from here", () => {
  test("names the line of each problem, as it does by a path from the root", async () => {
    const data = join(home, "coco"), json = join(data, "annotations", "instances_train.json"), here = process.cwd();
    for (const folder of ["annotations", "train"]) mkdirSync(join(data, folder), { recursive: true });
    writeFileSync(join(data, "train", "a.png"), encodePng({ width: 8, height: 6, pixels: new Uint8Array(144) }));
    writeFileSync(json, '{"images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 6}],\n"categories": [{"id": 1, "name": "a"}],\n"annotations": [\n{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 0, 2]},\n{"id": 2, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 2]}]}\n');
    for (const [k, path] of [data, relative(here, data)].entries()) {
      await check(path, join(home, `coco-out-${k}`));
      expect(report(join(home, `coco-out-${k}`), "train").problems.map(({ line }: { line: number }) => line)).toEqual([4, 5]);
    }
  });
});

describe("what the command refuses", () => {
  test("says so in one sentence", async () => {
    await expect(check(undefined, join(home, "no"))).rejects.toThrow("check: data is missing; give data=PATH");
    await expect(check(join(home, "nowhere"), join(home, "no"))).rejects.toThrow(/^voc: ".*nowhere" is not a folder/);
    expect(() => parseOptions("check", ["show=0"])).toThrow("check: show is 0, expected a whole number from 1 to 100");
  });
});

describe("the place of a problem", () => {
  const text = async () => "<annotation>\n<!-- <object> -->\n<size/>\n<object>\n</object>\n<object>\n</object>\n</annotation>\n";
  test.each<[string, object]>([
    ['voc: object 2 ("dog") of Annotations/a.xml has corners 5, 5 and 5, 9, which is no area; it is dropped', { file: "Annotations/a.xml", line: 6 }],
    ["voc: object 3 of Annotations/a.xml is not there", { file: "Annotations/a.xml" }],
    ["voc: Annotations/a.xml says 80 x 60 pixels, the picture has 40 x 30; its boxes are clipped to the picture", { file: "Annotations/a.xml", line: 3 }],
    ["coco: annotation 7 at byte 35 of annotations/a.json has corners 1, 1 and 1, 1, which is no area; it is dropped", { file: "annotations/a.json", line: 3 }],
    ["labels/b.txt: five numbers expected (line 12, byte 400)", { file: "labels/b.txt", line: 12 }],
    ["gen1: box 3 of scene_0_bbox.npy (t 1, x 2, y 3, w 0, h 5) is no area", { file: "scene_0_bbox.npy" }],
    ["the set is empty", {}],
  ])("%s", async (sentence, place) => {
    expect(await locate(sentence, text)).toEqual({ sentence, ...place });
  });

  test("is only the file where the file cannot be read", async () => {
    expect(await locate('voc: object 2 ("dog") of Annotations/a.xml has no area', async () => undefined)).toMatchObject({ file: "Annotations/a.xml" });
  });

  test("at a byte is the line of that byte, whatever letters come before", async () => {
    const json = '{"a": "\u00e9\u20ac\u{1f600}\u00e9\u20ac\u{1f600}",\n"b": 1,\n"c": 2,\n"d": 3}', byte = (text: string) => new TextEncoder().encode(json.slice(0, json.indexOf(text))).length;
    for (const [text, line] of [['"a"', 1], ['"b"', 2], ['"c"', 3], ['"d"', 4]] as const) {
      expect(await locate(`coco: a.json is odd at byte ${byte(text)}`, async () => json)).toMatchObject({ file: "a.json", line });
    }
  });

  test("of thousands in one large file is found in one pass over it", async () => {
    const json = `${" ".repeat(199)}\n`.repeat(100_000), file = async () => json, start = performance.now(), places = [];
    for (let i = 0; i < 5000; i++) places.push(await locate(`coco: a.json is odd at byte ${200 * i + i % 200}`, file));
    expect(places.map(({ line }) => line)).toEqual(places.map((_, i) => i + 1));
    expect(performance.now() - start).toBeLessThan(5000);                                 // each on its own would take minutes
  });

  test("is taken from a reader that knows it", async () => {
    const problem = { sentence: "row 3 is odd", file: "a.csv", line: 3 };
    expect(await checkable({ ...shapes({ size: 1 }), located: async () => [problem] }).problems()).toEqual([problem]);
  });
});

describe("a look at a set", () => {
  const grey = (value: number): Picture => ({ width: 20, height: 10, pixels: new Uint8Array(600).fill(value) });
  const setOf = (samples: readonly (Sample | undefined)[], problems: readonly string[] = []): DetectionSet => ({ name: "made up", classes: ["a", "b"], size: samples.length, problems, sample: async (i) => samples[i] });
  const sampleOf = (i: number, c: number): Sample => ({ name: `p${i}.png`, picture: grey(i), boxes: [{ class: c, x1: 0, y1: 0, x2: 4, y2: 4 }] });

  test("finds equal pictures, and none that are not", async () => {
    const one = await look(checkable(setOf([sampleOf(1, 0), sampleOf(2, 0), { ...sampleOf(1, 1), name: "copy.png" }])));
    expect(one.check.problems).toEqual([{ sentence: "copy.png and p1.png are the same picture; keep one", file: "copy.png" }]);
    const other = await look(checkable(setOf([sampleOf(3, 0)])));
    expect(shared(one, other)).toEqual([]);
    expect(shared(one, one).length).toBe(2);
  });

  test("names some boxes that are there twice, and counts the others", async () => {
    const box = { class: 0, x1: 1, y1: 1, x2: 9, y2: 9 }, [sample] = [(await shapes({ size: 1 }).sample(0))!];
    const set: DetectionSet = { name: "many", classes: ["a"], size: 1, problems: [], sample: async () => ({ ...sample, boxes: Array.from({ length: 500 }, () => box) }) };
    const { problems } = (await look(checkable(set))).check;
    expect(problems.length).toBe(11);
    expect([problems[0].sentence, problems[10].sentence]).toEqual([`${sample.name} has the same box of class "a" twice, as boxes 1 and 2; remove one`, `${sample.name} has 489 more boxes that are the same as others; remove them`]);
  });

  test("shows every class, however rare, and what problems name", async () => {
    const samples = Array.from({ length: 60 }, (_, i) => sampleOf(i, i === 41 ? 1 : 0));
    const { shown } = await look(checkable(setOf(samples, ["p17.png is odd"])), { show: 8 });
    expect(shown.length).toBe(8);
    expect(new Set(shown).size).toBe(8);
    expect(shown).toContain(41);
    expect(shown).toContain(17);
    expect(shown.at(-1)).toBeGreaterThan(45);
  });

  test("takes a set in which nothing can be read", async () => {
    const { check: { usable, boxes }, shown } = await look(checkable(setOf([undefined, undefined])));
    expect([usable, boxes, shown]).toEqual([0, 0, []]);
  });
});

describe("a contact sheet", () => {
  test("has boxes in the colours of their classes where they belong, and the legend below", () => {
    const sample: Sample = { name: "a.png", picture: { width: 100, height: 50, pixels: new Uint8Array(15000).fill(90) }, boxes: [{ class: 1, x1: 10, y1: 10, x2: 50, y2: 40 }] };
    const sheet = drawContactSheet([sample], { names: ["x", "y"], title: "t", footer: "f", cell: 200 });
    const pixel = (x: number, y: number) => [...sheet.pixels.subarray(3 * (y * sheet.width + x), 3 * (y * sheet.width + x) + 3)];
    const top = 14 + 2 * 12, left = 12; // the tile's corner: title and margin
    expect(pixel(left + 20, top + 20)).toEqual([...colourOf(1)]);
    expect(pixel(left + 99, top + 79)).toEqual([...colourOf(1)]);
    expect(pixel(left + 60, top + 50)).toEqual([90, 90, 90]);
    expect(pixel(left + 10, top + 20)).toEqual([90, 90, 90]);
  });
});

const bccd = join(import.meta.dirname, "../../../shared/data/bccd");
describe.skipIf(!existsSync(bccd))("BCCD", () => {
  test("has two boxes without area, and 364 pictures that can be read", { timeout: 120_000 }, async () => {
    const out = join(home, "bccd");
    await check(bccd, out);
    const all = ["train", "val", "test"].map((split) => report(out, split));
    expect(all.reduce((sum, { usable }) => sum + usable, 0)).toBe(364);
    expect(all.flatMap(({ problems }) => problems.map(({ file, line }: { file: string; line: number }) => `${file}:${line}`)).sort()).toEqual(["Annotations/BloodImage_00338.xml:158", "Annotations/BloodImage_00343.xml:50"]);
  });
});
