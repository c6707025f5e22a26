/**
 * What sparsity is worth: every kernel for a convolution of spikes against the dense one in float32, on the same spikes, over densities; binary and integer
 * ones, spread evenly and in clusters; beside the roofs of the machine. Or on the spikes that a trained network met.
 *
 *   npm run bench -- sparsity                               the sweep, some minutes
 *   npm run bench -- sparsity picture=sparsity.svg          and as a figure
 *   npm run bench -- sparsity spikes=runs/train             the spikes of a run, each beside uniform ones of its density
 *   npm run bench -- sparsity quick | threads=2 | pictures=4
 *
 * Times of a kernel begin at spike bytes and end at float32: event lists and conversions are in them, weights are laid out before. All kernels of a
 * row are seen to give the same bits before they are timed. One thread, unless said otherwise.
 */
import { drawFigure, expectDrawable } from "../cli/figures/draw.ts";
import { Desk, print } from "./desk.ts";
import { recordedFigure, sweepFigure } from "./lab/figures.ts";
import { layKernels, nameOf, square, type Layer } from "./lab/layer.ts";
import { measureRows, type Row } from "./lab/measure.ts";
import { labOptions, type LabOptions } from "./lab/options.ts";
import { patterns, spikeBytes } from "./lab/patterns.ts";
import { record, type Recording } from "./lab/recorded.ts";
import { higher, leastMs, measureRoofs, type Roofs } from "./lab/roofline.ts";

const LAYERS: readonly Layer[] = [square(40, 256, 256, 3), square(40, 64, 64, 3), square(10, 512, 512, 3), square(40, 256, 512, 1), square(80, 64, 64, 1)];
const DENSITIES = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1];
/** Largest integers: binary spikes, and those of SpikeYOLO. */
const LARGEST = [1, 4];

const QUICK = { layers: [square(12, 32, 32, 3), square(12, 32, 64, 1)], densities: [0.005, 0.1, 1] };

export async function run(args: readonly string[] = []): Promise<unknown> {
  const options = labOptions(args);
  if (options.picture !== undefined) await expectDrawable(options.picture);
  const before = await measureRoofs(options.threads, options.quick), recording = options.spikes === undefined ? undefined : await record(options.spikes, options.pictures);
  const rows = recording ? await replay(recording, options) : await sweep(options), roofs = higher(before, await measureRoofs(options.threads, options.quick));
  const machine = `${options.threads} ${options.threads === 1 ? "thread" : "threads"}, Node ${process.versions.node}`;
  show(rows, roofs, machine);
  if (options.picture !== undefined) {
    await drawFigure(options.picture, recording ? recordedFigure(rows, `${recording.of}; ${machine}`) : sweepFigure(rows, roofs, machine));
    console.log(`wrote ${options.picture}`);
  }
  return { threads: options.threads, roofs, ...(recording && { recorded: recording.of }), rows };
}

async function sweep({ quick, threads }: LabOptions): Promise<Row[]> {
  const rows: Row[] = [];
  for (const layer of quick ? QUICK.layers : LAYERS) {
    for (const D of LARGEST) {
      const desk = await Desk.of({ threads }), densities = quick ? QUICK.densities : DENSITIES;
      const spiking = patterns.flatMap((pattern) => densities.map((density) => ({ bytes: spikeBytes(layer, { pattern, density, D }), pattern, D })));
      rows.push(...measureRows(layKernels(desk, layer, D), layer, spiking, quick));
      await desk.loaded.stop();
      if (!quick) console.error(`${nameOf(layer)}, ${D === 1 ? "binary" : `integers to ${D}`}: done`);
    }
  }
  return rows;
}

async function replay({ layers }: Recording, { quick, threads }: LabOptions): Promise<Row[]> {
  const rows: Row[] = [];
  for (const { name, layer, bytes, D } of layers) {
    const desk = await Desk.of({ threads }), density = bytes.filter(Boolean).length / bytes.length, uniform = spikeBytes(layer, { pattern: "uniform", density, D });
    rows.push(...measureRows(layKernels(desk, layer, D), layer, [{ bytes, pattern: "recorded", layer: name, D }, { bytes: uniform, pattern: "uniform", layer: name, D }], quick));
    await desk.loaded.stop();
  }
  return rows;
}

/** Milliseconds of the dense kernel, how many times faster the others are, and which share of what the roofs allow the sparse one reaches. */
function show(rows: readonly Row[], roofs: Roofs, machine: string): void {
  const { peak, copy } = roofs, ofRoof = (timing: Row["kernels"][string]): string => `${((100 * leastMs(roofs, timing)) / timing.ms).toFixed(0)} %`;
  console.log(`roofs, ${machine}: ${peak.f32.toFixed(1)} GFLOP/s in float32, ${peak.i16.toFixed(1)} Gop/s in int16, ${peak.i8.toFixed(1)} Gop/s in int8 dot products; a copy moves ${copy.toFixed(1)} GB/s`);
  const all = [...new Set(rows.flatMap(({ kernels }) => Object.keys(kernels)))], others = all.filter((name) => !/dense f32$/.test(name));
  const cell = (n: number | undefined): string | number => n ?? "";
  print(["times dense f32", ...(rows.some(({ layer }) => layer) ? ["layer"] : []), "spikes", "values", "density", "dense f32, ms", ...others, "sparse f32, of roof"], rows.map(({ shape, layer, pattern, D, density, kernels }) => [
    shape, ...(layer === undefined ? [] : [layer]), pattern, D === 1 ? "binary" : `0..${D}`, `${(100 * density).toFixed(1)} %`, kernels["dense f32"].ms.toFixed(3),
    ...others.map((name) => cell(kernels[name]?.times)), ofRoof(kernels["sparse f32"]),
  ]));
}
