/**
 * What memory a forward and a backward pass of SpikeYOLO-n take, two pictures of 320 x 320, no optimiser state: bytes kept for the backward pass for each
 * number that a convolution put out (a general framework: 12), the most bytes in use, the linear memory, and the process as the system counts it.
 * Each row is a fresh process.
 */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { print } from "./desk.ts";

/** Bytes for each convolution output in a general framework: the output, its norm and the neuron's membrane, in float32. */
const GENERAL = 12;

interface Footprint { outputs: number; kept: number; parameters: number; peak: number; reserved: number; rss: number }

const ROWS = [
  { name: "as it is", threads: 1, model: {} },
  { name: "as it is", threads: 2, model: {} },
  { name: "f16", threads: 2, model: { activations: "f16" } },
  { name: "checkpointing", threads: 2, model: { checkpointing: true } },
];

export async function run(): Promise<unknown> {
  const program = fileURLToPath(new URL("./footprint-step.js", import.meta.url));
  const results = ROWS.map(({ name, threads, model }) => {
    const measured = JSON.parse(execFileSync(process.execPath, [program, JSON.stringify({ threads, B: 2, S: 320, model })], { encoding: "utf8" })) as Footprint;
    return { name, threads, ...measured, bytesPerOutput: measured.kept / measured.outputs };
  });
  const MB = (bytes: number): string => (bytes / 1e6).toFixed(0);
  print(["SpikeYOLO-n, 2 of 320 x 320", "threads", "kept MB", "bytes/output", "of 12", "peak MB", "linear MB", "process MB"],
    results.map(({ name, threads, kept, bytesPerOutput, peak, reserved, rss }) => [name, String(threads), MB(kept), bytesPerOutput, bytesPerOutput / GENERAL, MB(peak), MB(reserved), MB(rss)]));
  return results;
}
