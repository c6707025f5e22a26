/**
 * How long the parts of a chain take on this machine, from small layers that are timed once.
 *
 *   ns = call + pack weights + macs * least of { dense, idle / channels + busy density }      of spikes
 *   ns = call + pack weights + macs * dense                                                    of reals
 *
 * Gathering takes time in proportion to density beside what it takes at any for each output and tap, so two densities tell its line. The exact forms gather always.
 */
import { batchNorm, conv2d, full, host, noGrad, Random, scope, spikesOf, tensor, Tensor, withKernels, zeros, type KernelChoice, type Spikes } from "../engine/index.ts";
import type { Cost } from "./fold.ts";

/** Nanoseconds: for each output and tap at any density, and for each multiply-accumulate that falls on a spike. */
interface Gathering { readonly idle: number; readonly busy: number }

/** Nanoseconds; `call` is what a part takes before it does anything. */
export interface PartRates {
  readonly dense: { readonly pointwise: number; readonly wider: number };
  readonly sparse: { readonly pointwise: Gathering; readonly wider: Gathering };
  /** Per multiply-accumulate. */
  readonly depthwise: number;
  /** Per value. */
  readonly rows: number;
  /** Per weight, of reals, and of what spikes meet: the exact forms bring weights onto their grid. */
  readonly pack: { readonly reals: number; readonly spikes: number };
  readonly call: number;
}

/** How spikes are convolved: real sums, by whichever kernel is faster, or the exact sums of one of the spiking forms. */
export type SpikeSums = "real" | "integer" | "binary";

/** The cost in time. */
export function milliseconds(sums: SpikeSums = "real", rates: PartRates = measuredRates(sums)): Cost {
  const { call, pack, dense, sparse, depthwise, rows } = rates;
  return ({ kind, reads, macs, weights, channels }, { density }) => {
    const each = kind === "rows" ? rows : kind === "depthwise" ? depthwise
      : reads === "reals" ? dense[kind] : Math.min(sums === "real" ? dense[kind] : Infinity, sparse[kind].idle / channels + sparse[kind].busy * density);
    return (call + weights * pack[reads] + macs * each) / 1e6;
  };
}

// ── measuring ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** What holds where nothing is measured: rounded from figures of one machine, on one thread (`npm run bench -- fold`). */
const REAL: PartRates = {
  dense: { pointwise: 0.046, wider: 0.044 }, sparse: { pointwise: { idle: 0.58, busy: 0.053 }, wider: { idle: 0.29, busy: 0.053 } },
  depthwise: 0.13, rows: 0.4, pack: { reals: 0.22, spikes: 0.4 }, call: 15_000,
};
const EXACT: PartRates = { ...REAL, sparse: { pointwise: { idle: 1.15, busy: 0.066 }, wider: { idle: 0.29, busy: 0.064 } }, pack: { reals: 0.22, spikes: 2.9 } };
const FIXED: Readonly<Record<SpikeSums, PartRates>> = {
  real: REAL,
  integer: EXACT,
  binary: { ...EXACT, sparse: { pointwise: { idle: 2.4, busy: 0.066 }, wider: { idle: 0.77, busy: 0.067 } } },
};

/** By build, number of threads and form. */
const known = new Map<string, PartRates>();

/** The rates of this machine, measured when first asked for, in some 100 ms, once per process, build, number of threads and form; constants where dispatch is fixed. */
export function measuredRates(sums: SpikeSums = "real"): PartRates {
  const { build, threads, dispatch } = host(), key = `${build} ${threads} ${sums}`;
  if (dispatch === "fixed") return FIXED[sums];
  let rates = known.get(key);
  if (!rates) known.set(key, (rates = scope(() => noGrad(() => measure(sums)))));
  return rates;
}

/** Frames of SIDE x SIDE, the channels C -> C of the convolutions on them, and those of rows, more than a cache near the core holds. */
const SIDE = 16, POINTWISE = 128, WIDER = 64, ROWS = 1024;
const LOW = 0.1, HIGH = 0.5;
/** Rounds that warm up, and rounds of which the fastest counts. */
const WARM = 3, TIMED = 7;

