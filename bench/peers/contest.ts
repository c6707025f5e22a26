/**
 * All sides in turns, in one process with one number of threads, because the libraries fix theirs at their start.
 * Run by main.ts with the number of threads and, where there is one, the Python that has PyTorch.
 */
import { setTimeout as pause } from "node:timers/promises";
import { Desk } from "../desk.ts";
import { ortSides, ortVersion } from "./ort.ts";
import { timed, type Problem, type Side } from "./problem.ts";
import { ROWS, type Row } from "./rows.ts";
import { tfjsSides, tfjsVersion } from "./tfjs.ts";
import { Torch } from "./torch.ts";

/** One side of one row. */
export interface Time { side: string; form: string; ms: number; /** Against ours: largest difference over largest value. */ error: number }
export interface Outcome { row: string; threads: number; times: Time[] }
export interface Report { outcomes: Outcome[]; versions: string[] }

/** Turns of a row: so many, and for so many milliseconds at least. */
const TURNS = 8, AT_LEAST = 1000;
const LARGEST_ERROR = 1e-4;
/** Workers of one side spin for a while after their work; the next side starts when they sleep. */
const PAUSE = 3;

const [threads, python] = [Number(process.argv[2]), process.argv[3]];
const torch = python ? new Torch(python, threads) : undefined;
const outcomes: Outcome[] = [];
for (const row of ROWS) outcomes.push(await contest(row));
torch?.close();
process.send!({ outcomes, versions: [ortVersion(), tfjsVersion()] } satisfies Report);
process.exit(); // onnxruntime-web keeps its workers

async function contest(row: Row): Promise<Outcome> {
  const desk = await Desk.of({ threads }), { ours, problem } = onDesk(row, desk);
  const sides = [...ours, ...(await ortSides(problem, threads)), ...(await tfjsSides(problem, threads)), ...((await torch?.sides(problem)) ?? [])];
  const errors = await compare(row.name, sides);
  const best = sides.map(() => Infinity), overhead = sides.map(() => Infinity);
  for (let turn = 0, start = performance.now(); turn < TURNS || performance.now() - start < AT_LEAST; turn++) {
    for (const [i, side] of sides.entries()) {
      await pause(PAUSE);
      for (let call = 0; call < 2; call++) best[i] = Math.min(best[i], await side.time());
      if (side.overhead) overhead[i] = Math.min(overhead[i], await side.overhead());
    }
  }
  for (const side of sides) await side.close?.();
  await desk.loaded.stop();
  const times = sides.map((side, i) => ({ side: side.name, form: side.form, ms: best[i] - (side.overhead ? overhead[i] : 0), error: errors[i] }));
  return { row: row.name, threads, times };
}

function onDesk({ pass, shape, groups, on }: Row, desk: Desk): { problem: Problem; ours: Side[] } {
  const laid = on(desk), { B, S, C, N, k } = shape, input = B * S * S * C, output = B * S * S * N, weights = (N * k * k * C) / groups;
  const result = () => {
    if (pass === "forward") return desk.read(laid.y, output);
    const dx = pass === "dW" ? [] : desk.read(laid.dx!, input), dw = pass === "dX" ? [] : desk.read(laid.dw, weights);
    return Float32Array.from([...dx, ...dw]);
  };
  const side = (name: string, form: string, run: () => void): Side => ({ name, form, time: () => timed(run), result: () => { run(); return result(); } });
  return {
    problem: { pass, shape, groups, x: desk.read(laid.x, input), w: desk.read(laid.w, weights), dy: desk.read(laid.dy, output) },
    ours: [side("ours", "NHWC", laid.run), ...(laid.dense ? [side("ours, dense", "NHWC", laid.dense)] : [])],
  };
}

/** Refuses to time sides that compute different things. */
async function compare(row: string, sides: Side[]): Promise<number[]> {
  const ours = await sides[0].result(), scale = ours.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  const errors = [];
  for (const { name, form, result } of sides) {
    const theirs = await result();
    if (theirs.length !== ours.length) throw new Error(`bench: ${row}: ${name} ${form} gives ${theirs.length} values, expected ${ours.length}`);
    const error = theirs.reduce((most, v, i) => Math.max(most, Math.abs(v - ours[i])), 0) / scale;
    if (!(error <= LARGEST_ERROR)) {
      throw new Error(`bench: ${row}: ${name} ${form} differs from ours by ${error} of the largest value, expected at most ${LARGEST_ERROR}; it was not timed`);
    }
    errors.push(error);
  }
  return errors;
}
