/**
 * SNN-YOLOv3 at the size of its paper: YOLOv3 at 416 x 416 in four timesteps, a picture at a time. With about 5 % and 15 % of what its convolutions read not zero,
 * which is set (yolov3-pass.ts), the forward pass as dispatched, all sparse and all dense, in turns, and the most memory of the process: each row is a fresh one.
 *
 *   npm run bench -- yolov3 [photo=PATH] [threads=2] [turns=3] [side=416]
 */
import { execFileSync } from "node:child_process";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { UserError } from "../cli/user-error.ts";
import { print } from "./desk.ts";
import type { PassFigures, PassOptions } from "./yolov3-pass.ts";

const DENSITIES = [0.05, 0.15], SIDE = 416, T = 4;

export async function run(args: readonly string[] = []): Promise<unknown> {
  const options: PassOptions[] = DENSITIES.map((density) => ({ density, T, side: SIDE, threads: cpus().length > 1 ? 2 : 1, turns: 3, ...given(args) }));
  const program = fileURLToPath(new URL("./yolov3-pass.js", import.meta.url));
  const results = options.map((option) => ({ ...option, photo: undefined, ...JSON.parse(execFileSync(process.execPath, [program, JSON.stringify(option)], { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] })) as PassFigures }));
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`, MB = (bytes: number): string => (bytes / 1e6).toFixed(0), G = (n: number): string => `${(n / 1e9).toFixed(2)} G`;
  print([`${results[0].picture}, ${results[0].side} x ${results[0].side}, T ${T}`, "layers from", "to", "MACs", "synaptic ops", "as dispatched, s", "all sparse, s", "all dense, s", "times", "engine MB", "process MB"],
    results.map(({ densities: { overall, least, most }, macs, synapticOperations, auto, sparse, dense, reserved, rss }) =>
      [`${percent(overall)} not zero`, percent(least), percent(most), G(macs), G(synapticOperations), auto / 1e3, sparse / 1e3, dense / 1e3, dense / auto, MB(reserved), MB(rss)]));
  return results;
}

function given(args: readonly string[]): Partial<PassOptions> {
  return Object.fromEntries(args.map((argument): [string, unknown] => {
    const [, key, value] = /^(photo|threads|turns|side)=(.+)$/.exec(argument) ?? [];
    if (key === "photo") return [key, value];
    if (key !== undefined && /^[1-9]\d{0,3}$/.test(value) && (key !== "side" || Number(value) % 32 === 0)) return [key, Number(value)];
    throw new UserError(`bench: yolov3 takes photo=PATH, threads=, turns= and side= (a multiple of 32), got ${argument}`);
  }));
}
