/** `spiketrain train`: data and model in, a run folder out. */
import { totalmem } from "node:os";
import { setImmediate as turn } from "node:timers/promises";
import { encodePng, type Picture } from "../datasets/index.ts";
import { expectRoom, familyOf, networks, newDetector, OverLimitError, predict, predictionNms, showPlan, titleOf, train, truthsOf, type Detector, type DetectorRecord, type NetworkName, type PlannedTraining } from "../detection/index.ts";
import { host, retrying } from "../engine/index.ts";
import { fold } from "../nn/index.ts";
import { anchorsFor, type RunAnchors } from "./anchors.ts";
import { inOrder, kindOf, openSplit, Problems, roomForPictures, trainingData, type AnyBatch, type OpenSet } from "./data.ts";
import { Findings } from "./findings.ts";
import type { Values } from "./options.ts";
import { drawSheet, type Scene } from "./picture.ts";
import { epochLine, Pace, type Progress } from "./progress.ts";
import { FRAME_OPTIONS, PICTURE_OPTIONS, recipeOf, settingsOf, type Settings } from "./recipes.ts";
import { measure, showFigures, showReport } from "./report.ts";
import { RunFolder } from "./run-folder.ts";
import { configOf, modelOf, readRun, resume, type About, type SavedRun } from "./saved-run.ts";
import { Interrupted, UserError } from "./user-error.ts";
import { readWeights, type Weights } from "./weights.ts";

export async function trainCommand(given: Values<"train">, progress: Progress, signal: AbortSignal): Promise<void> {
  const resumed = given.resume === undefined ? undefined : await readRun(given.resume, "last");
  const start = given.weights === undefined || resumed ? undefined : await readWeights(given.weights, given);
  const settings = resumed ? goingOn(given, resumed) : await starting(given, start);
  const room = roomForPictures(), trainSet = await openSplit(settings, "train", { classes: resumed?.classes, room }), { classes } = trainSet;
  const [valSet, testSet] = [await openSplit(settings, "val", { classes, room }), await openSplit(settings, "test", { classes, room })];
  const problems = new Problems([trainSet, valSet, testSet]);
  const kept = resumed ?? (given.anchors === undefined ? start : undefined), { anchors, news: found }: RunAnchors = kept ? { anchors: kept.anchors } : await anchorsFor(settings, trainSet, signal);
  const { protocol } = trainSet, { family = "spikeyolo" }: DetectorRecord = networks[settings.model], about: About = { options: settings, classes, protocol, family, anchors };
  const config = configOf(settings, classes.length, anchors), plan = planOf({ model: config, batch: settings.batch, imgsz: settings.imgsz }, given.memory);
  const data = trainingData(trainSet, valSet, settings);
  const model = newDetector(config), { timing, parts } = familyOf(networks[settings.model]);
  if (resumed) resume(resumed, model, data.batchesPerEpoch); // before anything is written
  const begun = start && startFrom(start, model, classes, given.finetune ?? false);
  const folder = await folderOf(given, resumed);

  const { batch, epochs } = settings, recipe = resumed ? { ...resumed.recipe, epochs } : recipeOf(settings);
  progress.say(`model ${settings.model}: ${model.parameterCount.toLocaleString("en")} parameters, ${timing(settings.T, settings.D)}, ${classes.length} classes (${classes.slice(0, 8).join(", ")}${classes.length > 8 ? ", ..." : ""})`);
  progress.say(`data ${trainSet.name} ${trainSet.size}, ${valSet.name} ${valSet.size}, ${testSet.name} ${testSet.size} ${protocol ? "labelled moments" : "pictures"} at ${settings.imgsz} x ${settings.imgsz}`);
  if (protocol) progress.say(`frames of events: ${protocol}`);
  progress.say(`run ${folder.path}: ${resumed ? `going on after ${resumed.epochs} of ${epochsOf(epochs)}` : epochsOf(epochs)}, batch ${batch}, lr0 ${recipe.lr0}, seed ${settings.seed}; ${host().build} kernels, ${host().threads} ${host().threads === 1 ? "thread" : "threads"}${host().arithmetic === "strict" ? ", strict arithmetic" : ""}`);
  progress.say(plan);
  const news = (): string[] => [...(host().pool?.news() ?? []), ...problems.news()];
  for (const line of [...(found ? [found] : []), ...(start?.news ?? []), ...(begun ? [begun] : []), ...news()]) progress.say(line);
  await folder.add("args.json", json({ ...settings, ...(start ? { weights: start.path } : {}), classes, protocol, family, anchors, recipe, node: process.version, kernels: host().build, threads: host().threads }));

  if (resumed && resumed.epochs >= epochs) progress.say(`${epochsOf(resumed.epochs)} done of ${epochs}; to go on, give a larger number with epochs=`);

  const seconds = (): number => performance.now() / 1000;
  const pace = new Pace(epochs, seconds(), parts);
  for await (const event of train(model, data, recipe, { store: folder, signal, resume: resumed?.bytes, forgetBest: !folder.has("best"), about: { ...about } })) {
    if (event.kind === "step") {
      progress.live(pace.step(event, seconds()));
      if (event.batch + 1 === event.batches) progress.passing("validating ...");
    } else if (event.kind === "epoch") {
      const took = pace.endEpoch(seconds());
      progress.say(epochLine(event, epochs, took, parts));
      await folder.addEpoch(event, took, parts[2]);
    } else if (event.reason === "stopped") {
      progress.say(`stopped in epoch ${Math.min(event.epochs + 1, epochs)} of ${epochs}; the checkpoint is ${folder.checkpoint("last")}`);
      throw new Interrupted(`go on with: npm start -- resume=${folder.path}`);
    }
    for (const line of news()) progress.say(line);
    await turn(); // for signals
  }

  await finish(folder, { valSet, testSet }, progress, signal);
  const summary = problems.summary();
  for (const line of [...news(), ...(summary ? [summary] : [])]) progress.say(line);
  progress.say("");
  for (const line of await folder.contents()) progress.say(line);
}

