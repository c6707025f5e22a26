/** A profile as one figure: how busy each layer is, and what its kernels take, in the order in which the layers run. */
import type { LayerProfile, Profile } from "../../detection/index.ts";
import { colours, type Figure } from "./draw.ts";

/** What stands above the panels. */
export interface ProfileCaption {
  /** Such as "SpikeYOLO tiny, T 1 x D 4". */
  readonly title: string;
  /** Lines below it: data, machine. */
  readonly lines: readonly string[];
}

const WIDTH = 1080;

/**
 *     firing rate      a bar for each layer that reads spikes, a line for the mean of each part of the network; dead and saturated layers marked
 *     share of spikes  that are not zero, and that have an open window
 *     milliseconds     dense and sparse, joined; the one way there is where there is no choice
 *     names of the parts
 */
export function profileFigure({ layers, total }: Profile, { title, lines }: ProfileCaption): Figure {
  const D = Math.max(1, ...layers.map(({ spikes }) => spikes?.D ?? 0)), layer = `mean integer of a layer, 0..${D}`, mean = "of its part of the network";
  const rows = layers.map((one, i) => ({ ...rowOf(one, i + 1), what: layer })), parts = partsOf(layers).map((part) => ({ ...part, what: mean }));
  const highest = Math.max(0.1, ...layers.map(({ spikes }) => spikes?.rate ?? 0));
  const top = 1.15 * highest;
  const { chosen, dense, sparse } = total.milliseconds;
  const x = (field = "at"): Figure => ({ field, type: "quantitative", scale: { domain: [0.5, layers.length + 0.5], nice: false, zero: false, padding: 0 }, axis: null });
  const bands: Figure = {
    data: { values: parts.filter((_, i) => i % 2 === 1) },
    mark: { type: "rect", color: colours.band },
    encoding: { x: x("from"), x2: { field: "to" } },
  };
  const panel = (height: number, ...layer: readonly Figure[]): Figure => ({ width: WIDTH, height, layer: [bands, ...layer] });
  const y = (field: string, axis: string, more: Figure = {}): Figure => ({ field, type: "quantitative", title: axis, ...more });
  const legend = (domain: readonly string[], range: readonly string[], field = "what"): Figure =>
    ({ field, type: "nominal", scale: { domain, range }, legend: { title: null, orient: "top", direction: "horizontal", offset: 4 } });

  const milliseconds = logarithmic(rows.flatMap(({ dense, sparse, only }) => [dense, sparse, only].filter((n) => n !== null)));
  const silent = rows.filter(({ state }) => state === "dead" || state === "saturated");
  const rate = panel(150,
    { transform: [{ filter: "datum.rate !== null" }], mark: { type: "rect" }, encoding: { x: x("left"), x2: { field: "right" }, y: y("rate", "firing rate", { scale: { domain: [0, top], nice: false }, axis: { tickCount: 5 } }), y2: { datum: 0 }, color: legend([layer, mean], [colours.sky, colours.ink]) } },
    { data: { values: parts.filter(({ rate }) => rate !== null) }, mark: { type: "rule", strokeWidth: 2.5 }, encoding: { x: x("from"), x2: { field: "to" }, y: y("rate", ""), color: { field: "what", type: "nominal" } } },
    { data: { values: silent }, mark: { type: "point", size: 90, strokeWidth: 2.2, filled: false, opacity: 1, color: colours.orange, yOffset: -7 }, encoding: { x: x(), y: y("rate", ""), shape: { field: "state", type: "nominal", scale: { domain: ["dead", "saturated"], range: ["cross", "triangle-up"] }, legend: null } } },
    { data: { values: silent }, mark: { type: "text", fontSize: 11, fontWeight: "bold", color: colours.orange, dy: -18 }, encoding: { x: x(), y: y("rate", ""), text: { field: "state" } } },
  );
  const share = panel(120, {
    transform: [{ filter: "datum.density !== null" }, { fold: ["density", "open"], as: ["which", "share"] }, { filter: "isValid(datum.share)" }, { calculate: "datum.which === 'density' ? 'not zero (density)' : 'window open'", as: "what" }],
    mark: { type: "point", filled: true, size: 34, opacity: 1 },
    encoding: { x: x(), y: y("share", "share", { scale: { domain: [0, 1] }, axis: { format: "%", tickCount: 5 } }), color: legend(["not zero (density)", "window open"], [colours.blue, colours.amber]) },
  });
  const time = panel(180,
    { transform: [{ filter: "datum.dense !== null" }], mark: { type: "rule", color: colours.faint, strokeWidth: 1.2 }, encoding: { x: x(), y: y("dense", "milliseconds", milliseconds), y2: { field: "sparse" } } },
    {
      transform: [{ fold: ["dense", "sparse", "only"], as: ["which", "ms"] }, { filter: "isValid(datum.ms)" }, { calculate: "{dense: 'dense', sparse: 'sparse, lists included', only: 'no choice (depthwise, real input)'}[datum.which]", as: "what" }],
      mark: { type: "point", filled: true, size: 40, opacity: 1 },
      encoding: { x: x(), y: y("ms", "milliseconds", milliseconds), color: legend(["dense", "sparse, lists included", "no choice (depthwise, real input)"], [colours.orange, colours.blue, colours.faint]) },
    },
  );
  const names: Figure = {
    width: WIDTH, height: 64, view: { stroke: null }, data: { values: parts },
    mark: { type: "text", angle: 305, align: "right", baseline: "middle", fontSize: 11, color: colours.ink },
    encoding: { x: x("middle"), y: { value: 2 }, text: { field: "part" } },
  };
  return {
    title: { text: title, subtitle: [...lines, `forward: ${ms(chosen)} as chosen, ${ms(dense)} dense, ${ms(sparse)} sparse`, `${millions(total.synapticOperations)} synaptic operations for ${millions(total.macs)} MACs, ${millijoules(total.picojoules.clean)} a picture (published sheet's way: ${millijoules(total.picojoules.sheet)})`] },
    data: { values: rows },
    vconcat: [rate, share, time, names],
    spacing: 10,
    resolve: { scale: { color: "independent", shape: "independent" }, axis: { x: "independent" } },
  };
}

