/** What a trained network is worth, on pictures that it has not seen: how well it finds things, whether its two spiking forms agree, what it costs. */
import type { AnyBatch } from "./data.ts";
import type { Findings, ProtocolFigures } from "./findings.ts";
import {
  countDifferences, DetectionMetrics, energyConventions, foldFor, predict, predictionNms, truthsOf, validationNms, type Detection, type DetectionScores, type Folding, type Detector, type InferenceForm,
} from "../detection/index.ts";
import { retrying } from "../engine/index.ts";
import { PICOJOULE_PER_ACCUMULATE, PICOJOULE_PER_MAC, picojoulesPerMac, type EnergyConvention, type LayerEnergy } from "../detection/energy.ts";
import { iou } from "../detection/boxes.ts";
import { fold, foldedChains } from "../nn/index.ts";
import { Activity, type StageActivity } from "./activity.ts";

/** How the forms of one network agree on the same pictures. */
export interface FormsReport {
  readonly pictures: number;
  /** Detections of the integer form, and of the network in float32 as it was validated, at the threshold of prediction. */
  readonly detections: number;
  readonly realDetections: number;
  /** Of either list of integer and binary steps, those without an equal to the last bit in the other. Must be 0. */
  readonly binaryDiffers: number;
  /** Of either list of integer steps and float32, those without a partner of the same class, IoU > 0.9, score within 0.05. */
  readonly realDiffers: number;
}

export interface Report {
  readonly data: string;
  readonly classes: readonly string[];
  readonly scores: DetectionScores;
  /** By the protocol that was asked for. */
  readonly figures?: ProtocolFigures;
  readonly forms: FormsReport;
  /** Chains of linear layers that were folded for what was compared and counted. */
  readonly chains: number;
  /** Mean integer per neuron and timestep. */
  readonly firingRate: number;
  readonly stages: readonly StageActivity[];
  /** Per picture. */
  readonly macs: number;
  readonly realMacs: number;
  readonly synapticOperations: number;
  readonly millijoules: number;
  readonly denseMillijoules: number;
  /** How energy is counted (detection/energy.ts), and each layer of that account. */
  readonly convention: EnergyConvention;
  readonly layers: readonly LayerEnergy[];
}

export interface MeasureOptions {
  readonly data: string;
  readonly classes: readonly string[];
  /** Pictures on which the forms are compared and operations counted. */
  readonly compared?: number;
  /** How the network runs that the scores are of; default "none". What is compared and counted is folded in any case. */
  readonly fold?: Folding;
  /** Default "clean". */
  readonly energy?: EnergyConvention;
  /** Called with the paths of the chains that were folded for the scores. */
  readonly folded?: (names: readonly string[]) => void;
  /** Keeps what was found, for the figures of a protocol, curves and the confusion matrix. */
  readonly findings?: Findings;
  /** Called after each batch with the pictures done so far. */
  readonly progress?: (pictures: number) => void;
}

/**
 * Measures the model on held-out batches with the weights that it has now: metrics as in validation, then, with every linear chain folded
 * into one convolution, its spikes and operations, and what the two spiking forms find. The model ends as it was, or as `fold` has it.
 */
export async function measure(model: Detector, batches: AsyncIterable<AnyBatch>, { data, classes, compared = 100, fold = "none", energy: convention = "clean", folded, findings, progress }: MeasureOptions): Promise<Report> {
  const metrics = findings?.metrics ?? new DetectionMetrics(), activity = new Activity(model, convention);
  const forms = { pictures: 0, detections: 0, realDetections: 0, binaryDiffers: 0, realDiffers: 0 };
  let done = 0, chains = 0;
  for await (const batch of batches) {
    const { images, boxes } = batch, [B, H, W] = images.shape.slice(-4), truths = truthsOf(boxes, B, H, W);
    if (done === 0 && fold !== "none") folded?.(await retrying(() => foldFor(model, images, { folding: fold })));
    const found = await retrying(() => predict(model, images, { nms: validationNms }));
    if (findings) await findings.add(batch, found, truths); else found.forEach((detections, i) => metrics.add(detections, truths[i]));
    if (forms.pictures < compared) chains = await compareForms(forms, activity, model, images);
    progress?.(done += B);
  }
  const { layers, ...costs } = activity.energy(), stages = activity.stages();
  return {
    data, classes, scores: metrics.result(), ...(findings && { figures: findings.figures() }), forms, chains, firingRate: activity.rate, stages,
    ...costs, realMacs: stages.reduce((sum, { realMacs }) => sum + realMacs, 0), convention, layers,
  };
}