/** The memory that this training will take, in one line, if there is so much. */
function planOf(training: PlannedTraining, memory: number | undefined): string {
  const available = Math.min(totalmem(), process.constrainedMemory?.() || Infinity);
  const limit = memory === undefined ? Math.min(2 ** 32, SHARE * available) : memory * 1e6;
  try {
    return showPlan(expectRoom(training, limit));
  } catch (error) {
    if (error instanceof OverLimitError) throw new UserError(`train: ${error.message}`);
    throw error;
  }
}

/** Of the machine's memory; the rest is for the program, the pictures and the system. */
const SHARE = 0.8;

async function starting({ name, out, resume, memory, threads, weights, finetune, ...given }: Values<"train">, start: Weights | undefined): Promise<Settings> {
  if (finetune !== undefined && weights === undefined) throw new UserError("train: finetune says what becomes of the head of weights=, which is missing; give weights=FILE");
  if (name !== undefined && out !== undefined) throw new UserError("train: name and out both say where the run goes; give one of them");
  if (given.data !== undefined) {
    const embedded = (["train", "val", "test"] as const).find((split) => given[split] !== undefined);
    if (embedded) throw new UserError(`train: ${embedded} counts embedded pictures and means nothing with data=; leave it out`);
  }
  const ofData = (["recipe", "train_split", "val_split"] as const).find((key) => given.data === undefined && given[key] !== undefined);
  if (ofData) throw new UserError(`train: ${ofData} is about data=, which is missing; give data=PATH, or leave ${ofData} out`);
  if (given.freeze && weights === undefined) throw new UserError("train: freeze keeps weights as they were trained, and there are none; give weights=FILE, or leave freeze out");
  const onEvents = given.data !== undefined && await kindOf(given.data) === "gen1", stray = (onEvents ? PICTURE_OPTIONS : FRAME_OPTIONS).find((key) => given[key] !== undefined);
  if (stray) throw new UserError(`train: ${stray} is about ${onEvents ? "pictures, and data= holds recordings of events" : "recordings of events, and there are none"}; leave it out`);
  if (given.recipe && given.recipe !== "finetune" && (given.recipe === "gen1") !== onEvents) throw new UserError(`train: recipe=${given.recipe} is for ${onEvents ? "pictures, and data= holds recordings of events; leave it out, or give recipe=gen1" : "recordings of events, and data= holds pictures; leave it out"}`);
  const chosen = start ? { ...networkOf(start, given, onEvents), ...given } : given;
  const settings = settingsOf(onEvents ? { frames: "last", ...chosen } : chosen);
  expectFitting(given, settings.model);
  return settings;
}

