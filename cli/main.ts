#!/usr/bin/env node
/** The command line: `spiketrain train|val|profile|predict|export|scenes|check key=value ...`. Exit codes: 0 done, 1 our mistake, 2 yours, 130 interrupted. */
import { printable } from "../datasets/printable.ts";
import { loadKernels } from "../engine/index.ts";
import { checkCommand } from "./check.ts";
import { exportCommand } from "./export.ts";
import { onInterrupt } from "./interrupt.ts";
import { commands, help, isCommand, nearest, parseOptions, type Command, type Values } from "./options.ts";
import { predictCommand } from "./predict.ts";
import { profileCommand } from "./profile.ts";
import { Progress } from "./progress.ts";
import type { Settings } from "./recipes.ts";
import { readRun } from "./saved-run.ts";
import { scenesCommand } from "./scenes.ts";
import { trainCommand } from "./train.ts";
import { Interrupted, isForUser, UserError } from "./user-error.ts";
import { valCommand } from "./val.ts";
import { readWeights } from "./weights.ts";

const run: { readonly [C in Command]: (given: Values<C>, progress: Progress, signal: AbortSignal) => Promise<void> } = { train: trainCommand, val: valCommand, profile: profileCommand, predict: predictCommand, export: exportCommand, scenes: scenesCommand, check: checkCommand };

async function main([word, ...args]: readonly string[]): Promise<number> {
  const progress = new Progress(process.stdout);
  try {
    if (word === undefined || isHelp(word)) {
      console.log(help());
      return 0;
    }
    if (!isCommand(word)) {
      const near = nearest(word, Object.keys(commands));
      throw new UserError(`spiketrain: unknown command ${JSON.stringify(word)}; ${near ? `did you mean ${near}?` : `the commands are ${Object.keys(commands).join(", ")}, help`}`);
    }
    if (args.some(isHelp)) console.log(help(word)); else await start(word, args, progress);
    return 0;
  } catch (error) {
    progress.clear();
    if (error instanceof Interrupted) {
      console.log(printable(error.message));
      return 130;
    }
    if (isForUser(error)) {
      console.error(printable(error.message));
      return 2;
    }
    console.error(error);
    console.error("spiketrain: this is a mistake in the program, not in what you gave it; the lines above say where");
    return 1;
  }
}

async function start<C extends Command>(command: C, args: readonly string[], progress: Progress): Promise<void> {
  const given = parseOptions(command, args);
  const interrupt = onInterrupt(() => progress.say(`stopping${command === "train" ? " after this step, with a checkpoint" : ""}; once more to stop at once`));
  const { stop } = await loadKernels({ arithmetic: await arithmeticOf(command, given), threads: (given as Values<"train">).threads });
  try {
    await run[command](given, progress, interrupt.signal);
  } finally {
    interrupt.release();
    await stop();
  }
}

/** As asked, or as in the run that goes on or is used. */
async function arithmeticOf(command: Command, { arithmetic, resume, weights }: Pick<Values<"train">, "arithmetic" | "resume"> & Pick<Values<"val">, "weights">): Promise<Settings["arithmetic"] | undefined> {
  if (arithmetic !== undefined || command === "export") return arithmetic;
  if (resume !== undefined) return (await readRun(resume, "last")).options.arithmetic;
  return weights === undefined || command === "train" ? undefined : (await readWeights(weights)).options.arithmetic;
}

const isHelp = (word: string): boolean => ["help", "--help", "-h"].includes(word);

process.stdout.on("error", (error: NodeJS.ErrnoException) => { if (error.code !== "EPIPE") throw error; }); // whoever reads may stop reading
process.exitCode = await main(process.argv.slice(2));
