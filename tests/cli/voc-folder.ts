/** A PASCAL VOC folder made on the spot, with whatever is wrong in it that a test wants. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { encodePng, shapes } from "../../datasets/index.ts";

/** What an annotation says of one object: corners as written, 1-based and inclusive. */
export interface Written { readonly name: string; readonly corners: readonly [number, number, number, number] }

export interface VocPicture {
  readonly id: string;
  readonly objects?: readonly Written[];
  /** Bytes of JPEGImages/ID.jpg in place of a good PNG. */
  readonly jpeg?: Uint8Array;
}

const SIDE = 64;

/** Writes the folder; every list of `splits` names pictures by id. Objects are those of the generated picture unless given. */
export async function writeVoc(path: string, pictures: readonly VocPicture[], splits: Readonly<Record<string, readonly string[]>>): Promise<void> {
  for (const folder of ["Annotations", "JPEGImages", "ImageSets/Main"]) mkdirSync(join(path, folder), { recursive: true });
  const set = shapes({ split: "train", size: pictures.length, imgsz: SIDE, seed: 9 });
  for (const [i, { id, objects, jpeg }] of pictures.entries()) {
    const sample = (await set.sample(i))!;
    const own = sample.boxes.map(({ class: c, x1, y1, x2, y2 }): Written => ({ name: set.classes[c], corners: [Math.round(x1) + 1, Math.round(y1) + 1, Math.round(x2), Math.round(y2)] }));
    writeFileSync(join(path, "JPEGImages", jpeg ? `${id}.jpg` : `${id}.png`), jpeg ?? encodePng(sample.picture));
    writeFileSync(join(path, "Annotations", `${id}.xml`), annotation(objects ?? own));
  }
  for (const [split, ids] of Object.entries(splits)) writeFileSync(join(path, "ImageSets/Main", `${split}.txt`), ids.map((id) => `${id}\n`).join(""));
}

function annotation(objects: readonly Written[]): string {
  const boxes = objects.map(({ name, corners: [xmin, ymin, xmax, ymax] }) =>
    `<object><name>${name}</name><bndbox><xmin>${xmin}</xmin><ymin>${ymin}</ymin><xmax>${xmax}</xmax><ymax>${ymax}</ymax></bndbox></object>`);
  return `<annotation><size><width>${SIDE}</width><height>${SIDE}</height><depth>3</depth></size>${boxes.join("")}</annotation>\n`;
}

/** The first half of a JPEG of 24 x 24 pixels. */
export const truncatedJpeg: Uint8Array = Buffer.from(
  "/9j/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZlo+AjIqgtObDoKrarYqMyP/L2u71////m8H////6/+b9//j/2wBDASstLTw1PHZBQXb4pYyl+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4" +
  "+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj/wAARCAAYABgDASIAAhEBAxEB/8QAFwABAQEBAAAAAAAAAAAAAAAAAAMEAv/E", "base64");
