/** The README's sample runs as it stands, on a folder with two real JPEGs. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, expect, test } from "vitest";
import { host } from "../engine/index.ts";
import { jpegOf, pattern } from "./datasets/pictures.ts";

const ROOT = resolve(import.meta.dirname, ".."), folder = mkdtempSync(join(tmpdir(), "spiketrain-readme-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("the ten lines train on a VOC folder", async () => {
  const voc = join(folder, "voc");
  for (const part of ["JPEGImages", "Annotations", "ImageSets/Main"]) mkdirSync(join(voc, part), { recursive: true });
  for (const name of ["a", "b"]) {
    writeFileSync(join(voc, "JPEGImages", `${name}.jpg`), await jpegOf(pattern(96, 64)));
    const objects = ["cat", "dog", "horse"].map((kind, i) => `<object><name>${kind}</name><bndbox><xmin>${10 + 9 * i}</xmin><ymin>8</ymin><xmax>${50 + 9 * i}</xmax><ymax>60</ymax></bndbox></object>`);
    writeFileSync(join(voc, "Annotations", `${name}.xml`), `<annotation><size><width>96</width><height>64</height><depth>3</depth></size>${objects.join("")}</annotation>`);
  }
  writeFileSync(join(voc, "ImageSets/Main/train.txt"), "a\nb\n");

  const [, sample] = /```ts\n([\s\S]*?)```/.exec(readFileSync(join(ROOT, "README.md"), "utf8"))!;
  const code = sample
    .replace(/from "spiketrain\/(\w+)"/g, (_, floor: string) => `from ${JSON.stringify(join(ROOT, floor, "index.ts"))}`)
    .replace('"path/to/voc"', JSON.stringify(voc))
    .replace(/^const model = /m, "export const model = ");
  expect(code).toContain(voc);
  writeFileSync(join(folder, "sample.ts"), code);
  const { model } = (await import(join(folder, "sample.ts"))) as { model: { parameters(): { data: Float32Array }[] } };
  expect(model.parameters().every(({ data }) => data.every(Number.isFinite))).toBe(true);
  await host().stop();
});
