import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { writeAtomically, type Files } from "../../cli/atomic-file.ts";
import { UserError } from "../../cli/user-error.ts";

let room: string;
beforeAll(async () => { room = await fs.mkdtemp(join(tmpdir(), "spiketrain-atomic-")); });
afterAll(() => fs.rm(room, { recursive: true, force: true }));

/** The real file system, but that its nth call fails as a disk does. Counts the calls. */
function failing(nth: number, code = "ENOSPC", reason = "no space left on device"): Files & { calls: number } {
  const disk = { calls: 0, open: fs.open, rename: fs.rename, rm: fs.rm };
  const call = <A extends unknown[], R>(name: string, real: (...args: A) => Promise<R>) => async (...args: A): Promise<R> => {
    if (++disk.calls === nth) throw Object.assign(new Error(`${code}: ${reason}, ${name}`), { code });
    return real(...args);
  };
  disk.open = call("open", async (...args: Parameters<typeof fs.open>) => {
    const file = await fs.open(...args);
    const write = file.write.bind(file) as (...args: unknown[]) => Promise<{ bytesWritten: number }>;
    return Object.assign(file, {
      write: call("write", (bytes: Uint8Array, at: number, length: number) => write(bytes, at, Math.min(length, 4096))), // and every write is short
      sync: call("fsync", file.sync.bind(file)),
    });
  }) as typeof fs.open;
  disk.rename = call("rename", fs.rename);
  return disk;
}

describe("a file that is written atomically", () => {
  test("is there in full, in the place of the one before, and leaves nothing beside it", async () => {
    const folder = await fs.mkdtemp(join(room, "atomic-")), path = join(folder, "a.bin");
    await writeAtomically(path, "first");
    await writeAtomically(path, new Uint8Array(10_000).fill(7), failing(0));
    expect(await fs.readFile(path)).toEqual(Buffer.alloc(10_000, 7));
    expect(await fs.readdir(folder)).toEqual(["a.bin"]);
  });

  test("stays as it was, or is new in full, whichever call of the disk fails", async () => {
    const folder = await fs.mkdtemp(join(room, "faults-")), path = join(folder, "last.safetensors");
    const before = Buffer.alloc(9_000, 1), after = Buffer.alloc(9_000, 2), kept: boolean[] = [];
    for (let nth = 1; ; nth++) {
      await fs.writeFile(path, before);
      const disk = failing(nth);
      const error = await writeAtomically(path, after, disk).then(() => undefined, (error: Error) => error);
      if (!error) {
        expect(disk.calls).toBe(nth - 1);
        break;
      }
      expect(error).toBeInstanceOf(UserError);
      expect(error.message).toContain(`9000 bytes of ${path}`);
      expect(error.message).toContain("no space left on device (ENOSPC)");
      const now = await fs.readFile(path);
      kept.push(now.equals(before));
      expect(now.equals(before) || now.equals(after)).toBe(true);
      expect(error.message.includes("what was there before is kept")).toBe(now.equals(before));
      expect(await fs.readdir(folder)).toEqual(["last.safetensors"]);
    }
    // open, three short writes, fsync, rename; then open and fsync of the folder
    expect(kept).toEqual([true, true, true, true, true, true, false, false]);
  });

  test("names path and reason where a real disk refuses", async () => {
    await expect(writeAtomically("/dev/null/a", "x")).rejects.toThrow("run: cannot write the 1 bytes of /dev/null/a: not a directory (ENOTDIR); what was there before is kept");
    const folder = await fs.mkdtemp(join(room, "taken-"));
    await fs.mkdir(join(folder, "best", "full"), { recursive: true });
    await expect(writeAtomically(join(folder, "best"), "x")).rejects.toThrow(/cannot write the 1 bytes of .*best: .*\(E[A-Z]+\)/);
    expect(await fs.readdir(folder)).toEqual(["best"]);
  });
});
