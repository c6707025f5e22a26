/**
 * What Fig. 2 of SNN-YOLOv3's paper compares, on the embedded pictures: mAP on validation pictures over epochs, where predictions are the mean of the last layer's
 * current (current mean decoding, T 4 and T 6) and where they are how often a neuron behind that layer fires (T 6). The same pictures, order, initial weights and recipe for all of a seed.
 *
 *   npm run bench -- decoding [quick] [seeds=3] [epochs=..] [pictures=..] [json=FILE] [picture=FILE.svg|.png]
 */
import { writeAtomically } from "../cli/atomic-file.ts";
import { anchorsFor } from "../cli/anchors.ts";
import { openSplit, roomForPictures, trainingData } from "../cli/data.ts";
import { colours, drawFigure, expectDrawable, type Figure } from "../cli/figures/draw.ts";
import { recipeOf, settingsOf, type Settings } from "../cli/recipes.ts";
import { configOf } from "../cli/saved-run.ts";
import { UserError } from "../cli/user-error.ts";
import { newDetector, train, type DetectorRecord } from "../detection/index.ts";
import { loadKernels } from "../engine/index.ts";
import { print } from "./desk.ts";

const VARIANTS = [
  { name: "current mean, T 4", decode: "mean", T: 4, colour: colours.blue },
  { name: "current mean, T 6", decode: "mean", T: 6, colour: colours.green },
  { name: "firing rate, T 6", decode: "rate", T: 6, colour: colours.orange },
] as const;

export interface DecodingOptions { readonly quick: boolean; readonly seeds: number; readonly epochs?: number; readonly pictures?: number; readonly json?: string; readonly picture?: string }
export interface Curve { readonly variant: string; readonly T: number; readonly seed: number; readonly map50: readonly number[]; readonly map: readonly number[]; readonly firingRate: readonly number[] }

export async function run(args: readonly string[] = []): Promise<unknown> {
  const options = decodingOptions(args), { quick, seeds, epochs, pictures, json, picture } = options;
  if (picture !== undefined) await expectDrawable(picture);
  const base: Partial<Settings> = { model: "snn-yolov3-tiny", ...(quick && { train: 160, val: 64, epochs: 3 }), ...(epochs !== undefined && { epochs }), ...(pictures !== undefined && { train: pictures }) };
  const curves: Curve[] = [];
  for (let seed = 0; seed < (quick ? 1 : seeds); seed++) for (const variant of VARIANTS) {
    const settings = settingsOf({ ...base, T: variant.T, seed });
    curves.push({ variant: variant.name, T: variant.T, seed, ...await learn(settings, variant.decode) });
    console.log(`seed ${seed}, ${variant.name}: mAP50 ${curves.at(-1)!.map50.map((value) => value.toFixed(3)).join(" ")}`);
  }
  const settings = settingsOf(base), results = { model: settings.model, imgsz: settings.imgsz, pictures: settings.train, validation: settings.val, batch: settings.batch, epochs: settings.epochs, curves };
  const mean = (name: string, epoch: number): string => {
    const values = curves.filter(({ variant }) => variant === name).map(({ map50 }) => map50[epoch]);
    return `${(values.reduce((a, b) => a + b) / values.length).toFixed(3)}${values.length > 1 ? ` (${Math.min(...values).toFixed(3)} to ${Math.max(...values).toFixed(3)})` : ""}`;
  };
  print(["mAP50 after epoch", ...VARIANTS.map(({ name }) => name)], Array.from({ length: settings.epochs }, (_, epoch) => [String(epoch + 1), ...VARIANTS.map(({ name }) => mean(name, epoch))]));
  if (json !== undefined) await writeAtomically(json, `${JSON.stringify(results, undefined, 1)}\n`);
  if (picture !== undefined) await drawFigure(picture, decodingFigure(curves, `${settings.model}, ${settings.train} embedded pictures of ${settings.imgsz} x ${settings.imgsz}, batch ${settings.batch}, ${settings.epochs} epochs`));
  return results;
}

/** mAP after each epoch of a network with this way of decoding, on a host of its own. */
async function learn(settings: Settings, decode: "mean" | "rate"): Promise<Pick<Curve, "map50" | "map" | "firingRate">> {
  const { stop } = await loadKernels(), room = pictureRoom ??= roomForPictures(), [training, validation] = [await openSplit(settings, "train", { room }), await openSplit(settings, "val", { room })];
  const { anchors } = await anchorsFor(settings, training), record = { ...configOf(settings, training.classes.length, anchors), decode } as DetectorRecord;
  const map50: number[] = [], map: number[] = [], firingRate: number[] = [];
  for await (const event of train(newDetector(record), trainingData(training, validation, settings), recipeOf(settings))) {
    if (event.kind !== "epoch") continue;
    map50.push(event.validation.map50);
    map.push(event.validation.map);
    firingRate.push(event.firingRate);
  }
  await stop();
  return { map50, map, firingRate };
}
let pictureRoom: ReturnType<typeof roomForPictures> | undefined;

/** A line for each way of decoding: the mean over seeds, in a band from the least to the most. */
export function decodingFigure(curves: readonly Curve[], caption: string): Figure {
  const rows = curves.flatMap(({ variant, seed, map50 }) => map50.map((value, i) => ({ variant, seed, epoch: i + 1, map50: value }))), seeds = new Set(curves.map(({ seed }) => seed)).size;
  const epoch = { field: "epoch", type: "quantitative", title: "epoch", axis: { tickMinStep: 1, format: "d" }, scale: { domain: [1, Math.max(...rows.map(({ epoch }) => epoch), 2)], nice: false } };
  const colour = { field: "variant", type: "nominal", scale: { domain: VARIANTS.map(({ name }) => name), range: VARIANTS.map(({ colour }) => colour) }, legend: { title: null, orient: "top" } };
  const y = (aggregate: string): Figure => ({ field: "map50", aggregate, type: "quantitative", title: "mAP@50 on validation pictures", scale: { domainMin: 0 } });
  return {
    title: { text: "Current mean decoding against rate decoding", subtitle: [caption, seeds > 1 ? `mean of ${seeds} seeds, from the least to the most` : "one seed"] },
    data: { values: rows }, width: 560, height: 320,
    layer: [
      ...(seeds > 1 ? [{ mark: { type: "area", opacity: 0.18 }, encoding: { x: epoch, y: y("min"), y2: { field: "map50", aggregate: "max" }, color: colour } }] : []),
      { mark: { type: "line", strokeWidth: 2, point: { filled: true, size: 30 } }, encoding: { x: epoch, y: y("mean"), color: colour } },
    ],
  };
}

function decodingOptions(args: readonly string[]): DecodingOptions {
  const options: Record<string, unknown> = { quick: false, seeds: 3 };
  for (const argument of args) {
    const [, key, value] = /^(seeds|epochs|pictures|json|picture)=(.+)$/.exec(argument) ?? [];
    const whole = key === "seeds" || key === "epochs" || key === "pictures";
    if (argument === "quick") options["quick"] = true;
    else if (key !== undefined && (!whole || /^[1-9]\d{0,4}$/.test(value))) options[key] = whole ? Number(value) : value;
    else throw new UserError(`bench: decoding takes quick, seeds=, epochs=, pictures= (whole numbers), json=FILE and picture=FILE, got ${argument}`);
  }
  return options as unknown as DecodingOptions;
}
