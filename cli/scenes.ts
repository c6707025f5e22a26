/** `spiketrain scenes`: recordings that nobody has to ask a licence for. */
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { GEN1_SENSOR, writeEventScenes } from "../datasets/index.ts";
import type { Values } from "./options.ts";
import type { Progress } from "./progress.ts";
import { RunFolder } from "./run-folder.ts";
import { Interrupted, UserError } from "./user-error.ts";

export async function scenesCommand({ out, train = 16, val = 4, test = 4, seconds = 10, width = GEN1_SENSOR.width, height = GEN1_SENSOR.height, seed }: Values<"scenes">, progress: Progress, signal: AbortSignal): Promise<void> {
  if (out === undefined) throw new UserError("scenes: out is missing; give out=FOLDER");
  const { path } = await RunFolder.at(out);
  for (const [split, recordings] of [["train", train], ["val", val], ["test", test]] as const) {
    await writeEventScenes(path, { split, recordings, seconds, seed, camera: { width, height }, progress: async (done) => {
      progress.passing(`recording ${split} ... ${done}/${recordings}`);
      await turn(); // for signals
      if (signal.aborted) throw new Interrupted(`stopped after ${done} of ${recordings} recordings of ${join(path, split)}`);
    } });
    progress.say(`${join(path, split)}: ${recordings} ${recordings === 1 ? "recording" : "recordings"} of ${seconds} s, ${width} x ${height} pixels`);
  }
  progress.say(`to learn from them: npm start -- data=${path}`);
}
