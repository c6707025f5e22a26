/**
 * COCO's metrics on as many images as its validation set has, with 100 detections each: from parsed files to figures, on one thread. Where a python3
 * (or PYTHON) has pycocotools, it evaluates the same files once (a minute or two each), and every point of every curve is compared.
 *
 * Seconds are the processor's, so that whatever else runs on the machine costs neither side; ours are the least of ROUNDS.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { cocoMetrics, cocoSet, type CocoScores } from "../detection/metrics.ts";
import { Random } from "../engine/random.ts";
import { print } from "./desk.ts";

const IMAGES = 5000, DETECTIONS = 100, ROUNDS = 3;

/** Mean truths per image; COCO has 7.3 of 80 classes. */
const SETS = [{ name: "80 classes, 7 objects", classes: 80, objects: 7 }, { name: "1 class, 30 objects", classes: 1, objects: 30 }];

/** The two files of a made-up set: half the detections near an object, the others anywhere. */
export function madeUp(classes: number, objects: number, images = IMAGES, random = new Random(1)): { instances: object; results: object[] } {
  const annotations: { id: number; image_id: number; category_id: number; bbox: number[]; area: number; iscrowd: number }[] = [], results: object[] = [];
  const digits = (value: number): number => Math.round(value * 100) / 100;
  const anywhere = (): number[] => {
    const w = Math.exp(random.uniform(2, 5.5)), h = Math.exp(random.uniform(2, 5.5));
    return [random.uniform(0, Math.max(640 - w, 1)), random.uniform(0, Math.max(480 - h, 1)), w, h].map(digits);
  };
  for (let image = 1; image <= images; image++) {
    const first = annotations.length;
    for (let left = random.integer(0, 2 * objects + 1); left > 0; left--) {
      const bbox = anywhere();
      annotations.push({ id: annotations.length + 1, image_id: image, category_id: random.integer(1, classes + 1), bbox, area: digits(bbox[2] * bbox[3] * random.uniform(0.4, 1)), iscrowd: random.uniform() < 0.02 ? 1 : 0 });
    }
    for (let d = 0; d < DETECTIONS; d++) {
      const near = annotations.length > first && d % 2 === 0 ? annotations[random.integer(first, annotations.length)] : undefined;
      const bbox = near ? near.bbox.map((value, side) => digits(value + near.bbox[2 + side % 2] * 0.1 * random.normal())) : anywhere();
      bbox[2] = Math.max(bbox[2], 0);
      bbox[3] = Math.max(bbox[3], 0);
      const category = near && random.uniform() < 0.9 ? near.category_id : random.integer(1, classes + 1);
      results.push({ image_id: image, category_id: category, bbox, score: Math.round((near ? random.uniform() ** 0.5 : random.uniform() ** 2) * 1000) / 1000 });
    }
  }
  const ids = (n: number) => Array.from({ length: n }, (_, i) => ({ id: i + 1, name: `${i + 1}` }));
  return { instances: { images: ids(images), categories: ids(classes), annotations }, results };
}

const seconds = <Result>(run: () => Result): [result: Result, seconds: number] => {
  const start = process.cpuUsage(), result = run(), { user, system } = process.cpuUsage(start);
  return [result, (user + system) / 1e6];
};

/** pycocotools on the same files, in whichever Python has it. */
class Reference {
  private readonly python = [process.env.PYTHON, "python3", "python"].find((command) => command && spawnSync(command, ["-c", "import pycocotools"]).status === 0);
  readonly folder = mkdtempSync(join(tmpdir(), "spiketrain-coco-"));
  get found(): boolean { return this.python !== undefined; }
  private at(name: string): string { return join(this.folder, name); }

  give(instances: string, results: string): void {
    writeFileSync(this.at("instances.json"), instances);
    writeFileSync(this.at("results.json"), results);
  }

  run(): { load: number; evaluate: number; figures: number[] } {
    const script = fileURLToPath(new URL("../".repeat(import.meta.url.includes("/dist/") ? 2 : 1) + "bench/peers/pycoco.py", import.meta.url));
    const { status, stdout, stderr } = spawnSync(this.python!, [script, ...["instances.json", "results.json", "precision", "recall"].map((name) => this.at(name))], { encoding: "utf8" });
    if (status !== 0) throw new Error(`bench: pycocotools failed: ${stderr}`);
    return JSON.parse(stdout);
  }

  /** The largest distance of any point of a curve, or of a figure. */
  distance({ curves, ...scores }: CocoScores, figures: readonly number[]): number {
    const ours = [scores.ap, scores.ap50, scores.ap75, scores.apSmall, scores.apMedium, scores.apLarge, scores.ar1, scores.ar10, scores.ar100, scores.arSmall, scores.arMedium, scores.arLarge];
    const read = (name: string): Float64Array => new Float64Array(new Uint8Array(readFileSync(this.at(name))).buffer);
    let worst = 0;
    for (const [got, want] of [[ours, figures], [curves.precision, read("precision")], [curves.recall, read("recall")]] as const) {
      if (got.length !== want.length) return Infinity;
      for (let i = 0; i < got.length; i++) worst = Math.max(worst, Math.abs(got[i] - want[i]));
    }
    return worst;
  }

  close(): void { rmSync(this.folder, { recursive: true }); }
}

export async function run(): Promise<unknown> {
  const results = [], reference = new Reference();
  for (const { name, classes, objects } of SETS) {
    const made = madeUp(classes, objects), files = [JSON.stringify(made.instances), JSON.stringify(made.results)] as const;
    if (reference.found) reference.give(...files);
    const row = { name, detections: made.results.length, ap: 0, read: Infinity, evaluate: Infinity, theirRead: Infinity, theirEvaluate: Infinity, distance: NaN };
    for (let round = 0; round < ROUNDS; round++) {
      const [set, read] = seconds(() => cocoSet(JSON.parse(files[0]), JSON.parse(files[1])));
      const [scores, evaluate] = seconds(() => cocoMetrics(set));
      Object.assign(row, { ap: scores.ap, read: Math.min(row.read, read), evaluate: Math.min(row.evaluate, evaluate) });
      if (round > 0 || !reference.found) continue;
      const { load, evaluate: theirs, figures } = reference.run();
      Object.assign(row, { theirRead: load, theirEvaluate: theirs, distance: reference.distance(scores, figures) });
    }
    results.push(row);
  }
  reference.close();
  const peer = reference.found ? ["pycocotools: read", "evaluate", "ours / theirs", "largest difference"] : [];
  print(["seconds", "detections", "AP", "read", "evaluate", ...peer], results.map((row) => [
    row.name, String(row.detections), row.ap.toFixed(4), row.read, row.evaluate,
    ...(reference.found ? [row.theirRead, row.theirEvaluate, row.evaluate / row.theirEvaluate, row.distance.toExponential(1)] : []),
  ]));
  if (!reference.found) console.log("no python3 here has pycocotools (set PYTHON to one that does): not compared");
  return results;
}
