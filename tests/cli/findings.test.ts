/** Detections on the network's square become each protocol's figures, in pixels of the picture or the sensor. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { inOrder, openSplit, type AnyBatch, type OpenSet } from "../../cli/data.ts";
import { Findings, METRICS, type Metric, type ProtocolFigures } from "../../cli/findings.ts";
import { settingsOf } from "../../cli/recipes.ts";
import { showFigures } from "../../cli/report.ts";
import { encodePng, writeEventScenes } from "../../datasets/index.ts";
import { cocoMetrics, cocoSet, truthsOf, vocMetrics, vocRules, type Detection, type Truth } from "../../detection/index.ts";
import { pattern } from "../datasets/pictures.ts";
import { writeVoc } from "./voc-folder.ts";

vi.setConfig({ testTimeout: 60_000 });
const room = mkdtempSync(join(tmpdir(), "spiketrain-findings-"));
afterAll(() => { rmSync(room, { recursive: true, force: true }); });

const IMGSZ = 96;
type Draw = (truth: Truth, b: number, k: number) => Detection[];
/** Every truth, found where it is. */
const perfect: Draw = (truth) => [{ ...truth, score: 0.9 }];

/** What is found where `draw` says so, on the square. */
async function find(set: OpenSet, metric: Metric | undefined, draw: Draw): Promise<Findings> {
  const findings = new Findings(set, metric);
  for await (const batch of inOrder(set, { imgsz: IMGSZ, batch: 2 })) {
    const [B, H, W] = batch.images.shape.slice(-4), truths = truthsOf(batch.boxes, B, H, W);
    await findings.add(batch, truths.map((all, b) => all.flatMap((truth, k) => draw(truth, b, k)).sort((p, q) => q.score - p.score)), truths);
  }
  return findings;
}

const open = (data: string, more = {}): Promise<OpenSet> => openSplit(settingsOf({ data, imgsz: IMGSZ, ...more }), "val");

describe("COCO's figures of a COCO folder", () => {
  const path = join(room, "coco");
  const instances = {
    images: [{ id: 11, file_name: "a.png", width: 60, height: 40 }, { id: 7, file_name: "b.png", width: 50, height: 70 }, { id: 3, file_name: "none.png", width: 30, height: 30 }],
    categories: [{ id: 5, name: "zebra" }, { id: 2, name: "ant" }],
    annotations: [
      { id: 1, image_id: 11, category_id: 5, bbox: [4, 5, 20, 16], area: 200, iscrowd: 0 }, { id: 2, image_id: 11, category_id: 2, bbox: [30, 10, 12, 12], area: 144, iscrowd: 0 },
      { id: 3, image_id: 7, category_id: 5, bbox: [5, 6, 30, 40], area: 1100, iscrowd: 0 }, { id: 4, image_id: 7, category_id: 5, bbox: [2, 50, 40, 18], area: 700, iscrowd: 1 },
      { id: 9, image_id: 3, category_id: 2, bbox: [1, 1, 9, 9], area: 81, iscrowd: 0 },
    ],
  };
  beforeAll(() => {
    for (const part of ["annotations", "val2017"]) mkdirSync(join(path, part), { recursive: true });
    writeFileSync(join(path, "annotations", "instances_val2017.json"), JSON.stringify(instances));
    writeFileSync(join(path, "val2017", "a.png"), encodePng(pattern(60, 40)));
    writeFileSync(join(path, "val2017", "b.png"), encodePng(pattern(50, 70)));
  });

  test("are those of its file, crowds and areas as written, over the pictures that could be read", async () => {
    const set = await open(path), findings = new Findings(set, "coco"), results: object[] = [];
    // a hit, a miss by some pixels, a find within the crowd, a false alarm of the other class
    const said: Record<string, { category_id: number; score: number; bbox: [number, number, number, number] }[]> = {
      "a.png": [{ category_id: 5, score: 0.9, bbox: [4, 5, 20, 16] }, { category_id: 2, score: 0.8, bbox: [33, 12, 12, 12] }],
      "b.png": [{ category_id: 5, score: 0.7, bbox: [6, 52, 20, 10] }, { category_id: 5, score: 0.6, bbox: [6, 8, 29, 37] }, { category_id: 2, score: 0.5, bbox: [3, 3, 10, 10] }],
    };
    for await (const batch of inOrder(set, { imgsz: IMGSZ, batch: 2 })) {
      const [B, H, W] = batch.images.shape.slice(-4);
      await findings.add(batch, batch.origins.map(({ name, scale, left, top }) => said[name].map(({ category_id, score, bbox: [x, y, w, h] }): Detection => {
        results.push({ image_id: name === "a.png" ? 11 : 7, category_id, score, bbox: [x, y, w, h] });
        return { class: category_id === 2 ? 0 : 1, score, x1: x * scale + left, y1: y * scale + top, x2: (x + w) * scale + left, y2: (y + h) * scale + top };
      })), truthsOf(batch.boxes, B, H, W));
    }
    const want = cocoMetrics(cocoSet({ ...instances, images: instances.images.slice(0, 2) }, results)), { figures, perClass, protocol } = findings.figures();
    expect(protocol).toBe(want.protocol);
    expect(want.ap).toBeGreaterThan(0.2);
    expect(want.ap).toBeLessThan(0.9);
    for (const [name, value] of [["AP", want.ap], ["AP50", want.ap50], ["AP75", want.ap75], ["APs", want.apSmall], ["APm", want.apMedium], ["AR1", want.ar1], ["AR100", want.ar100]] as const) expect(figures[name], name).toBeCloseTo(value, 12);
    expect(figures["APl"]).toBeNull();
    expect(perClass.map(({ class: name, truths }) => [name, truths])).toEqual([["ant", 1], ["zebra", 2]]);
  });
});