/** A logarithmic axis from one of 1, 2, 5, 10, ... to another, with all of them between as its ticks. */
function logarithmic(values: readonly number[]): Figure {
  const least = Math.min(...values), most = Math.max(...values), steps = Array.from({ length: 36 }, (_, i) => [1, 2, 5][i % 3] * 10 ** (Math.floor(i / 3) - 6));
  const from = steps.findLastIndex((step) => step < least), to = steps.findIndex((step) => step > most), ticks = steps.slice(Math.max(0, from), to < 0 ? undefined : to + 1);
  return { scale: { type: "log", domain: [ticks[0], ticks.at(-1)], nice: false }, axis: { values: ticks, format: "~g" } };
}

const ms = (n: number): string => `${n.toPrecision(3)} ms`;
const millions = (n: number): string => `${(n / 1e6).toPrecision(3)} M`;
const millijoules = (pJ: number): string => `${(pJ / 1e9).toPrecision(3)} mJ`;

interface Row {
  /** Its place along the panels, and the edges of its bar. */
  readonly at: number;
  readonly left: number;
  readonly right: number;
  readonly rate: number | null;
  readonly density: number | null;
  readonly open: number | null;
  readonly state: string | null;
  readonly dense: number | null;
  readonly sparse: number | null;
  /** The milliseconds of a layer without a choice. */
  readonly only: number | null;
}

function rowOf({ spikes, milliseconds: { chosen, dense, sparse } }: LayerProfile, at: number): Row {
  return {
    at, left: at - 0.36, right: at + 0.36, rate: spikes?.rate ?? null, density: spikes?.density ?? null, open: spikes?.open ?? null, state: spikes?.state ?? null,
    dense: dense ?? null, sparse: sparse ?? null, only: dense === undefined ? chosen : null,
  };
}

/** Layers one after the other whose paths begin with the same word. */
interface Part { readonly part: string; readonly from: number; readonly to: number; readonly middle: number; readonly rate: number | null }

export function partsOf(layers: readonly LayerProfile[]): Part[] {
  const starts = layers.flatMap(({ name }, i) => (i === 0 || word(name) !== word(layers[i - 1].name) ? [i] : []));
  return starts.map((start, i) => {
    const end = starts[i + 1] ?? layers.length, own = layers.slice(start, end).flatMap(({ spikes, input }) => (spikes ? [{ rate: spikes.rate, size: input.reduce((a, b) => a * b, 1) }] : []));
    const spikes = own.reduce((sum, { size }) => sum + size, 0);
    return {
      part: word(layers[start].name), from: start + 0.5, to: end + 0.5, middle: (start + end + 1) / 2,
      rate: spikes === 0 ? null : own.reduce((sum, { rate, size }) => sum + rate * size, 0) / spikes,
    };
  });
}

const word = (name: string): string => name.split(".")[0];
