/** Pictures: decoded files, letterbox, colour jitter, mosaic. The recorded cases of the last three have channels in any order: ours do not care which is which but for the jitter. */
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { layOut, placeBoxes, render, type Variation } from "../../datasets/augment.ts";
import { tint } from "../../datasets/hsv.ts";
import { decodeImage, type Decoder } from "../../datasets/image.ts";
import { fit, letterbox, toCanvas, toPicture } from "../../datasets/letterbox.ts";
import type { ObjectBox, Picture } from "../../datasets/sample.ts";
import { type Check, type OracleCase, type Player } from "./play.ts";

const DECODERS: readonly Decoder[] = ["sharp", "wasm"];

/** Tensors of these cases are told by file and key. */
const tensor = (c: OracleCase, file: string, key: string): { shape: readonly number[]; data: ArrayLike<number> } => {
  const stored = c.folder.tensors(file).get(key);
  if (!stored) throw new Error(`${c.record.id}: ${file} holds no ${key}`);
  return { shape: stored.shape, data: stored.read() as ArrayLike<number> };
};
const own = (c: OracleCase) => (key: string) => tensor(c, c.record.files[0], key);

const picture = ({ shape: [height, width], data }: { shape: readonly number[]; data: ArrayLike<number> }): Picture => ({ width, height, pixels: Uint8Array.from(data) });

/** Largest and mean difference, and where they may be. */
function levels(check: Check, what: string, got: ArrayLike<number>, want: ArrayLike<number>, { max = Infinity, mean = Infinity }: { max?: number; mean?: number }): void {
  if (got.length !== want.length) { check.fail(`${what}: ${got.length} values, expected ${want.length}`); return; }
  let worst = 0, sum = 0;
  for (let i = 0; i < want.length; i++) {
    const distance = Math.abs(got[i] - want[i]);
    worst = Math.max(worst, distance);
    sum += distance;
  }
  if (max < Infinity) check.atMost(`${what}, largest`, worst, max);
  if (mean < Infinity) check.atMost(`${what}, mean`, sum / want.length, mean);
}

/** Means of blocks of 24 x 24. */
function blockMeans({ width, height, pixels }: Picture, side = 24): Float64Array {
  const columns = width / side, means = new Float64Array(columns * (height / side) * 3);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) for (let k = 0; k < 3; k++) {
    means[3 * (Math.floor(y / side) * columns + Math.floor(x / side)) + k] += pixels[3 * (y * width + x) + k] / (side * side);
  }
  return means;
}

function channelMeans({ pixels }: Picture): number[] {
  const sums = [0, 0, 0];
  pixels.forEach((value, i) => { sums[i % 3] += value; });
  return sums.map((sum) => 3 * sum / pixels.length);
}

function crop({ width, pixels }: Picture, row: number, column: number, side: number): number[] {
  return Array.from({ length: side }, (_, y) => [...pixels.subarray(3 * ((row + y) * width + column), 3 * ((row + y) * width + column + side))]).flat();
}

type Decoded = readonly { readonly file: string; readonly decoder: Decoder; readonly picture: Picture }[];

const decodeImages: Player = {
  places: [],
  async read(c): Promise<Decoded> {
    const files = (c.record.files as string[]).filter((file) => /\.(png|jpe?g|webp)$/.test(file));
    return Promise.all(files.flatMap((file) => DECODERS.map(async (decoder) => ({ file, decoder, picture: await decodeImage(readFileSync(join(c.folder.path, file)), file, { decoder }) }))));
  },
  play(c, check, decoded: Decoded) {
    for (const { file, decoder, picture } of decoded) {
      const what = `${basename(file)} by ${decoder}`;
      if (c.record.tolerance === "exact") { check.equal(what, picture.pixels, tensor(c, "png/pixels.safetensors", basename(file)).data); continue; }
      const stem = file.replace(/\.\w+$/, ""), { mean_rgb, width, height } = JSON.parse(readFileSync(join(c.folder.path, `${stem}.expected.json`), "utf8"));
      const expected = `${stem}.expected.safetensors`, { mean, block_mean_24 } = c.record.tolerance;
      check.equal(`${what}, size`, [picture.width, picture.height], [width, height]);
      levels(check, `${what}, channel means`, channelMeans(picture), mean_rgb, { max: mean.abs });
      levels(check, `${what}, block means`, blockMeans(picture), tensor(c, expected, "block_mean_24").data, { max: block_mean_24.abs });
      levels(check, `${what}, crop`, crop(picture, 200, 300, 64), tensor(c, expected, "crop").data, { mean: 2 });
    }
  },
};

