/** How the cases of detection metrics are run with this project's code: COCO, PASCAL VOC and Gen1, each to 1e-12 of its reference. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { XMLParser } from "fast-xml-parser";
import { readNpyTable, type NpyTable } from "../../datasets/index.ts";
import {
  cocoMetrics, cocoSet, gen1Metrics, gen1Rules, vocMetrics, type CocoScores, type Gen1Boxes, type Gen1Detections, type Gen1Rule, type VocMarks, type VocRule,
} from "../../detection/metrics.ts";
import type { Check, OracleCase, Player } from "./play.ts";

/** Tighter than the manifests ask for: only the order of additions may differ. */
const BAR = { rtol: 0, atol: 1e-12 };

const real = (value: number) => ({ shape: [1], data: [value], integer: false });
const text = (c: OracleCase, file: string): string => readFileSync(join(c.folder.path, file), "utf8");
const json = (c: OracleCase, file: string): any => JSON.parse(text(c, file));
const fileOf = (c: OracleCase, end: string): string => (c.record.files as string[]).find((name) => name.endsWith(end))!;

/** Plays a case, each of whose numbers must be met to 1e-12. */
const evaluation = (play: (c: OracleCase, number: (what: string, got: number | null, want: number | null) => void, check: Check) => void): Player => ({
  places: [],
  play: (c, check) => play(c, (what, got, want) => {
    if (want === null || got === null) check.equal(`${what} (undefined)`, [Number(got === null)], [Number(want === null)]);
    else check.close(what, [got], real(want), BAR);
  }, check),
});

type Expected = { stats: Record<string, number>; per_class: Record<string, Record<string, number>> };

function compareCoco(number: (what: string, got: number, want: number) => void, got: CocoScores, { stats, per_class }: Expected, prefix = "", idOf = (category: number): number => category): void {
  const ours: Record<string, number> = {
    AP: got.ap, AP50: got.ap50, AP75: got.ap75, AP_small: got.apSmall, AP_medium: got.apMedium, AP_large: got.apLarge,
    AR_1: got.ar1, AR_10: got.ar10, AR_100: got.ar100, AR_small: got.arSmall, AR_medium: got.arMedium, AR_large: got.arLarge,
  };
  for (const [name, want] of Object.entries(stats)) number(`${prefix}${name}`, ours[name], want);
  number(`${prefix}classes`, got.perClass.length, Object.keys(per_class).length);
  for (const row of got.perClass) {
    const want = per_class[idOf(row.class)], own: Record<string, number> = { AP: row.ap, AP50: row.ap50, AP75: row.ap75, AR100: row.ar100 };
    for (const [name, value] of Object.entries(want)) number(`${prefix}class ${idOf(row.class)} ${name}`, own[name], value);
  }
}

const coco = evaluation((c, number, check) => {
  const files = c.record.files as string[];
  if (files.length === 1) {
    const { instances, results, expected } = json(c, files[0]);
    compareCoco(number, cocoMetrics(cocoSet(instances, results)), expected);
    return;
  }
  const got = cocoMetrics(cocoSet(json(c, fileOf(c, "instances.json")), json(c, fileOf(c, "results.json"))));
  compareCoco(number, got, json(c, fileOf(c, "expected.json")));
  const { precision, recall } = got.curves, curves = c.folder.tensors(fileOf(c, "curves.safetensors")), K = got.perClass.length;
  // precision is recorded of all sizes and 100 detections: [T, R, K] of [T, R, K, 4, 3]
  const recorded = (name: string) => ({ shape: curves.get(name)!.shape, data: curves.get(name)!.read() as Float64Array, integer: false });
  check.close("precision", Float64Array.from({ length: 10 * 101 * K }, (_, i) => precision[12 * i + 2]), recorded("precision"), BAR);
  check.close("recall", recall, recorded("recall"), BAR);
});

// ---- PASCAL VOC ----

interface Marked { readonly image: number; readonly name: string; readonly box: number[]; readonly difficult: number }
interface Found { readonly image: number; readonly name: string; readonly box: number[]; readonly score: number }

const marks = (classes: readonly string[], truths: readonly Marked[], detections: readonly Found[]): VocMarks => ({
  classes: classes.map((_, k) => k),
  truths: { image: truths.map((o) => o.image), class: truths.map((o) => classes.indexOf(o.name)), box: truths.flatMap((o) => o.box), difficult: truths.map((o) => o.difficult) },
  detections: { image: detections.map((o) => o.image), class: detections.map((o) => classes.indexOf(o.name)), box: detections.flatMap((o) => o.box), score: detections.map((o) => o.score) },
});

/** What the references' names of figures mean. */
const VOC_FIGURES: Readonly<Record<string, VocRule>> = {
  AP11: { average: "11 points", match: ">" }, AP11_exact_tenths: { average: "11 points", match: ">", tenths: "exact" }, AP_area: { average: "area", match: ">" },
  AP11_devkit_ge: { average: "11 points", match: ">=" }, AP_area_devkit_ge: { average: "area", match: ">=" },
};

