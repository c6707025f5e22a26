/**
 * What a picture costs before a detector sees it: drawing one, decoding one, fitting and varying one. One thread, no overlap with training.
 *
 * Every job runs ROUNDS times over the same pictures. "best" takes each picture's fastest round and averages over pictures, which is what
 * an idle machine does; "mean" is over everything.
 */
import { augmentations, augmented } from "../datasets/augment.ts";
import { decodeImage, encodePng, type Decoder } from "../datasets/image.ts";
import { fit, letterbox } from "../datasets/letterbox.ts";
import { shapes } from "../datasets/shapes.ts";
import { Random } from "../engine/random.ts";
import { print } from "./desk.ts";

const PICTURES = 40, ROUNDS = 8;

interface Row { job: string; best: number; mean: number }

async function measure(job: string, run: (index: number) => unknown): Promise<Row> {
  const best = new Float64Array(PICTURES).fill(Infinity);
  let sum = 0;
  for (let i = 0; i < PICTURES; i++) await run(i);                                        // warm
  for (let round = 0; round < ROUNDS; round++) {
    for (let i = 0; i < PICTURES; i++) {
      const start = performance.now();
      await run(i);
      const took = performance.now() - start;
      best[i] = Math.min(best[i], took);
      sum += took;
    }
  }
  return { job, best: best.reduce((a, b) => a + b) / PICTURES, mean: sum / PICTURES / ROUNDS };
}

export async function run(): Promise<unknown> {
  const rows: Row[] = [];
  for (const imgsz of [128, 256]) {
    const set = shapes({ imgsz, size: PICTURES });
    rows.push(await measure(`shapes: draw ${imgsz} x ${imgsz}`, (i) => set.sample(i)));
  }

  const photo = (await shapes({ imgsz: 640, size: 1 }).sample(0))!, png = encodePng(photo.picture);
  rows.push(await measure("encodePng 640 x 640", () => encodePng(photo.picture)));
  for (const decoder of ["sharp", "wasm"] satisfies Decoder[]) {
    rows.push(await measure(`decode PNG 640 x 640, ${decoder}`, () => decodeImage(png, "bench.png", { decoder })));
  }
  const { default: sharp } = await import("sharp");
  const jpeg = new Uint8Array(await sharp(photo.picture.pixels, { raw: { width: 640, height: 640, channels: 3 } }).jpeg().toBuffer());
  for (const decoder of ["sharp", "wasm"] satisfies Decoder[]) {
    rows.push(await measure(`decode JPEG 640 x 640, ${decoder}`, () => decodeImage(jpeg, "bench.jpg", { decoder })));
  }
  for (const side of [320, 640]) {
    const place = fit(640, 640, [side, side]);
    rows.push(await measure(`letterbox 640 x 640 -> ${side}`, () => letterbox(photo.picture, place)));
    rows.push(await measure(`augment 640 x 640 -> ${side}`, (i) => augmented(photo, { width: side, height: side }, augmentations.spikeyolo, new Random(0, i))));
  }

  print(["ms per picture", "best", "mean"], rows.map(({ job, best, mean }) => [job, best, mean]));
  return rows;
}
