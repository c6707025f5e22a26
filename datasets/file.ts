/** Files of strangers: read whole, or refused by name. node:fs is imported at the first call, so that this floor's index also loads in browsers. */
import { BrokenImage } from "./image.ts";

export const MAX_IMAGE_BYTES = 256 << 20;

/** The bytes of a regular file. One that is missing, no file, too large or locked is a BrokenImage that calls it `name`. */
export async function readRegular(path: string, name: string, limit = MAX_IMAGE_BYTES): Promise<Uint8Array> {
  const { readFile, stat } = await import("node:fs/promises");
  try {
    const found = await stat(path);
    if (!found.isFile()) throw new BrokenImage(`${name} is ${found.isDirectory() ? "a folder" : "a pipe or a device"}, expected a file`);
    if (found.size > limit) throw new BrokenImage(`${name} has ${found.size} bytes, more than the limit of ${limit}`);
    return await readFile(path);
  } catch (error) {
    if (error instanceof BrokenImage) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new BrokenImage(code === "ENOENT" ? `${name} is missing` : `${name} cannot be read (${code ?? message})`, { cause: error });
  }
}