const corners = (data: ArrayLike<number>, row: number) => ({ x1: data[4 * row], y1: data[4 * row + 1], x2: data[4 * row + 2], y2: data[4 * row + 3] });
const values = ({ x1, y1, x2, y2 }: Pick<ObjectBox, "x1" | "y1" | "x2" | "y2">): number[] => [x1, y1, x2, y2];

const letterboxes: Player = {
  places: [],
  play(c, check) {
    const read = own(c);
    c.params["cases"].forEach(({ h, w, new_shape }: { h: number; w: number; new_shape: number }, k: number) => {
      const place = fit(w, h, [new_shape, new_shape]), { pixels } = letterbox(picture(read(`in${k}`)), place), { scale } = place;
      levels(check, `picture ${k}`, pixels, read(`out${k}`).data, { max: 2 });
      const boxes = read(`boxes${k}`).data, mapped = read(`boxes_mapped${k}`).data, back = read(`boxes_back${k}`).data, rows = boxes.length / 4;
      for (let row = 0; row < rows; row++) {
        levels(check, `box ${row} of picture ${k}`, values(toCanvas(corners(boxes, row), place)), values(corners(mapped, row)), { max: c.record.tolerance.boxes.abs });
        const moved = corners(mapped, row), outside = row === 0 ? { ...moved, x1: moved.x1 - 9 } : { ...moved, x2: moved.x2 + 50 };
        // scale_coords takes the padding of the unrounded size
        levels(check, `box ${row} of picture ${k}, back`, values(toPicture(outside, { scale, left: (new_shape - w * scale) / 2, top: (new_shape - h * scale) / 2, width: w, height: h })), values(corners(back, row)), { max: c.record.tolerance.boxes.abs });
      }
    });
  },
};

const swapped = (pixels: ArrayLike<number>): Uint8Array => Uint8Array.from({ length: pixels.length }, (_, i) => pixels[i - i % 3 + 2 - i % 3]);

const hsv: Player = {
  places: [],
  play(c, check) {
    const read = own(c), source = read("bgr_in"), given = { ...picture(source), pixels: swapped(source.data) }, [hue, saturation, value] = Array.from(read("r").data), { mean_abs: mean, max } = c.record.tolerance;
    tint(given, hue, saturation, value);
    levels(check, "pixels", swapped(given.pixels), read("bgr_out").data, { mean, max });
    check.note(`${Array.from(read("bgr_out").data).filter((want, i) => want !== swapped(given.pixels)[i]).length} of ${given.pixels.length} values differ`);
  },
};

/** What is drawn where nothing is varied but the place of the mosaic's centre. */
const still: Variation = { view: { angle: 0, scale: 1, shear: [0, 0], perspective: [0, 0], centre: [0.5, 0.5] }, warped: true, flip: false, upsideDown: false };

const mosaic: Player = {
  places: [],
  play(c, check) {
    const read = own(c), { s, centre } = c.params, tiles = [0, 1, 2, 3].map((k) => picture(read(`img${k}`))), canvas = { width: s, height: s };
    const shares = centre.map((at: number) => (at + 0.5 - s / 2) / s) as [number, number];
    const layout = layOut(tiles, canvas, { ...still, mosaic: shares });
    const boxes = tiles.map(({ width, height }, k) => {
      const { shape: [rows], data } = read(`labels${k}`);
      return Array.from({ length: rows }, (_, row): ObjectBox => {
        const [label, x, y, w, h] = Array.from({ length: 5 }, (_, i) => data[5 * row + i]);
        return { class: label, x1: (x - w / 2) * width, y1: (y - h / 2) * height, x2: (x + w / 2) * width, y2: (y + h / 2) * height };
      });
    });
    levels(check, "pixels", render(tiles, layout).pixels, read("mosaic").data, { max: 1 });
    // that repository keeps fewer boxes than ultralytics: sides > 4, area ratio > 0.2, aspect < 10
    const got = placeBoxes(boxes, layout).filter(({ x1, y1, x2, y2 }) => x2 - x1 > 4 && y2 - y1 > 4 && Math.max((x2 - x1) / (y2 - y1), (y2 - y1) / (x2 - x1)) < 10);
    const want = read("labels"), rows = Array.from({ length: want.shape[0] }, (_, row) => Array.from({ length: 5 }, (_, i) => want.data[5 * row + i]));
    check.note(`${got.length} boxes`);
    levels(check, "labels", got.flatMap((box) => [box.class, ...values(box)]), rows.flat(), { max: c.record.tolerance.labels.abs });
  },
};

export const imagePlayers: ReadonlyMap<string, Player> = new Map([["decode_images", decodeImages], ["letterbox", letterboxes], ["hsv", hsv], ["mosaic", mosaic]]);