async function compareForms(forms: { -readonly [K in keyof FormsReport]: number }, activity: Activity, model: Detector, images: AnyBatch["images"]): Promise<number> {
  const run = (form: InferenceForm): Detection[][] => predict(model, images, { form, nms: predictionNms }), before = foldedChains(model);
  const real = await retrying(() => run("real"));
  const chains = fold(model).length, integer = await retrying(() => activity.watch(real.length, () => run("integer"))), binary = await retrying(() => run("binary"));
  fold(model, { where: before });
  integer.forEach((detections, i) => {
    forms.pictures++;
    forms.detections += detections.length;
    forms.realDetections += real[i].length;
    forms.binaryDiffers += countDifferences(detections, binary[i]);
    forms.realDiffers += countStrangers(detections, real[i]);
  });
  return chains;
}

/** How many detections of either list have no partner in the other: same class, IoU > 0.9, score within 0.05; each partner once, the nearest first. */
export function countStrangers(a: readonly Detection[], b: readonly Detection[]): number {
  const corners = (all: readonly Detection[]): Float64Array => Float64Array.from(all.flatMap(({ x1, y1, x2, y2 }) => [x1, y1, x2, y2]));
  const left = corners(a), right = corners(b);
  const pairs = a.flatMap((one, i) => b.flatMap((other, j) => {
    const overlap = iou(left, i, right, j);
    return one.class === other.class && overlap > 0.9 && Math.abs(one.score - other.score) <= 0.05 ? [{ i, j, overlap }] : [];
  })).sort((p, q) => q.overlap - p.overlap);
  const taken = { a: new Set<number>(), b: new Set<number>() };
  for (const { i, j } of pairs) {
    if (taken.a.has(i) || taken.b.has(j)) continue;
    taken.a.add(i);
    taken.b.add(j);
  }
  return a.length + b.length - 2 * taken.a.size;
}

/** The report for people. */
export function showReport(report: Report): string[] {
  const { forms, millijoules, denseMillijoules, macs, realMacs, synapticOperations, convention, chains } = report;
  const spikeMacs = macs - realMacs, perMac = Number(picojoulesPerMac(convention).toFixed(2));
  return [
    ...showScores(report),
    "",
    `integers as multipliers and T x D binary steps: ${forms.binaryDiffers === 0 ? "no" : forms.binaryDiffers} detections differ, of ${forms.detections} on ${forms.pictures} pictures${forms.binaryDiffers === 0 ? " (compared to the last bit)" : "; there must be none: this is a mistake in this program"}`,
    `the same and float32: ${forms.realDiffers === 0 ? "none" : forms.realDiffers} of ${forms.detections} + ${forms.realDetections} detections are without a partner (same class, IoU > 0.9, score within 0.05)`,
    "",
    ...table(["stage", "rate", "density", "MAC", "of these on reals", "synaptic ops", "energy"], report.stages.map(({ stage, rate, density, macs, realMacs, synapticOperations, millijoules }) => [
      stage, rate === undefined ? "-" : rate.toFixed(3), density === undefined ? "-" : `${(100 * density).toFixed(1)} %`, million(macs), million(realMacs), million(synapticOperations), joules(millijoules),
    ])),
    "",
    `firing rate ${report.firingRate.toFixed(3)} (mean integer that a convolution reads, zeros included)`,
    `energy = MACs on reals x ${perMac} pJ + synaptic ops x ${PICOJOULE_PER_ACCUMULATE} pJ = ${million(realMacs)} x ${perMac} pJ + ${million(synapticOperations)} x ${PICOJOULE_PER_ACCUMULATE} pJ = ${joules(millijoules)} per picture`,
    `the same network with every MAC at ${PICOJOULE_PER_MAC} pJ: ${million(macs)} x ${PICOJOULE_PER_MAC} pJ = ${joules(denseMillijoules)}, ${(denseMillijoules / millijoules).toFixed(1)} times as much`,
    ...(spikeMacs === 0 ? ["nothing fires: every MAC reads real numbers (45 nm, 32 bit, without memory traffic)"] : [
      `${chains > 0 ? "counted with every RepConv folded into one 3x3 convolution: " : ""}MACs on reals are the first layer, which reads the picture;`,
      `the ${million(spikeMacs)} MACs that read spikes became ${million(synapticOperations)} accumulations (45 nm, 32 bit, without memory traffic)`,
    ]),
  ];
}

