/** `spiketrain predict`: pictures in, the same pictures with boxes out. */
import { readdir, stat } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { readRegular } from "../datasets/file.ts";
import { BrokenImage, decodeImage, encodePng, fit, letterbox, toPicture, type Picture } from "../datasets/index.ts";
import { host, retrying } from "../engine/index.ts";
import { foldFor, predict, predictionNms, type Detection, type Detector, type Folding, type InferenceForm } from "../detection/index.ts";
import type { Values } from "./options.ts";
import { drawScene, zoomOf } from "./picture.ts";
import type { Progress } from "./progress.ts";
import { eventsOf, predictEvents, recordingsIn } from "./predict-events.ts";
import { RunFolder } from "./run-folder.ts";
import { Interrupted, reasonOf, UserError } from "./user-error.ts";
import { readWeights } from "./weights.ts";

export async function predictCommand(given: Values<"predict">, progress: Progress, signal: AbortSignal): Promise<void> {
  const { weights, source, conf = predictionNms.confidence, imgsz, form = "integer", fold = "none", every, T, D, neuron, out } = given;
  if (weights === undefined) throw new UserError("predict: weights is missing; give weights=RUN_FOLDER or weights=CHECKPOINT");
  if (source === undefined) throw new UserError("predict: source is missing; give source=PICTURE, source=RECORDING or source=FOLDER");
  const run = await readWeights(weights, { T, D, neuron }), recordings = await recordingsIn(source), protocol = eventsOf(run);
  if (protocol && (recordings.length > 0 || run.options.frames)) return predictEvents(run, protocol, recordings, given, progress, signal);
  if (recordings.some(({ path }) => path === source) || every !== undefined) throw new UserError(`predict: the network of ${weights} is for pictures, ${every === undefined ? `${source} is a recording of events` : "every= is about recordings of events; leave it out"}`);
  const files = await picturesIn(source);
  const folder = out === undefined ? await RunFolder.numbered("predict") : await RunFolder.at(out);
  const model = run.model(), side = imgsz ?? run.options.imgsz;
  for (const line of run.news) progress.say(line);

  const drawn = new Set<string>();
  let found = 0, skipped = 0, folded = fold === "none";
  for (const file of files) {
    try {
      const picture = await decodeImage(await readRegular(file, `image ${file}`), file);
      if (!folded) {
        progress.say(foldedSaid(await retrying(() => foldFor(model, imagesOf(picture, side).images, { folding: fold, form })), fold, "the first picture"));
        folded = true;
      }
      const detections = await retrying(() => detect(model, picture, side, conf, form));
      const zoom = zoomOf(Math.max(picture.width, picture.height)), name = freeName(basename(file, extname(file)), drawn);
      await folder.add(name, encodePng(drawScene({ picture, truths: [], detections }, run.classes, zoom)));
      progress.say(`${file} ${picture.width} x ${picture.height}: ${countsOf(detections, run.classes)}`);
      found += detections.length;
    } catch (error) {
      if (!(error instanceof BrokenImage)) throw error;
      skipped++;
      progress.say(`${error.message}; the picture is skipped`);
    }
    for (const line of host().pool?.news() ?? []) progress.say(line);
    await turn(); // for signals
    if (signal.aborted) throw new Interrupted(`stopped after ${drawn.size + skipped} of ${files.length} pictures`);
  }
  progress.say(`${found} detections on ${drawn.size} pictures, drawn in ${folder.path}${skipped > 0 ? `; ${skipped} skipped` : ""}`);
}

/** What became of `fold=auto`, by these pictures, or of `fold=all`. */
export const foldedSaid = (names: readonly string[], folding: Folding, seen: string): string =>
  `${folding === "auto" ? `faster as one convolution on ${seen}` : "folded into one convolution"}: ${names.length} RepConvs${names.length === 0 ? "" : ` (${names.join(", ")})`}`;

function imagesOf(picture: Picture, side: number) {
  const placement = fit(picture.width, picture.height, [side, side]), { pixels } = letterbox(picture, placement);
  return { placement, images: { shape: [1, side, side, 3], data: Float32Array.from(pixels, (value) => value / 255) } };
}

/** Detections in pixels of the picture, whatever its size. */
export function detect(model: Detector, picture: Picture, side: number, confidence: number, form: InferenceForm = "integer"): Detection[] {
  const { placement, images } = imagesOf(picture, side);
  const [detections] = predict(model, images, { form, nms: { ...predictionNms, confidence } });
  const { scale, left, top } = placement, { width, height } = picture;
  return detections.map((box) => toPicture(box, { scale, left, top, width, height }));
}

async function picturesIn(source: string): Promise<string[]> {
  try {
    if (!(await stat(source)).isDirectory()) return [source];
    const names = (await readdir(source)).filter((name) => /\.(jpe?g|png|webp)$/i.test(name)).sort();
    if (names.length === 0) throw new UserError(`predict: ${source} holds no JPEG, PNG or WebP`);
    return names.map((name) => join(source, name));
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`predict: cannot open ${source}: ${reasonOf(error)}`);
  }
}

/** NAME.png, or NAME-2.png where a.jpg and a.png lie side by side. */
function freeName(name: string, taken: Set<string>): string {
  let free = `${name}.png`;
  for (let n = 2; taken.has(free); n++) free = `${name}-${n}.png`;
  taken.add(free);
  return free;
}

/** "2 ball, 1 ring", or "nothing" */
export function countsOf(detections: readonly Detection[], names: readonly string[]): string {
  const counts = new Map<number, number>();
  for (const { class: c } of detections) counts.set(c, (counts.get(c) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => a - b).map(([c, n]) => `${n} ${names[c] ?? `class ${c}`}`).join(", ") || "nothing";
}
