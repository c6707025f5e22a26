/** `spiketrain val`: the report of trained weights on a split of one's choice. */
import { host } from "../engine/index.ts";
import { inOrder, Problems } from "./data.ts";
import { Findings } from "./findings.ts";
import type { Values } from "./options.ts";
import type { Progress } from "./progress.ts";
import { foldedSaid } from "./predict.ts";
import { measure, showEnergy, showFigures, showReport } from "./report.ts";
import { RunFolder } from "./run-folder.ts";
import { UserError } from "./user-error.ts";
import { openFor, readWeights } from "./weights.ts";

export async function valCommand({ weights, split = "val", metric, fold = "none", energy, out, T, D, neuron, ...other }: Values<"val">, progress: Progress, signal: AbortSignal): Promise<void> {
  if (weights === undefined) throw new UserError("val: weights is missing; give weights=RUN_FOLDER or weights=CHECKPOINT");
  const run = await readWeights(weights, { T, D, neuron }), settings = { ...run.options, ...other };
  const { set, classes } = await openFor(run, settings, split, "val"), problems = new Problems([set]), findings = new Findings(set, metric);
  const folder = out === undefined ? await RunFolder.numbered("val") : await RunFolder.at(out);
  for (const line of [...run.news, ...problems.news()]) progress.say(line);
  const report = await measure(run.model(), inOrder(set, settings, signal), {
    fold, energy, findings, folded: (names) => progress.say(foldedSaid(names, fold, "the first batch")), data: set.name, classes, progress: (pictures) => progress.passing(`measuring ... ${pictures}/${set.size}`),
  });
  for (const line of showReport(report)) progress.say(line);
  if (energy !== undefined) for (const line of ["", ...showEnergy(report), ""]) progress.say(line);
  progress.say(`precision, recall and mAP by the rules of: ${report.scores.protocol}`);
  if (set.protocol) progress.say(`frames of events: ${set.protocol}`);
  if (report.figures && report.figures.protocol !== report.scores.protocol) for (const line of ["", ...showFigures(report.figures)]) progress.say(line);
  await folder.addMeasured(report, findings);
  const summary = problems.summary();
  for (const line of [...(host().pool?.news() ?? []), ...problems.news(), ...(summary ? [summary] : []), "", ...await folder.contents()]) progress.say(line);
}