const voc = evaluation((c, number) => {
  const files = c.record.files as string[];
  if (files.length === 1) {
    const { objects, detections, expected } = json(c, files[0]);
    const set = marks(["cat"],
      Object.entries(objects as Record<string, any[]>).flatMap(([image, all]) => all.map((o) => ({ image: Number(image), name: o.name, box: o.bbox, difficult: o.difficult }))),
      (detections as any[]).map((o) => ({ image: Number(o.image), name: "cat", box: o.bbox, score: o.score })));
    for (const [name, want] of Object.entries(expected as Record<string, number>)) number(name, vocMetrics(set, VOC_FIGURES[name]).map, want);
    return;
  }

  const classes = c.params.classes as string[], parser = new XMLParser({ isArray: (name) => name === "object" });
  const truths = files.filter((name) => name.endsWith(".xml")).flatMap((name) => (parser.parse(text(c, name)).annotation.object ?? []).map((object: any): Marked => ({
    image: Number(/(\d+)\.xml$/.exec(name)![1]), name: object.name, difficult: object.difficult,
    box: ["xmin", "ymin", "xmax", "ymax"].map((side) => Number(object.bndbox[side])),
  })));
  const detections = classes.flatMap((name) => text(c, fileOf(c, `comp4_det_test_${name}.txt`)).split("\n").filter(Boolean).map((line): Found => {
    const [image, score, ...box] = line.split(" ").map(Number);
    return { image, name, score, box };
  }));
  const set = marks(classes, truths, detections), expected = json(c, fileOf(c, "expected.json"));
  for (const [figure, rule] of Object.entries(VOC_FIGURES)) {
    const { perClass, map } = vocMetrics(set, rule);
    for (const row of perClass) {
      const name = classes[row.class], want = expected.per_class[name];
      number(`${name} ${figure}`, row.ap, want[figure]);
      number(`${name} truths`, row.truths, want.npos);
      number(`${name} detections`, row.detections, want.detections);
    }
    if (figure === "AP11" || figure === "AP_area") number(`m${figure}`, map, expected[`m${figure}`]);
  }

  // The same set by COCO's rules, every object ordinary: sizes are differences of corners.
  const sized = (boxes: number[]): number[] => boxes.map((value, i) => (i % 4 < 2 ? value : value - boxes[i - 2]));
  const box = sized(truths.flatMap((o) => o.box)), repository = expected.as_snn_yolov3_repository;
  compareCoco(number, cocoMetrics({
    images: text(c, fileOf(c, "test.txt")).split("\n").filter(Boolean).map(Number), classes: set.classes,
    truths: { image: set.truths.image, class: set.truths.class, box, area: truths.map((_, i) => box[4 * i + 2] * box[4 * i + 3]) },
    detections: { ...set.detections, box: sized(detections.flatMap((o) => o.box)) },
  }), repository, "by COCO's rules ", (category) => repository.category_order.indexOf(classes[category]));
});

// ---- Gen1 ----

function boxesOf({ columns }: NpyTable): Gen1Boxes & Gen1Detections {
  const column = (...names: string[]): number[] => Array.from(columns.get(names.find((name) => columns.has(name))!)!, Number);
  return { t: column("t", "ts"), x: column("x"), y: column("y"), w: column("w"), h: column("h"), class: column("class_id"), score: column("class_confidence", "confidence") };
}

const GEN1_RULES: Readonly<Record<string, Gen1Rule>> = { gen1_protocol: gen1Rules.gen1, toolbox_script_camera_GEN1: gen1Rules.toolbox, no_filter: gen1Rules.unfiltered };

const gen1 = evaluation((c, number) => {
  const read = (end: string) => boxesOf(readNpyTable(readFileSync(join(c.folder.path, fileOf(c, end))), fileOf(c, end)));
  const recordings = [0, 1].map((k) => ({ truths: read(`seq${k}_bbox.npy`), detections: read(`seq${k}_det.npy`) }));
  for (const [name, want] of Object.entries(json(c, fileOf(c, "expected.json")) as Record<string, any>)) {
    const rule = GEN1_RULES[name], got = gen1Metrics(recordings, rule);
    compareCoco(number, got, want, `${name} `, (category) => category + 1);
    number(`${name} frames`, got.images, want.evaluated_frames);
    for (const k of [0, 1]) {
      number(`${name} truths of ${k}`, got.keptTruths[k], want.kept_ground_truth[k]);
      number(`${name} detections of ${k}`, got.keptDetections[k], want.kept_detections[k]);
    }
    number(`${name} skip`, rule.skip, want.filter.skip_us);
    number(`${name} diagonal`, rule.diagonal, want.filter.min_diagonal);
    number(`${name} side`, rule.side, want.filter.min_side);
  }
});

export const evaluationPlayers: ReadonlyMap<string, Player> = new Map([["coco_eval", coco], ["voc_eval", voc], ["gen1_eval", gen1]]);