/** What each layer takes, and the convention in words. */
export function showEnergy({ layers, convention, millijoules, denseMillijoules }: Pick<Report, "layers" | "convention" | "millijoules" | "denseMillijoules">): string[] {
  return [
    ...table(["layer", "rate", "MAC", "synaptic ops", "energy", "every MAC"], [
      ...layers.map(({ name, rate, kind, macs, synapticOperations, picojoules, densePicojoules }) =>
        [name, kind === "mac" ? "reals" : rate.toFixed(3), million(macs), million(synapticOperations), joules(picojoules / 1e9), joules(densePicojoules / 1e9)]),
      ["total", "", "", "", joules(millijoules), joules(denseMillijoules)],
    ]),
    `${convention}: ${energyConventions[convention]}; per picture`,
  ];
}

/** Precision and recall over all classes and for each. */
export function showScores({ data, scores, classes }: Pick<Report, "data" | "scores" | "classes">): string[] {
  const row = (name: string, truths: number, { precision, recall, ap50, map }: { precision: number; recall: number; ap50: number; map: number }): string[] =>
    [name, String(truths), ...[precision, recall, ap50, map].map((x) => x.toFixed(3))];
  return [
    `${data}: ${scores.images} pictures, ${scores.truths} objects`,
    ...table(["class", "objects", "precision", "recall", "mAP50", "mAP50-95"], [
      row("all", scores.truths, { ...scores, ap50: scores.map50 }),
      ...scores.perClass.map((score) => row(classes[score.class] ?? `class ${score.class}`, score.truths, score)),
    ]),
  ];
}

/** All figures of a protocol, then those of each class. */
export function showFigures({ protocol, figures, perClass }: ProtocolFigures): string[] {
  const shown = (of: Readonly<Record<string, number | null>>): string[] => Object.values(of).map((value) => value?.toFixed(3) ?? "-");
  const row = (name: string, cells: readonly string[]): string[] => [name, ...cells], columns = Object.keys(perClass[0]?.figures ?? {});
  return [
    `${protocol}:`,
    ...table(Object.keys(figures), [shown(figures)]),
    ...table(["class", "objects", "detections", ...columns], perClass.map((one) => row(one.class, [`${one.truths}`, `${one.detections}`, ...shown(one.figures)]))),
  ];
}

const million = (x: number): string => `${(x / 1e6).toFixed(2)} M`;
const joules = (millijoules: number): string => `${millijoules.toFixed(4)} mJ`;

/** Columns as wide as what is in them; the first to the left, numbers to the right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [head, ...rows], widths = head.map((_, c) => Math.max(...all.map((row) => row[c].length)));
  return all.map((row) => row.map((cell, c) => (c === 0 ? cell.padEnd(widths[c]) : cell.padStart(widths[c]))).join("  "));
}