function measure(sums: SpikeSums): PartRates {
  const random = new Random(1);
  const reals = (...shape: number[]): Tensor => tensor(Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.uniform(-1, 1)), shape);
  /** One of three fires 2, the others 1: a trained network fires some 1.3 at a time. */
  const spikes = (density: number, side: number, C: number): Spikes =>
    spikesOf(tensor(Float32Array.from({ length: side * side * C }, (_, i) => (random.uniform() < density ? 1 + Number(i % 3 === 0) : 0)), [1, side, side, C]), { D: 4 });
  const dense: KernelChoice = { forward: "dense" }, gathered: KernelChoice = { forward: sums === "real" ? "sparse" : sums };

  const wide = reals(WIDER, 3, 3, WIDER), point = reals(POINTWISE, 1, 1, POINTWISE), deep = reals(POINTWISE, 3, 3, 1), packed = reals(POINTWISE, 3, 3, POINTWISE), one = reals(1, 1, 1, 1);
  const on = (weight: Tensor, x: Spikes | Tensor, choice: KernelChoice, groups = 1) => (): void => {
    withKernels(choice, () => conv2d(x instanceof Tensor ? x : x.unlisted(), weight, undefined, { padding: weight.shape[1] >> 1, groups }));
  };
  const [gamma, beta, mean, variance] = [full([ROWS], 1), zeros([ROWS]), zeros([ROWS]), full([ROWS], 1)], rows = reals(1, SIDE, SIDE, ROWS);
  const sparse = (density: number, C: number): Spikes => spikes(density, SIDE, C);

  const ns = fastest({
    call: on(one, reals(1, 1, 1, 1), dense),
    packReals: on(packed, reals(1, 1, 1, POINTWISE), dense), packSpikes: on(packed, spikes(0, 1, POINTWISE), gathered),
    densePoint: on(point, sparse(HIGH, POINTWISE), dense), lowPoint: on(point, sparse(LOW, POINTWISE), gathered), highPoint: on(point, sparse(HIGH, POINTWISE), gathered),
    denseWide: on(wide, sparse(HIGH, WIDER), dense), lowWide: on(wide, sparse(LOW, WIDER), gathered), highWide: on(wide, sparse(HIGH, WIDER), gathered),
    depthwise: on(deep, reals(1, SIDE, SIDE, POINTWISE), dense, POINTWISE),
    rows: () => { batchNorm(rows, gamma, beta, { mean, variance, eps: 1e-5, ofBatch: false }); },
  });

  const { call } = ns, pack = { reals: (ns.packReals - call) / packed.size, spikes: (ns.packSpikes - call) / packed.size };
  const macs = (weight: Tensor): number => SIDE * SIDE * weight.size;
  const each = (ns: number, weight: Tensor, packing: number): number => Math.max(0, ns - call - weight.size * packing) / macs(weight);
  const line = (low: number, high: number, weight: Tensor): Gathering => {
    const [l, h] = [low, high].map((ns) => each(ns, weight, pack.spikes)), busy = Math.max(0, h - l) / (HIGH - LOW);
    return { idle: weight.shape[3] * Math.max(0, l - LOW * busy), busy };
  };
  return {
    dense: { pointwise: each(ns.densePoint, point, pack.reals), wider: each(ns.denseWide, wide, pack.reals) },
    sparse: { pointwise: line(ns.lowPoint, ns.highPoint, point), wider: line(ns.lowWide, ns.highWide, wide) },
    depthwise: each(ns.depthwise, deep, 0), rows: Math.max(0, ns.rows - call) / rows.size, pack, call,
  };
}

/** Least nanoseconds of each, in turns, so that a slow moment of the machine meets all of them. */
function fastest<Name extends string>(runs: Readonly<Record<Name, () => void>>): Record<Name, number> {
  const names = Object.keys(runs) as Name[], best = Object.fromEntries(names.map((name) => [name, Infinity])) as Record<Name, number>;
  for (let round = -WARM; round < TIMED; round++) for (const name of names) {
    const start = performance.now();
    scope(runs[name]);
    if (round >= 0) best[name] = Math.min(best[name], 1e6 * (performance.now() - start));
  }
  return best;
}