describe("a VOC folder", () => {
  const path = join(room, "voc");
  beforeAll(async () => {
    const box = (name: string, x: number) => ({ name, corners: [x, 10, x + 20, 40] as const });
    await writeVoc(path, [{ id: "a", objects: [box("cat", 5), box("dog", 35)] }, { id: "b", objects: [box("cat", 8)] }, { id: "c", objects: [box("cat", 20)] }], { train: ["a"], val: ["a", "b", "c"] });
    const file = join(path, "Annotations", "c.xml");
    const { readFileSync } = await import("node:fs");
    writeFileSync(file, readFileSync(file, "utf8").replace("</name>", "</name><difficult>1</difficult>"));
  });

  test("whose objects are all found has every figure 1, and difficult ones count neither way", async () => {
    for (const [metric, rule] of [["voc", "voc12"], ["voc07", "voc07"], ["rcnn", "fasterRcnn12"], ["rcnn07", "fasterRcnn07"]] as const) {
      const { protocol, figures, perClass } = (await find(await open(path), metric, perfect)).figures();
      expect(protocol).toBe(vocMetrics({ classes: [], truths: { image: [], class: [], box: [] }, detections: { image: [], class: [], box: [], score: [] } }, vocRules[rule]).protocol);
      expect(figures).toEqual({ mAP: expect.closeTo(1, 12) });
      expect(perClass).toEqual([{ class: "cat", truths: 2, detections: 3, figures: { AP: expect.closeTo(1, 12) } }, { class: "dog", truths: 1, detections: 1, figures: { AP: expect.closeTo(1, 12) } }]);
    }
  });

  test("half of which is found has half the area, which 11 points round up", async () => {
    const half: Draw = (truth, b, k) => (b === 0 && k < 2 ? perfect(truth, b, k) : []);  // of cats: a, and the difficult c
    expect((await find(await open(path), "voc", half)).figures().perClass[0].figures["AP"]).toBeCloseTo(0.5, 12);
    expect((await find(await open(path), "voc07", half)).figures().perClass[0].figures["AP"]).toBeCloseTo(6 / 11, 12);
  });

  test("has a matrix of what was taken for what, and curves", async () => {
    const dogs: Draw = (truth, b, k) => (b === 0 ? [{ ...truth, class: 1, score: 0.9 }] : perfect(truth, b, k));
    const findings = await find(await open(path), undefined, dogs);
    // a: cat for dog, dog for dog; b: cat for cat; c: cat for dog
    expect(findings.confusionTable()).toMatchObject({ predicted: ["cat", "dog", "background"], true: ["cat", "dog", "background"], counts: [[1, 0, 0], [2, 1, 0], [0, 0, 0]] });
    const { at, perClass, protocol } = findings.curves() as { at: number[]; protocol: string; perClass: { class: string; recall: number[]; precisionOverRecall: number[] }[] };
    expect(protocol).toBe(findings.figures().protocol);
    expect([at.length, at[0], at.at(-1)]).toEqual([1000, 0, 1]);
    expect(perClass.map(({ class: name, recall, precisionOverRecall }) => [name, recall[0], recall.at(-1), precisionOverRecall.length])).toEqual([["cat", 0.33333, 0, 1000], ["dog", 1, 0, 1000]]);
  });

  test("has no figures of recordings", async () => {
    const set = await open(path);
    expect(() => new Findings(set, "toolbox")).toThrow(/^metric: toolbox is for recordings/);
    expect(() => new Findings(set, "gen1")).toThrow(/^metric: gen1 is for recordings of events, and voc .* holds pictures; give metric=coco, voc, voc07 or ultralytics$/);
  });
});

