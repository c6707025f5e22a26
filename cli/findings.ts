/**
 * What a network found in a set, kept for figures by the rules of one's choice: boxes go back to pixels of their picture (or sensor) and into the
 * columns that each protocol reads. The trainer's own mAP, curves and confusion matrix are of boxes on the network's square, as it measures while training.
 */
import { clip, toPicture } from "../datasets/letterbox.ts";
import { offNetwork, type CocoInstances, type EventOrigin, type ObjectBox } from "../datasets/index.ts";
import { cocoMetrics, ConfusionMatrix, DetectionMetrics, gen1Metrics, gen1Rules, vocMetrics, vocRules, type CocoScores, type Detection, type Truth } from "../detection/index.ts";
import type { CocoTruths } from "../detection/metrics.ts";
import type { AnyBatch, OpenSet } from "./data.ts";
import { UserError } from "./user-error.ts";

/** Figures under the names that the protocol's own tools give them; null where there is nothing to average. */
export type Figures = Readonly<Record<string, number | null>>;
export interface ProtocolFigures {
  /** Whose rules these figures follow. */
  readonly protocol: string;
  readonly figures: Figures;
  readonly perClass: readonly { readonly class: string; readonly truths: number; readonly detections: number; readonly figures: Figures }[];
}

const PROTOCOLS = {
  ultralytics: ({ metrics, classes }: Findings): ProtocolFigures => {
    const { protocol, precision, recall, f1, map50, map, perClass } = metrics.result();
    return {
      protocol, figures: { precision, recall, F1: f1, mAP50: map50, "mAP50-95": map },
      perClass: perClass.map(({ class: c, truths, detections, precision, recall, f1, ap50, map }) => ({ class: nameOf(classes, c), truths, detections, figures: { precision, recall, F1: f1, mAP50: ap50, "mAP50-95": map } })),
    };
  },
  coco: (findings: Findings) => cocoFigures(findings.coco(), findings.classes),
  voc: (findings: Findings) => findings.voc("voc12"),
  voc07: (findings: Findings) => findings.voc("voc07"),
  rcnn: (findings: Findings) => findings.voc("fasterRcnn12"),
  rcnn07: (findings: Findings) => findings.voc("fasterRcnn07"),
  gen1: (findings: Findings) => cocoFigures(findings.gen1("gen1"), findings.classes),
  toolbox: (findings: Findings) => cocoFigures(findings.gen1("toolbox"), findings.classes),
} as const;

export type Metric = keyof typeof PROTOCOLS;
export const METRICS = Object.keys(PROTOCOLS) as Metric[];

/** Boxes one after the other: four corners each. */
class Boxes {
  readonly image: number[] = [];
  readonly class: number[] = [];
  readonly corners: number[] = [];
  readonly difficult: number[] = [];
  readonly score: number[] = [];
  add(image: number, { class: c, x1, y1, x2, y2, difficult }: ObjectBox, score = 0): void {
    this.image.push(image);
    this.class.push(c);
    this.corners.push(x1, y1, x2, y2);
    this.difficult.push(difficult ? 1 : 0);
    this.score.push(score);
  }
  /** x, y, width, height */
  sized(): number[] { return this.corners.map((value, i, all) => (i % 4 < 2 ? value : value - all[i - 2])); }
  /** First and last pixel, counted from 1. */
  pixels(): number[] { return this.corners.map((value, i) => (i % 4 < 2 ? value + 1 : value)); }
}

type Column = "t" | "x" | "y" | "w" | "h" | "class" | "score";
const columns = (): Record<Column, number[]> => ({ t: [], x: [], y: [], w: [], h: [], class: [], score: [] });

export class Findings {
  readonly metrics = new DetectionMetrics();
  readonly classes: readonly string[];
  readonly confusion: ConfusionMatrix;
  private readonly images: number[] = [];
  private readonly truths = new Boxes();
  private readonly found = new Boxes();
  private readonly recordings = new Map<string, { truths: Record<Column, number[]>; detections: Record<Column, number[]> }>();

  /** Refuses a metric that the set has no truths for. */
  constructor(private readonly set: OpenSet, private readonly metric: Metric = set.protocol === undefined ? "ultralytics" : "gen1") {
    if ((metric === "gen1" || metric === "toolbox") && set.protocol === undefined) throw new UserError(`metric: ${metric} is for recordings of events, and ${set.name} holds pictures; give metric=coco, voc, voc07 or ultralytics`);
    this.classes = set.classes;
    this.confusion = new ConfusionMatrix(set.classes.length);
  }

  /** A batch, in the order of the set: what was found in each of its pictures, and what is there, on the network's square. */
  async add({ origins }: AnyBatch, found: readonly (readonly Detection[])[], truths: readonly (readonly Truth[])[]): Promise<void> {
    for (const [b, origin] of origins.entries()) {
      const { index } = origin, event = "place" in origin ? origin as EventOrigin : undefined;
      this.metrics.add(found[b], truths[b]);
      this.confusion.add(found[b], truths[b]);
      const back = <B extends Truth>(box: B): B => (event ? offNetwork(box, event, event.place) : toPicture(box, origin));
      const boxes = found[b].map(back), there = event ? truths[b].map(back) : this.set.files?.boxes(index, origin) ?? (await this.set.sample(index))?.boxes ?? [];
      this.images.push(index);
      for (const box of there) this.truths.add(index, clip(box, origin.width, origin.height));
      for (const box of boxes) this.found.add(index, box, box.score);
      if (event) this.addMoment(event, boxes);
    }
  }

