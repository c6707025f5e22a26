/** The lab as figures: speed-up over density, a line for each kernel, dense = 1; and the roofs beside it. */
import { colours, type Figure } from "../../cli/figures/draw.ts";
import type { Row, Timing } from "./measure.ts";
import type { Roofs } from "./roofline.ts";

/** Every kernel but the dense ones that are 1, with its colour. */
const COLOURS: Readonly<Record<string, string>> = {
  "sparse f32": colours.blue, "sparse i16": colours.green, "sparse i16, 3 taps at once": colours.sky, "dense i8": colours.amber, "dW sparse f32 / dW dense f32": colours.purple,
};
/** What a line is called: forward kernels are held against the dense forward, the weight gradient against its own. */
const label = (kernel: string): string => (kernel === "dW sparse f32" ? "dW sparse f32 / dW dense f32" : kernel);

interface Point extends Omit<Row, "kernels">, Timing { readonly kernel: string; readonly values: string; readonly intensity: number }
const valuesOf = (D: number): string => (D === 1 ? "binary" : `integers 1..${D}`);

function pointsOf(rows: readonly Row[]): Point[] {
  return rows.flatMap(({ kernels, ...row }) => Object.entries(kernels).map(([name, timing]) => ({ ...row, ...timing, intensity: timing.operations / timing.bytes, kernel: label(name), values: valuesOf(row.D) })));
}

const colour = (points: readonly Point[]): Figure => {
  const domain = Object.keys(COLOURS).filter((name) => points.some(({ kernel }) => kernel === name));
  return { field: "kernel", type: "nominal", scale: { domain, range: domain.map((name) => COLOURS[name]) }, legend: { title: null, orient: "top", columns: domain.length, symbolType: "circle", offset: 14 } };
};

const TICKS = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1];
const density = (title: string | null = "density"): Figure => ({ field: "density", type: "quantitative", title, scale: { type: "log", domain: [0.004, 1.15], nice: false }, axis: { values: TICKS, format: "~%", labelOverlap: true } });

/** From one of 1, 2, 5, 10, ... to another, so that all panels can be compared. */
function speedups(points: readonly { readonly times: number }[]): Figure {
  const steps = Array.from({ length: 24 }, (_, i) => [1, 2, 5][i % 3] * 10 ** (Math.floor(i / 3) - 3)), times = points.map(({ times }) => times);
  const from = Math.max(0, steps.findLastIndex((step) => step < Math.min(1, ...times))), to = steps.findIndex((step) => step > Math.max(1, ...times));
  const values = steps.slice(from, to < 0 ? undefined : to + 1);
  return { field: "times", type: "quantitative", title: "times faster", scale: { type: "log", domain: [values[0], values.at(-1)], nice: false }, axis: { values, format: "~g" } };
}

const ONE: Figure = { data: { values: [{ times: 1 }] }, mark: { type: "rule", color: colours.ink, strokeWidth: 1.2, strokeDash: [4, 3] }, encoding: { y: { field: "times", type: "quantitative" } } };
const WIDTH = 300, HEIGHT = 190;
const DECADES: Figure = { values: [0.01, 0.1, 1, 10, 100, 1000], format: "~g" };

/** A row of panels for each shape: speed-ups on uniform spikes, on clustered ones, and what share of the roofs the kernels reach. */
export function sweepFigure(rows: readonly Row[], roofs: Roofs, machine: string): Figure {
  const points = pointsOf(rows).filter(({ kernel }) => kernel in COLOURS), shapes = [...new Set(rows.map(({ shape }) => shape))], y = speedups(points);
  const largest = Math.max(...rows.map(({ D }) => D)), dash = { field: "values", type: "nominal", scale: { domain: [valuesOf(largest), valuesOf(1)], range: [[1, 0], [3, 3]] }, legend: { title: null, orient: "top", offset: 14 } };
  const speed = (shape: string, pattern: string): Figure => ({
    width: WIDTH, height: HEIGHT, title: { text: `${shape}, ${pattern}`, fontSize: 12, offset: 6 },
    layer: [ONE, {
      data: { values: points.filter((point) => point.shape === shape && point.pattern === pattern) },
      encoding: { x: density(), y, color: colour(points) },
      layer: [{ mark: { type: "line", strokeWidth: 1.8 }, encoding: { strokeDash: dash } }, { transform: [{ filter: `datum.D === ${largest}` }], mark: { type: "point", filled: true, size: 22, opacity: 1 } }],
    }],
  });
  const roof = rooflinePanel(points.filter(({ D, pattern, kernel }) => D === largest && pattern === "uniform" && !kernel.startsWith("dW")), roofs, colour(points));
  return {
    title: { text: "Convolutions of spikes against dense float32, over density", subtitle: [`${machine}; event lists and conversions included; dashed line: dense float32 (for dW, the dense weight gradient)`, `right: uniform integer spikes under the roofs of the machine, from ${TICKS[0] * 100} to 100 % (larger points are denser)`] },
    vconcat: shapes.map((shape) => ({ hconcat: [speed(shape, "uniform"), speed(shape, "clustered"), roof(shape)], spacing: 24 })),
    spacing: 18,
    resolve: { scale: { color: "shared", strokeDash: "shared" } },
  };
}

