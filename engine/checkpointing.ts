/** Recomputation in place of memory, after Chen et al., "Training deep nets with sublinear memory cost" (arXiv:1604.06174). */
import { keepingAs, keptAs, stretch } from "./lean.ts";
import { isRecording, record, type OpSpec, type Value } from "./op.ts";

const spec: OpSpec<readonly Value[], undefined, Value, readonly Value[]> = {
  name: "checkpoint",
  shape: ([x]) => x.shape,
  reads: {},
  forward: () => {},
  backward: () => { throw new Error("checkpoint: its gradient goes through what runs again"); },
};

/**
 * Runs a part of the forward pass and keeps nothing of it but what it was given and its result: `backward` runs it again and goes through that,
 * in the same order, so that gradients have the same bits. `run` must do the same both times; what it changes outside (running statistics) it must
 * leave alone where `isRecomputing()`.
 */
export function checkpoint<V extends Value>(run: () => V): V {
  const kept = keptAs(), { result, trace } = stretch(run, "nothing");
  if (!isRecording() || !result.requiresGrad) return result;
  const inside = new Set<Value>(trace.nodes.map(({ output }) => output));
  const given = [...trace.inputs].filter((input) => !inside.has(input) && !input.life.ended);
  record({ spec, inputs: given, attributes: undefined, saved: given, output: result, redo: () => keepingAs(kept, run) });
  return result;
}
