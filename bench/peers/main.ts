/**
 * Our kernels beside onnxruntime-web, TensorFlow.js (both WASM SIMD) and PyTorch, on the same tensors in one run: each in the layout that it likes best,
 * weights packed beforehand, results compared before anything is timed, in turns, least of many. What onnxruntime-web takes to move tensors in and out
 * of its memory is measured by a model that does nothing else, and is not counted.
 */
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { print } from "../desk.ts";
import type { Outcome, Report, Time } from "./contest.ts";
import { installPeers } from "./packages.ts";
import { findTorch } from "./torch.ts";

const SIDES = ["ours, dense", "onnxruntime-web", "tfjs-backend-wasm", "PyTorch"];

export async function run(): Promise<unknown> {
  installPeers();
  const torch = findTorch();
  console.log(torch ? `PyTorch ${torch.version} of ${torch.command}` : "PyTorch is left out: no python3 here has it (PYTHON=... names another)");
  const reports = [];
  for (const threads of [1, 2]) reports.push(await contest(threads, torch?.command));
  console.log(`${reports[0].versions.join(", ")} (which has one thread in Node)`);

  const outcomes = reports.flatMap((report) => report.outcomes);
  print(["ms", "threads", "ours", ...SIDES.flatMap((side) => [side, "times"])], outcomes.map(({ row, threads, times }) => {
    const ours = fastest(times, "ours")!;
    return [row, String(threads), ours.ms, ...SIDES.flatMap((side) => {
      const theirs = fastest(times, side);
      return theirs ? [`${theirs.ms.toFixed(2)} ${theirs.form}`, theirs.ms / ours.ms] : ["-", "-"];
    })];
  }));
  console.log(`times: how much faster ours is; largest difference from ours: ${largestError(outcomes).toExponential(1)} of the largest value`);
  return { torch: torch?.version, versions: reports[0].versions, outcomes };
}

/** The best form of a side. */
function fastest(times: readonly Time[], side: string): Time | undefined {
  return times.filter((time) => time.side === side).sort((a, b) => a.ms - b.ms)[0];
}

const largestError = (outcomes: readonly Outcome[]): number => Math.max(...outcomes.flatMap(({ times }) => times.map(({ error }) => error)));

function contest(threads: number, python = ""): Promise<Report> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL("contest.js", import.meta.url)), [String(threads), python]);
    let report: Report | undefined;
    child.on("message", (message) => { report = message as Report; });
    child.on("error", reject);
    child.on("close", (code) => (report ? resolve(report) : reject(new Error(`bench: the contest with ${threads} threads ended with code ${code}; why stands above`))));
  });
}
