/** Files that are whole at every moment. */
import * as fs from "node:fs/promises";
import { dirname } from "node:path";
import { reasonOf, UserError } from "./user-error.ts";

/** What writing a file takes. */
export type Files = Pick<typeof fs, "open" | "rename" | "rm">;

/** One call of write handles no more. */
const CHUNK = 1 << 30;

/**
 * Replaces a file or leaves it as it was: written to `path.tmp-PID` in the same folder, flushed, renamed, and the folder flushed, so that
 * no moment of a crash leaves half a file.
 */
export async function writeAtomically(path: string, data: Uint8Array | string, files: Files = fs): Promise<void> {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  const temporary = `${path}.tmp-${process.pid}`;
  try {
    await writeThrough(temporary, bytes, files);
    await files.rename(temporary, path);
  } catch (error) {
    await files.rm(temporary, { force: true }).catch(() => {}); // the error that matters is the first
    throw new UserError(`run: cannot write the ${bytes.length} bytes of ${path}: ${reasonOf(error)}; what was there before is kept`, { cause: error });
  }
  if (process.platform === "win32") return; // folders cannot be opened there
  try {
    const folder = await files.open(dirname(path), "r");
    try { await folder.sync(); } finally { await folder.close(); }
  } catch (error) {
    throw new UserError(`run: wrote the ${bytes.length} bytes of ${path}, but cannot flush its folder to the disk: ${reasonOf(error)}`, { cause: error });
  }
}

async function writeThrough(path: string, bytes: Uint8Array, files: Files): Promise<void> {
  const file = await files.open(path, "w");
  try {
    for (let at = 0; at < bytes.length;) at += (await file.write(bytes, at, Math.min(CHUNK, bytes.length - at))).bytesWritten;
    await file.sync();
  } finally {
    await file.close();
  }
}
