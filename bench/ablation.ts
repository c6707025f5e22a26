/**
 * The ablations of SpikeYOLO, each trained from several seeds by the default recipe: what the paper's tables show, on data that anyone has.
 *
 *   npm run bench -- ablation quick                       every row, two seeds, a few minutes: whether it runs, not who is better
 *   npm run bench -- ablation                             three seeds of the default run: hours
 *   npm run bench -- ablation only=spikeyolo,silu,4x1     these rows; T x D is SpikeYOLO with so many timesteps and such integers
 *   npm run bench -- ablation events                      on generated event scenes, T slices each, in place of the embedded pictures
 *   npm run bench -- ablation seeds=5 epochs=20 train=1600 val=256 imgsz=128 model=small
 *
 * Figures are those of the averaged weights after the last epoch on pictures that were not trained on: mean over seeds +- sample standard deviation. Rate is the mean
 * integer that a convolution of spikes reads; energy is that of one picture, every chain that folds folded, 4.6 pJ a MAC and 0.9 pJ an accumulation.
 */
import { Activity } from "../cli/activity.ts";
import { openSplit, trainingData, type AnyBatch, type OpenSet } from "../cli/data.ts";
import { recipeOf, settingsOf, type Settings } from "../cli/recipes.ts";
import { configOf } from "../cli/saved-run.ts";
import { UserError } from "../cli/user-error.ts";
import { eventScenes } from "../datasets/index.ts";
import {
  ablations, predict, SpikeYOLO, spikeYOLO, SpikingYOLOv8, spikingYOLOv8, timesteps, train, type Ablation, type Detector, type HeadName, type SpikeYOLOConfig, type SpikeYOLORecord,
} from "../detection/index.ts";
import { loadKernels } from "../engine/index.ts";
import { fold, loadCheckpoint, restore } from "../nn/index.ts";
import { print } from "./desk.ts";

type Config = SpikeYOLORecord & Partial<SpikeYOLOConfig<HeadName>>;

/** A network of the table. */
interface Row { readonly name: string; readonly T: number; readonly D: number; readonly fires: boolean; readonly published?: Ablation["published"]; make(config: Config): Detector }

const DIRECT = "spiking-yolov8";
const NAMES = [...Object.keys(ablations), DIRECT, ...Object.keys(timesteps)];

function rowOf(name: string): Row | undefined {
  if (name === DIRECT) return { name, T: 1, D: 1, fires: true, published: { T: 1, D: 1, map50: 46.8, map: 31.3, millijoules: 7.2 }, make: (config) => new SpikingYOLOv8<HeadName>({ ...config, ...spikingYOLOv8.tiny }) };
  if (Object.hasOwn(ablations, name)) {
    const { fields, ...about }: Ablation = ablations[name as keyof typeof ablations];
    return { name, T: 1, D: 4, fires: (fields.activation ?? "spike") === "spike", published: about.published, make: (config) => new SpikeYOLO<HeadName>({ ...config, ...fields }) };
  }
  const grid = /^(\d{1,2})x(\d{1,2})$/.exec(name), [T, D] = grid ? [Number(grid[1]), Number(grid[2])] : [0, 0];
  return T >= 1 && T <= 16 && D >= 1 && D <= 15 ? { name, T, D, fires: true, published: (timesteps as Record<string, Ablation["published"]>)[name], make: (config) => new SpikeYOLO<HeadName>(config) } : undefined;
}

interface Options { readonly rows: readonly Row[]; readonly seeds: number; readonly epochs: number; readonly train: number; readonly val: number; readonly imgsz: number; readonly model: Settings["model"]; readonly events: boolean }

const FULL = { seeds: 3, epochs: 8, train: 1600, val: 128, imgsz: 128 }, QUICK = { seeds: 2, epochs: 4, train: 240, val: 64, imgsz: 64 };

/** Reads the words behind the name of the bench. */
export function ablationOptions(args: readonly string[]): Options {
  const given = new Map<string, string>();
  for (const argument of args) {
    const [, key, equals, text] = /^([^=]*)(=?)(.*)$/s.exec(argument)!, flag = key === "quick" || key === "events";
    if (flag ? equals : !equals || ![...Object.keys(FULL), "only", "model"].includes(key)) throw new UserError(`ablation: expected quick, events, or one of ${[...Object.keys(FULL), "model", "only"].map((name) => `${name}=...`).join(", ")}, got ${JSON.stringify(argument)}`);
    if (given.has(key)) throw new UserError(`ablation: ${key} is given twice; keep one`);
    given.set(key, text);
  }
  const numbers = { ...(given.has("quick") ? QUICK : FULL) };
  for (const key of Object.keys(numbers) as (keyof typeof numbers)[]) {
    const text = given.get(key), value = Number(text), unit = key === "imgsz" ? 32 : 1;
    if (text === undefined) continue;
    if (!/^\d{1,6}$/.test(text) || value < unit || value % unit) throw new UserError(`ablation: ${key} is ${text || "empty"}, expected a ${unit > 1 ? `multiple of ${unit}` : "whole number"} from ${unit} up`);
    numbers[key] = value;
  }
  const model = given.get("model") ?? "tiny", events = given.has("events");
  if (!Object.hasOwn(spikeYOLO, model)) throw new UserError(`ablation: model is ${model}, expected one of ${Object.keys(spikeYOLO).join(", ")}`);
  const rows = (given.get("only")?.split(",") ?? NAMES).map((name) => {
    const row = rowOf(name);
    if (!row) throw new UserError(`ablation: only= names ${JSON.stringify(name)}, expected some of ${NAMES.join(", ")} or another TxD such as 2x4`);
    return row;
  });
  return { rows, model: model as Settings["model"], events, ...numbers };
}