  figures(): ProtocolFigures { return PROTOCOLS[this.metric](this); }

  /** Precision, recall and F1 over confidence, and precision over recall, at IoU 0.5. */
  curves(): object {
    const { at, perClass } = this.metrics.curves(), short = (values: Float64Array): number[] => Array.from(values, (value) => Math.round(1e5 * value) / 1e5);
    return {
      data: this.set.name, protocol: this.metrics.result().protocol, iou: 0.5, at: short(at),
      perClass: perClass.map(({ class: c, precision, recall, f1, precisionOverRecall }) =>
        ({ class: nameOf(this.classes, c), precision: short(precision), recall: short(recall), f1: short(f1), precisionOverRecall: short(precisionOverRecall) })),
    };
  }

  /** Rows are what was said, columns what was there; the last of either is background. */
  confusionTable(): object {
    const { protocol, confidence, iou, counts } = this.confusion, names = [...this.classes, "background"], side = names.length;
    return { data: this.set.name, protocol, confidence, iou, predicted: names, true: names, counts: names.map((_, row) => [...counts.subarray(row * side, (row + 1) * side)]) };
  }

  /** Truths of COCO files as written, with crowds, areas and ids; of other sets, boxes with the area that they have. */
  coco(): CocoScores {
    const { images, truths, found } = this, box = truths.sized();
    const instances = "instances" in this.set ? this.set.instances as CocoInstances : undefined;
    return cocoMetrics({
      images, classes: this.classes.map((_, c) => c),
      truths: instances ? written(instances, images, this.classes) : { image: truths.image, class: truths.class, box, area: truths.image.map((_, i) => box[4 * i + 2] * box[4 * i + 3]) },
      detections: { image: found.image, class: found.class, box: found.sized(), score: found.score },
    });
  }

  voc(rule: keyof typeof vocRules): ProtocolFigures {
    const { truths, found, classes } = this;
    const { protocol, map, perClass } = vocMetrics({
      classes: classes.map((_, c) => c),
      truths: { image: truths.image, class: truths.class, box: truths.pixels(), difficult: truths.difficult },
      detections: { image: found.image, class: found.class, box: found.pixels(), score: found.score },
    }, vocRules[rule]);
    return { protocol, figures: { mAP: map }, perClass: perClass.map(({ class: c, truths, detections, ap }) => ({ class: nameOf(classes, c), truths, detections, figures: { AP: ap } })) };
  }

  gen1(rule: keyof typeof gen1Rules): CocoScores { return gen1Metrics([...this.recordings.values()], gen1Rules[rule]); }

  private addMoment({ labels: { recording, time, boxes } }: EventOrigin, found: readonly Detection[]): void {
    let rows = this.recordings.get(recording);
    if (!rows) this.recordings.set(recording, rows = { truths: columns(), detections: columns() });
    const put = (into: Record<Column, number[]>, row: Readonly<Record<Column, number>>): void => { for (const name of Object.keys(row) as Column[]) into[name].push(row[name]); };
    for (const { x, y, w, h, class: c } of boxes) put(rows.truths, { t: time, x, y, w, h, class: c, score: 1 });
    for (const { x1, y1, x2, y2, class: c, score } of found) put(rows.detections, { t: time, x: x1, y: y1, w: x2 - x1, h: y2 - y1, class: c, score });
  }
}

/** Annotations of these images of the set, which are numbered by their place. */
function written({ images, categories, annotations: { count, id, image, category, bbox, area, crowd } }: CocoInstances, wanted: readonly number[], classes: readonly string[]): CocoTruths {
  const place = new Map(wanted.map((index) => [images[index].id, index])), number = new Map(categories.map(({ id, name }) => [id, classes.indexOf(name)]));
  const rows = Array.from({ length: count }, (_, n) => n).filter((n) => place.has(image[n])), ids = rows.map((n) => id[n]);
  return {
    image: rows.map((n) => place.get(image[n])!), class: rows.map((n) => number.get(category[n])!), box: rows.flatMap((n) => [...bbox.subarray(4 * n, 4 * n + 4)]),
    area: rows.map((n) => area[n]), crowd: rows.map((n) => crowd[n]), ...(new Set(ids).size === ids.length ? { id: ids } : {}),
  };
}

const nameOf = (classes: readonly string[], c: number): string => classes[c] ?? `class ${c}`;

/** COCO says -1 where there are no truths of a kind. */
const known = (value: number): number | null => (value < 0 ? null : value);

function cocoFigures(scores: CocoScores, classes: readonly string[]): ProtocolFigures {
  const { protocol, perClass, ap, ap50, ap75, apSmall, apMedium, apLarge, ar1, ar10, ar100, arSmall, arMedium, arLarge } = scores;
  const all = { AP: ap, AP50: ap50, AP75: ap75, APs: apSmall, APm: apMedium, APl: apLarge, AR1: ar1, AR10: ar10, AR100: ar100, ARs: arSmall, ARm: arMedium, ARl: arLarge };
  return {
    protocol, figures: Object.fromEntries(Object.entries(all).map(([name, value]) => [name, known(value)])),
    perClass: perClass.map((row) => ({ class: nameOf(classes, row.class), truths: row.truths, detections: row.detections, figures: { AP: known(row.ap), AP50: known(row.ap50), AP75: known(row.ap75), AR100: known(row.ar100) } })),
  };
}
