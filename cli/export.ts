/** `spiketrain export`: trained weights as other programs read them. */
import { metadataOf, referenceState } from "../detection/index.ts";
import { writeSafetensors } from "../nn/index.ts";
import { writeAtomically } from "./atomic-file.ts";
import type { Values } from "./options.ts";
import type { Progress } from "./progress.ts";
import { UserError } from "./user-error.ts";
import { readWeights } from "./weights.ts";

export async function exportCommand({ weights, out, T, D, neuron }: Values<"export">, progress: Progress): Promise<void> {
  if (weights === undefined) throw new UserError("export: weights is missing; give weights=RUN_FOLDER or weights=CHECKPOINT");
  const trained = await readWeights(weights, { T, D, neuron }), path = out ?? trained.path.replace(/(\.\w+)?$/, ".reference.safetensors");
  const { ablation = "spikeyolo" } = trained.options;
  if (ablation !== "spikeyolo") throw new UserError(`export: ${trained.path} is the ablation ${ablation} of SpikeYOLO, which the reference would read as SpikeYOLO itself; use it here, by val, predict and profile`);
  const { family } = trained, state = referenceState(trained.model()), { T: timesteps, D: ceiling, imgsz } = trained.options;
  for (const line of trained.news) progress.say(line);
  await writeAtomically(path, writeSafetensors(state, metadataOf({ classes: trained.named ? trained.classes : undefined, T: timesteps, imgsz, ...(family.integers && { D: ceiling, neuron: trained.neuron }) })));
  progress.say(`wrote ${path}: ${state.size} tensors in float32 under the names of ${family.reference}, ${trained.classes.length} classes, ${family.timing(timesteps, ceiling)}${family.integers ? `, neuron of ${trained.neuron}` : ""}`);
}