/** Gop/s over operations for each byte; roofs are a slope of bytes, and a ceiling for each arithmetic. */
function rooflinePanel(points: readonly Point[], { peak, copy }: Roofs, color: Figure): (shape: string) => Figure {
  const reach = (of: (point: Point) => number): [number, number] => [Math.min(...points.map(of)), Math.max(...points.map(of))];
  const [leastX, mostX] = reach(({ intensity }) => intensity), [leastY] = reach(({ gops }) => gops);
  const x = { field: "intensity", type: "quantitative", title: "operations for each byte", scale: { type: "log", domain: [leastX / 1.5, mostX * 4], nice: false }, axis: DECADES };
  const most = Math.max(...Object.values(peak)) * 1.6, y = { field: "gops", type: "quantitative", title: "Gop/s", scale: { type: "log", domain: [Math.min(leastY / 1.5, copy * leastX / 1.5), most], nice: false }, axis: DECADES };
  const ceilings = Object.entries(peak).flatMap(([name, gops]) => [leastX / 1.5, gops / copy, mostX * 4].filter((at, i) => i === 1 || (i === 0) === (at < gops / copy)).map((intensity) => ({ name, intensity, gops: Math.min(gops, intensity * copy) })));
  const ends = Object.entries(peak).map(([name, gops]) => ({ name: `${name} peak`, intensity: mostX * 3.8, gops }));
  return (shape) => ({
    width: WIDTH, height: HEIGHT, title: { text: `${shape}, under the roofs`, fontSize: 12, offset: 6 },
    layer: [
      { data: { values: ceilings }, mark: { type: "line", clip: true, color: colours.faint, strokeWidth: 1.4 }, encoding: { x, y, detail: { field: "name" } } },
      { data: { values: ends }, mark: { type: "text", align: "right", dy: -6, fontSize: 10, color: "#555555" }, encoding: { x, y, text: { field: "name" } } },
      { data: { values: points.filter((point) => point.shape === shape) }, mark: { type: "point", filled: true, opacity: 0.9, clip: true }, encoding: { x, y, color, size: { field: "density", type: "quantitative", scale: { type: "log", domain: [0.005, 1], range: [10, 90] }, legend: null } } },
    ],
  });
}

const STEP = 15;

/**
 * The layers of a network in the order in which they run, a column each:
 *
 *     density         of the spikes recorded
 *     forward         every kernel against the dense one
 *     dW              the weight gradient against its own dense kernel
 *     clustering      how many times faster the sparse kernel is on the recorded spikes than on uniform ones of the same density
 */
export function recordedFigure(rows: readonly Row[], caption: string): Figure {
  const layers = rows.filter(({ pattern }) => pattern === "recorded"), uniform = new Map(rows.flatMap((row) => (row.pattern === "uniform" ? [[row.layer, row] as const] : [])));
  const points = pointsOf(layers).filter(({ kernel }) => kernel in COLOURS), forward = points.filter(({ kernel }) => !kernel.startsWith("dW")), gradients = points.filter(({ kernel }) => kernel.startsWith("dW"));
  const against = layers.map(({ layer, kernels }) => ({ layer, kernel: "sparse f32", times: uniform.get(layer)!.kernels["sparse f32"].ms / kernels["sparse f32"].ms }));
  const x = (last: boolean): Figure => ({
    field: "layer", type: "nominal", sort: null, title: null, scale: { type: "band", domain: layers.map(({ layer }) => layer), padding: 0.2 },
    axis: last ? { labelAngle: -60, labelFontSize: 9, labelLimit: 300, grid: true } : { labels: false, ticks: false, grid: true },
  });
  const dots = { type: "point", filled: true, size: 34, opacity: 1 }, panel = (height: number, values: readonly unknown[], y: Figure, rest: Figure, last = false): Figure => ({
    width: { step: STEP }, height, data: { values }, layer: [ONE, { mark: dots, encoding: { x: x(last), y, ...rest } }],
  });
  return {
    title: { text: "Convolutions of recorded spikes against dense float32, layer by layer", subtitle: [`${caption}; event lists and conversions included`, "dashed line: dense float32 (for dW, the dense weight gradient; in the last panel, uniform spikes of the same density)"] },
    vconcat: [
      { width: { step: STEP }, height: 70, data: { values: layers.map(({ layer, density }) => ({ layer, density })) }, mark: { type: "bar", color: "#BBBBBB" }, encoding: { x: x(false), y: { field: "density", type: "quantitative", title: "density", axis: { format: "~%", tickCount: 4 } } } },
      panel(190, forward, { ...speedups(forward), title: "forward, times faster" }, { color: colour(points) }),
      ...(gradients.length > 0 ? [panel(110, gradients, { ...speedups(gradients), title: "dW, times" }, { color: colour(points) })] : []),
      panel(90, against, { ...speedups(against), title: "by clusters" }, { color: colour(points) }, true),
    ],
    spacing: 8,
    resolve: { scale: { color: "shared" } },
  };
}