/** Refuses options that mean nothing to networks of this family. */
function expectFitting({ D, freeze, anchors, ablation }: Values<"train">, model: Settings["model"]): void {
  const family = familyOf(networks[model]);
  if (D !== undefined && !family.integers) throw new UserError(`train: D is the largest integer that a neuron emits, and those of ${family.title} emit 0 or 1; leave it out`);
  if (freeze && !family.integers) throw new UserError(`train: freeze counts the layers of SpikeYOLO, and ${model} is none; leave it out`);
  if (ablation !== undefined && !family.integers) throw new UserError(`train: ablation is of SpikeYOLO, and ${model} is none; leave it out`);
  if (anchors !== undefined && !family.anchors) throw new UserError(`train: ${family.title} tells boxes without anchors; leave anchors out`);
}

/** Size, T and D of the weights that training starts from. */
function networkOf({ path, size, family, neuron, options: { T, D, anchors, ablation } }: Weights, { model, ablation: wish }: Partial<Settings>, onEvents: boolean): Pick<Settings, "model" | "T" | "D" | "anchors" | "ablation"> {
  const wanted = onEvents ? "gen1" : "coco", whose = { coco: "COCO", gen1: "Gen1's events" };
  if (neuron !== wanted) throw new UserError(`train: ${path} has the neurons of ${whose[neuron]}, and ${onEvents ? "recordings" : "pictures"} are trained on with those of ${whose[wanted]}; use weights of ${whose[wanted]}`);
  if (size === undefined) throw new UserError(`train: the network of ${path} is of none of the sizes that are trained here (${(Object.keys(networks) as NetworkName[]).filter((name) => familyOf(networks[name]) === family).join(", ")}); it can be used by val, profile and predict`);
  if (model !== undefined && model !== size) throw new UserError(`train: ${path} is a ${family.title} of size ${size}, not ${model}; leave out model=`);
  if (wish !== undefined && wish !== (ablation ?? "spikeyolo")) throw new UserError(`train: ${path} was trained as ${ablation ?? "spikeyolo"}, not as ${wish}; leave out ablation=`);
  return { model: size, T, D, ...(anchors && { anchors }), ...(ablation && { ablation }) };
}

/** Gives a new network the weights that it starts from, and says so. */
function startFrom(start: Weights, model: Detector, classes: readonly string[], finetune: boolean): string {
  if (start.classes.length !== classes.length && !finetune) {
    throw new UserError(`train: ${start.path} knows ${start.classes.length} classes, the data has ${classes.length}; give finetune=true to begin with a new head for them`);
  }
  const left = start.fill(model, finetune);
  return `starting from ${start.path}${left > 0 ? `; ${left} tensors of the class branches are new` : ""}`;
}

/** The options of a run that goes on are its own; it may last longer, and its data may have moved. */
function goingOn({ resume, epochs, data, memory, threads, ...rest }: Values<"train">, { options, path }: SavedRun): Settings {
  const [other] = Object.keys(rest);
  if (other !== undefined) throw new UserError(`train: resume= goes on with the options of ${path}; beside it only epochs, data, memory and threads can be given, not ${other}`);
  if (data !== undefined && options.data === undefined) throw new UserError(`train: ${path} was trained on the embedded pictures, so data= cannot be given with it`);
  return { ...options, ...(epochs === undefined ? {} : { epochs }), ...(data === undefined ? {} : { data }) };
}

