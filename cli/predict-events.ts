/** `spiketrain predict` on recordings of events: frames at regular moments, drawn with what was found in them, and all of it with its times as JSON. */
import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { framePlace, toNetwork } from "../datasets/event-frames.ts";
import { encodePng, offNetwork, recordingFrames, type FrameProtocol, type RecordedFile } from "../datasets/index.ts";
import { foldFor, predict, predictionNms, type Detection } from "../detection/index.ts";
import { host, retrying } from "../engine/index.ts";
import type { Values } from "./options.ts";
import { drawScene, zoomOf } from "./picture.ts";
import { countsOf, foldedSaid } from "./predict.ts";
import type { Progress } from "./progress.ts";
import { framesOf } from "./recipes.ts";
import { RunFolder } from "./run-folder.ts";
import { Interrupted, UserError } from "./user-error.ts";
import type { Weights } from "./weights.ts";

const EVENTS = "_td.dat";

/** The recordings that source= names: one file, or those of a folder by name. None where it names pictures, or nothing. */
export async function recordingsIn(source: string): Promise<RecordedFile[]> {
  const isFolder = await stat(source).then((found) => found.isDirectory(), () => false);
  const paths = isFolder ? (await readdir(source)).filter((name) => name.endsWith(EVENTS)).sort().map((name) => join(source, name)) : source.endsWith(".dat") ? [source] : [];
  return paths.map((path) => ({ path, name: path }));
}

/** How a network of events wants its frames; undefined if it is for pictures. Weights of others that have the neurons of Gen1 want those of the release. */
export const eventsOf = ({ options, neuron }: Weights): FrameProtocol | undefined => framesOf(neuron === "gen1" ? { ...options, frames: options.frames ?? "last" } : options);

export async function predictEvents(run: Weights, protocol: FrameProtocol, files: readonly RecordedFile[], given: Values<"predict">, progress: Progress, signal: AbortSignal): Promise<void> {
  const { source = "", conf = predictionNms.confidence, imgsz, form = "integer", fold = "none", every, out } = given, side = imgsz ?? run.options.imgsz;
  if (files.length === 0) throw new UserError(`predict: the network of ${run.path} is for frames of events, and ${source} is no recording and holds none; give source=NAME${EVENTS}, or a folder of such files`);
  const set = await recordingFrames(files, { ...protocol, classes: run.classes, every: every === undefined ? undefined : Math.round(1000 * every) });
  if (set.size === 0) throw new UserError(`predict: ${set.problems[0] ?? `${source} has no event`}; nothing is left to predict on`);
  const folder = out === undefined ? await RunFolder.numbered("predict") : await RunFolder.at(out), model = run.model(), told = new Set<string>();
  const news = (): void => { for (const line of [...set.problems, ...(host().pool?.news() ?? [])]) if (told.size < told.add(line).size) progress.say(line); };
  for (const line of [...run.news, `frames of events: ${set.protocol}`]) progress.say(line);

  const moments: { recording: string; t: number; picture: string; detections: object[] }[] = [], all: Detection[] = [];
  for (let index = 0; index < set.size && !signal.aborted; index++) {
    const sample = await set.sample(index);
    news();
    if (!sample) continue;
    const { frames, picture, labels: { recording, time } } = sample, [T, height, width] = frames.shape, place = framePlace(width, height, side);
    const images = { shape: [T, 1, side, side, 3], data: toNetwork(frames, place) };
    if (moments.length === 0 && fold !== "none") progress.say(foldedSaid(await retrying(() => foldFor(model, images, { folding: fold, form })), fold, "the first moment"));
    const [found] = await retrying(() => predict(model, images, { form, nms: { ...predictionNms, confidence: conf } }));
    const detections = found.map((box) => offNetwork(box, { width, height }, place)), name = `${basename(recording).replace(/(_td)?\.dat$/, "")}_${String(time).padStart(10, "0")}us.png`;
    await folder.add(name, encodePng(drawScene({ picture, truths: [], detections }, run.classes, zoomOf(Math.max(width, height)))));
    moments.push({ recording, t: time, picture: name, detections: detections.map(({ class: c, score, x1, y1, x2, y2 }) => ({ class: run.classes[c], score, x: x1, y: y1, w: x2 - x1, h: y2 - y1 })) });
    all.push(...detections);
    progress.passing(`${recording} at ${(time / 1e6).toFixed(3)} s: ${countsOf(detections, run.classes)} (${index + 1}/${set.size})`);
    await turn(); // for signals
  }
  await folder.add("detections.json", `${JSON.stringify({ weights: run.path, frames: set.protocol, confidence: conf, form, units: "microseconds; pixels of the sensor, from its upper left corner", moments }, null, 1)}\n`);
  if (signal.aborted) throw new Interrupted(`stopped after ${moments.length} of ${set.size} moments; those are in ${folder.path}`);
  progress.say(`${all.length} detections (${countsOf(all, run.classes)}) at ${moments.length} moments of ${files.length} ${files.length === 1 ? "recording" : "recordings"}, drawn in ${folder.path}, with their times in ${join(folder.path, "detections.json")}`);
}
