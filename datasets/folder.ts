/** A plain folder of pictures without labels, to predict on; and the pictures below a folder, for those readers that take what is there. */
import type { Decoder } from "./image.ts";
import { pictureSet, type PictureSet } from "./picture-set.ts";
import { ProblemList } from "./problems.ts";

/** By their names; what is in them is looked at when they are read. */
export const isPictureName = (name: string): boolean => /\.(jpe?g|png|webp)$/i.test(name) && !/(^|[/\\])\._/.test(name);

/** Names of the pictures in a folder and in those below it, with / between, in the order of their letters; undefined where there is no folder. Links to folders are not followed. */
export async function picturesBelow(folder: string): Promise<string[] | undefined> {
  const { readdir } = await import("node:fs/promises");
  const names = await readdir(folder, { recursive: true }).catch(() => undefined);
  return names?.map((name) => name.replaceAll("\\", "/")).filter(isPictureName).sort();
}

/** The pictures in a folder and below it, each a sample without boxes. */
export async function pictures(path: string, { classes = [], decoder }: { classes?: readonly string[]; decoder?: Decoder } = {}): Promise<PictureSet> {
  const { join } = await import("node:path");
  const names = await picturesBelow(path);
  if (!names) throw new Error(`pictures: "${path}" is not a folder`);
  if (names.length === 0) throw new Error(`pictures: "${path}" holds no JPEG, PNG or WebP`);
  const files = names.map((name) => ({ name, path: join(path, name), boxes: () => [] }));
  return pictureSet({ reader: "pictures", name: `pictures ${path}`, classes, files, problems: new ProblemList(), decoder });
}