describe("recordings of events", () => {
  const path = join(room, "gen1");
  beforeAll(() => writeEventScenes(path, { split: "val", recordings: 2, seconds: 2, camera: { width: 152, height: 120 }, seed: 4 }));

  test("whose objects are all found have every figure 1, of those boxes that the protocol keeps", async () => {
    const set = await open(path, { frames: "last" }), boxes: { t: number; w: number; h: number }[] = [];
    const { protocol, figures, perClass } = (await find(set, undefined, perfect)).figures();
    for await (const { origins } of inOrder(set, { imgsz: IMGSZ, batch: 4 }) as AsyncIterable<Extract<AnyBatch, { protocol: string }>>) for (const { labels } of origins) boxes.push(...labels.boxes);
    const kept = boxes.filter(({ t, w, h }) => t > 500_000 && Math.hypot(w, h) >= 30 && Math.min(w, h) >= 10);
    expect(kept.length).toBeGreaterThan(5);
    expect(kept.length).toBeLessThan(boxes.length);
    expect(perClass.reduce((sum, { truths }) => sum + truths, 0)).toBe(kept.length);
    expect(protocol).toMatch(/^Gen1 \(skip 0\.5 s, diagonal 30, side 10\), then COCO/);
    expect(figures["AP"]).toBeCloseTo(1, 12);
  });

  test("are measured by the boxes that the toolbox's script keeps, if that is asked for", async () => {
    const set = await open(path, { frames: "last" }), found = await find(set, "toolbox", perfect), { protocol, figures, perClass } = found.figures();
    expect(protocol).toMatch(/^Gen1 as the toolbox's script \(skip 0\.1 s, diagonal 30, side 20\), then COCO/);
    const count = (rule: { perClass: readonly { truths: number }[] }): number => rule.perClass.reduce((sum, { truths }) => sum + truths, 0);
    expect(count({ perClass })).toBeGreaterThan(0);
    expect(count({ perClass })).not.toBe(count(found.gen1("gen1")));
    expect(figures["AP"]).toBeCloseTo(1, 12);
  });

  test("are measured where the sensor is: boxes that are shifted by a twentieth of the square lose", async () => {
    const shifted: Draw = (truth) => [{ ...truth, x1: truth.x1 + IMGSZ / 20, x2: truth.x2 + IMGSZ / 20, score: 0.9 }];
    const { figures } = (await find(await open(path, { frames: "last" }), "gen1", shifted)).figures();
    expect(figures["AP"]).toBeLessThan(0.9);
    expect(figures["AP75"]).toBeLessThan(figures["AP50"]!);
  });
});

test("every metric is shown under the names of its figures", () => {
  const some: ProtocolFigures = { protocol: "rules", figures: { AP: 0.25, APl: null }, perClass: [{ class: "cat", truths: 3, detections: 4, figures: { AP: 0.25 } }] };
  expect(showFigures(some)).toEqual(["rules:", "AP     APl", "0.250    -", "class  objects  detections     AP", "cat          3           4  0.250"]);
  expect(METRICS).toEqual(["ultralytics", "coco", "voc", "voc07", "rcnn", "rcnn07", "gen1", "toolbox"]);
});