/** The pictures of a split, or the frames of as many labelled moments. */
const open = (split: "train" | "val", events: boolean, settings: Settings): Promise<OpenSet> =>
  events ? Promise.resolve(eventScenes({ split, size: settings[split], T: settings.T }) as OpenSet) : openSplit(settings, split);

interface Result { readonly parameters: number; readonly map50: number; readonly map: number; readonly rate: number; readonly millijoules: number }

/** One network from one seed. */
async function runOnce(row: Row, seed: number, { epochs, train: size, val, imgsz, model: named, events }: Options, sets: ReadonlyMap<string, OpenSet>): Promise<Result> {
  const host = await loadKernels();
  try {
    const settings = settingsOf({ model: named, T: row.T, D: row.D, epochs, train: size, val, imgsz, seed, ...(events && { frames: "last" as const }) });
    const [trainSet, valSet] = [sets.get(`train ${row.T}`)!, sets.get(`val ${row.T}`)!];
    const model = row.make(configOf(settings, trainSet.classes.length) as Config), data = trainingData(trainSet, valSet, settings);
    let averaged: Uint8Array | undefined, scores = { map50: 0, map: 0 };
    const store = { write: async (name: string, bytes: Uint8Array) => { if (name === "last") averaged = bytes; } };
    for await (const event of train(model, data, recipeOf(settings), { store })) if (event.kind === "epoch") scores = event.validation;
    restore(model, loadCheckpoint(averaged!).ema);
    fold(model.eval());
    const activity = new Activity(model);
    for await (const { images } of data.validation()) activity.watch(images.shape.at(-4)!, () => predict(model, images as AnyBatch["images"]));
    return { parameters: model.parameterCount, map50: scores.map50, map: scores.map, rate: activity.rate, millijoules: activity.energy().millijoules };
  } finally {
    await host.stop();
  }
}

interface Spread { readonly mean: number; readonly spread: number | undefined; readonly all: readonly number[] }

function spreadOf(all: readonly number[]): Spread {
  const mean = all.reduce((a, b) => a + b, 0) / all.length;
  return { mean, spread: all.length > 1 ? Math.sqrt(all.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (all.length - 1)) : undefined, all };
}

const shown = ({ mean, spread }: Spread, digits: number): string => `${mean.toFixed(digits)}${spread === undefined ? "" : ` +- ${spread.toFixed(digits)}`}`;

export async function run(args: readonly string[] = []): Promise<unknown> {
  const options = ablationOptions(args), { rows, seeds, epochs, train: size, val, imgsz, model, events } = options;
  const sets = new Map<string, OpenSet>();
  for (const { T, D } of rows) for (const split of ["train", "val"] as const) {
    const key = `${split} ${T}`, same = events ? undefined : [...sets].find(([other]) => other.startsWith(split))?.[1]; // a picture is the same for any T
    if (!sets.has(key)) sets.set(key, same ?? await open(split, events, settingsOf({ T, D, train: size, val, imgsz })));
  }
  console.log(`${model}, ${seeds} ${seeds === 1 ? "seed" : "seeds"}, ${epochs} ${epochs === 1 ? "epoch" : "epochs"} of ${size} ${events ? "moments of generated event scenes" : "embedded pictures"} at ${imgsz} x ${imgsz}, measured on ${val}`);
  const found = rows.map(({ name, T, D, fires, published }) => ({ name, T, D: fires ? D : null, parameters: 0, results: [] as Result[], seconds: 0, published }));
  for (let seed = 0; seed < seeds; seed++) for (const [i, row] of rows.entries()) {
    const start = performance.now(), result = await runOnce(row, seed, options, sets), seconds = (performance.now() - start) / 1000;
    found[i].results.push(result);
    found[i].parameters = result.parameters;
    found[i].seconds += seconds;
    console.log(`  ${row.name}, seed ${seed}: mAP50 ${result.map50.toFixed(3)}, mAP50-95 ${result.map.toFixed(3)}, ${seconds.toFixed(0)} s`);
  }
  const results = found.map(({ results: each, ...about }) => {
    const of = (key: keyof Result): Spread => spreadOf(each.map((result) => result[key]));
    return { ...about, map50: of("map50"), map: of("map"), rate: of("rate"), millijoules: of("millijoules") };
  });
  print(["network", "T x D", "parameters", "mAP50", "mAP50-95", "rate", "energy, mJ", "seconds", "the paper's mAP50, mAP50-95, mJ (size s, COCO)"], results.map(({ name, T, D, parameters, map50, map, rate, millijoules, seconds, published: p }) => [
    name, `${T} x ${D ?? "-"}`, parameters.toLocaleString("en"), shown(map50, 3), shown(map, 3), D === null ? "-" : shown(rate, 3), shown(millijoules, 4), (seconds / seeds).toFixed(0),
    p ? `${p.map50.toFixed(1)}  ${p.map.toFixed(1)}  ${p.millijoules?.toFixed(1) ?? "-"}` : "-",
  ]));
  return { model, seeds, epochs, train: size, val, imgsz, data: events ? "event scenes" : "shapes", rows: results };
}