async function folderOf({ name, out }: Values<"train">, resumed: SavedRun | undefined): Promise<RunFolder> {
  if (resumed?.folder !== undefined) return RunFolder.reopened(resumed.folder, resumed.epochs);
  const folder = out !== undefined ? await RunFolder.at(out) : await RunFolder.numbered(name ?? "train");
  if (resumed) { // a checkpoint that left its folder starts a new one
    const { batch, epoch, bestEpoch } = resumed.progress;
    await folder.write("last", resumed.bytes);
    if (batch === 0 && epoch > 0 && bestEpoch === epoch - 1) await folder.write("best", resumed.bytes);
  }
  return folder;
}

/** Measures the best weights on held-out pictures, says what came out, and draws some. */
async function finish(folder: RunFolder, { valSet, testSet }: { valSet: OpenSet; testSet: OpenSet }, progress: Progress, signal: AbortSignal): Promise<void> {
  const run = await readRun(folder.checkpoint(folder.has("best") ? "best" : "last"), "best"), model = modelOf(run), { options, classes } = run;
  try {
    const findings = new Findings(testSet), report = await measure(model, inOrder(testSet, options, signal), {
      findings, data: testSet.name, classes, progress: (pictures) => progress.passing(`measuring ... ${pictures}/${testSet.size}`),
    });
    progress.say("");
    progress.say(`${run.path}, epoch ${run.epochs}, on pictures held out:`);
    for (const line of [...showReport(report), ...(testSet.protocol && report.figures ? ["", ...showFigures(report.figures)] : [])]) progress.say(line);
    await folder.addMeasured(report, findings);
    progress.passing("drawing ...");
    for await (const batch of inOrder(valSet, { ...options, batch: Math.min(SHOWN, valSet.size) }, signal)) {
      await folder.add("validation.png", encodePng(await retrying(() => validationSheet(model, batch, run, `mAP50 ${report.scores.map50.toFixed(3)} on ${testSet.name}`))));
      break;
    }
  } catch (error) {
    if (error instanceof Interrupted) throw new Interrupted(`stopped before the report was done; for the report: npm start -- resume=${folder.path}`);
    throw error;
  }
}

const epochsOf = (n: number): string => `${n} ${n === 1 ? "epoch" : "epochs"}`;
const SHOWN = 16;
const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

/** Values 0..1 as bytes; others, such as counts, as grey and what lies above and below. */
function bytesOf(values: Float32Array): Uint8Array {
  const most = values.reduce((a, b) => Math.max(a, Math.abs(b)), 1), pixels = most === 1 && values.every((value) => value >= 0);
  return Uint8Array.from(values, pixels ? (value) => Math.round(255 * value) : (value) => Math.round(127 + 127 * value / most));
}

/** The pictures of a batch with what the spiking network finds in them. */
function validationSheet(model: Detector, { images, boxes }: AnyBatch, { options: { model: size, T, D, order }, classes }: About, figures: string): Picture {
  const [B, H, W] = images.shape.slice(-4), newest = order === "chronological" ? (T - 1) * B : 0, truths = truthsOf(boxes, B, H, W);
  fold(model);
  const found = predict(model, images, { form: "binary", nms: predictionNms });
  const scenes = found.map((detections, b): Scene => ({
    picture: { width: W, height: H, pixels: bytesOf(images.data.subarray(3 * H * W * (newest + b), 3 * H * W * (newest + b + 1))) },
    truths: truths[b], detections,
  }));
  return drawSheet(scenes, {
    names: classes, title: `${titleOf(size)}, ${familyOf(networks[size]).timing(T, D)}, on ${B} validation pictures`,
    footer: `binary spikes, score > ${predictionNms.confidence}, ${figures}`,
  });
}
