/** Pictures of files: the same batches whoever reads them, from wherever, and whatever becomes of the threads. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { augmentations } from "../../datasets/augment.ts";
import { BrokenImage, encodePng } from "../../datasets/image.ts";
import type { BatchOptions } from "../../datasets/loader.ts";
import type { Batch } from "../../datasets/sample.ts";
import { voc } from "../../datasets/voc.ts";
import { doJob, type Job } from "../../datasets/jobs.ts";
import { decodeWorkers, DecodeWorkers } from "../../datasets/workers.ts";
import { truncatedJpeg, writeVoc } from "../cli/voc-folder.ts";
import { jpegOf, pattern } from "./pictures.ts";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 300_000 });

const ROOT = resolve(import.meta.dirname, "../.."), room = mkdtempSync(join(tmpdir(), "spiketrain-workers-"));
const SIZE = 23, BROKEN = [3, 8, 14], ids = Array.from({ length: SIZE }, (_, i) => `p${String(i).padStart(2, "0")}`);

beforeAll(async () => {
  execFileSync(process.execPath, [join(ROOT, "cli/bootstrap.mjs"), "build"], { stdio: "pipe" }); // threads run the built program
  const jpegs = await Promise.all(ids.map((_, i) => jpegOf(pattern(64 - i, 40 + i))));
  const pictures = ids.map((id, i) => ({ id, jpeg: BROKEN.includes(i) ? truncatedJpeg : i % 4 === 1 ? undefined : jpegs[i], objects: [{ name: "patch", corners: [5, 4, 30, 35] as const }, { name: "spot", corners: [20, 20, 33, 38] as const }] }));
  await writeVoc(room, pictures, { train: ids, good: ids.filter((_, i) => !BROKEN.includes(i)) });
});
afterAll(async () => {
  await Promise.all([1, 2, 3].map((n) => decodeWorkers(n).close()));
  rmSync(room, { recursive: true, force: true });
});

const base = { batch: 4, imgsz: 48, shuffle: true, seed: 5, augment: { ...augmentations.spikeyolo, degrees: 10, mosaic: 0.6 } } satisfies BatchOptions;
const fresh = (split = "train") => voc(room, { split });
async function run(options: BatchOptions, set = fresh()): Promise<Batch[]> { const all: Batch[] = []; for await (const batch of set.batches(options)) all.push(batch); return all; }
const digest = ({ images, boxes, origins }: Batch): string => createHash("sha256").update(new Uint8Array(images.data.buffer, images.data.byteOffset, images.data.byteLength))
  .update(JSON.stringify([images.shape, [...boxes.image], [...boxes.class], [...boxes.xywh], origins])).digest("hex");
const digests = async (options: BatchOptions, set = fresh()): Promise<string[]> => (await run(options, set)).map(digest);

describe("batches of files", () => {
  test("are the same bits whatever number of threads makes them, however far ahead, kept or not", async () => {
    const plain = await digests(base);
    expect(plain.length).toBe(5);
    for (const how of [{ workers: 1 }, { workers: 2 }, { workers: 3, ahead: 20 }, { workers: 2, ahead: 0 }, { cache: 1 << 24 }, { workers: 2, cache: 1 << 24 }]) expect(await digests({ ...base, ...how }), JSON.stringify(how)).toEqual(plain);
    expect(decodeWorkers(2).alive, "threads did the work").toBe(2);
    expect(await digests({ ...base, seed: 6, workers: 2 })).not.toEqual(plain);
    expect(await digests({ ...base, epoch: 1, workers: 2 })).not.toEqual(plain);
  });

  test("are those of the samples, one by one", async () => {
    const set = await fresh("good").open();
    const withoutFiles = voc(room, { split: "good" });
    const { files, ...bare } = { ...set, sample: set.sample, size: set.size, problems: [] };
    expect(files).toBeDefined();
    const { batches } = await import("../../datasets/loader.ts"), all: string[] = [];
    for await (const batch of batches(bare, base)) all.push(digest(batch));
    expect(all).toEqual(await digests(base, withoutFiles));
  });

  test("kept in memory are not read again, in as much room as there is", async () => {
    const root = mkdtempSync(join(tmpdir(), "spiketrain-kept-"));
    try {
      await writeVoc(root, ids.slice(0, 6).map((id) => ({ id, objects: [{ name: "patch", corners: [5, 4, 30, 35] }] })), { train: ids.slice(0, 6) });
      const set = await voc(root).open(), options: BatchOptions = { batch: 6, imgsz: 48, seed: 1, augment: augmentations.spikeyolo, cache: 6 * 48 * 48 * 3 };
      const epochs: string[][] = [];
      const all = async (how: BatchOptions) => { const found: string[] = []; for await (const batch of set.batches(how)) found.push(digest(batch)); return found; };
      for (const workers of [0, 1]) epochs.push(await all({ ...options, workers }));
      rmSync(join(root, "JPEGImages"), { recursive: true });
      for (const workers of [0, 1]) epochs.push(await all({ ...options, workers }));
      for (const epoch of epochs) expect(epoch).toEqual(epochs[0]);
      expect(set.problems).toEqual([]);
      await expect(all({ ...options, cache: 0, imgsz: 64 })).rejects.toThrow("none of the 6 pictures");
    } finally {
      rmSync(root, { recursive: true });
    }
  });

  test("from any batch on are as if the epoch had begun at its beginning, broken pictures before it and all", async () => {
    const whole = await digests(base);
    for (const workers of [0, 2]) for (const from of [1, 3, 4, 5]) {
      expect(await digests({ ...base, from, workers, ...(from === 4 ? { dropLast: false } : {}) }), `from ${from} with ${workers}`).toEqual(whole.slice(from));
    }
  });

  test("pass over broken files, which are named and counted once, over all epochs", async () => {
    for (const workers of [0, 2]) {
      const set = await fresh().open(), seen: number[] = [];
      for (let epoch = 0; epoch < 3; epoch++) for await (const { origins } of set.batches({ ...base, epoch, workers })) seen.push(...origins.map(({ index }) => index));
      expect(seen.length).toBe(3 * (SIZE - BROKEN.length));
      expect(seen.filter((index) => BROKEN.includes(index))).toEqual([]);
      expect(set.skipped).toBe(3);
      expect(set.problems.filter((problem) => !problem.includes("clipped")).sort()).toEqual(BROKEN.map((i) => expect.stringMatching(new RegExp(`^voc: image JPEGImages/${ids[i]}\\.jpg: .*truncated.*; the picture is skipped$`))));
    }
  });

  test("end at the first broken file where they are to be strict", async () => {
    for (const workers of [0, 1]) {
      await expect(run({ ...base, strict: true, workers })).rejects.toBeInstanceOf(BrokenImage);
      await expect(run({ ...base, strict: true, workers })).rejects.toThrow(/^image JPEGImages\/p(03|08|14)\.jpg: .*\(strict: the run ends at the first broken picture\)$/);
    }
    expect((await run({ ...base, strict: true, workers: 1 }, fresh("good"))).length).toBe(5);
  });

  test("leave nothing behind when the consumer leaves early", async () => {
    for await (const _ of fresh().batches({ ...base, workers: 2 })) break;
    expect(await digests({ ...base, workers: 2 })).toEqual(await digests(base));
  });
});

describe("threads", () => {
  const files = join(room, "threads");
  const file = (name: string) => ({ path: join(files, name), name, title: name });
  const job = (...names: string[]): Job => ({ tiles: names.map(file), canvas: { width: 16, height: 16 }, fitting: {}, keep: false, variation: { view: { angle: 0, scale: 1, shear: [0, 0], perspective: [0, 0], centre: [0.5, 0.5] }, warped: false, flip: false, upsideDown: false } });
  const check = (...names: string[]): Job => ({ ...job(...names), variation: undefined });

  /** The program of a thread that ends, as if a decoder had taken it along, at every file of a name; or only the first time. */
  function program(fatal: string, always: boolean): string {
    const path = join(files, `program-${fatal}-${always}.mjs`), done = join(files, `died-${fatal}`);
    writeFileSync(path, `
      import { parentPort } from "node:worker_threads";
      import { existsSync, writeFileSync } from "node:fs";
      import { doJob } from ${JSON.stringify(new URL("../../dist/datasets/jobs.js", import.meta.url).href)};
      parentPort.postMessage("ready");
      let turn = Promise.resolve();
      parentPort.on("message", ({ number, job }) => { turn = turn.then(async () => {
        if (job.tiles.some(({ name }) => name === ${JSON.stringify(fatal)}) && (${always} || !existsSync(${JSON.stringify(done)}))) { writeFileSync(${JSON.stringify(done)}, ""); process.exit(1); }
        parentPort.postMessage({ number, done: await doJob(job) });
      }); });`);
    return path;
  }
  beforeAll(() => {
    mkdirSync(files);
    for (const name of ["a.png", "b.png", "c.png", "bad.png"]) writeFileSync(join(files, name), encodePng(pattern(10, 8)));
  });

  test("that end are replaced, and what they had in hand is done again", async () => {
    const workers = new DecodeWorkers(1, program("b.png", false));
    try {
      const want = await doJob(job("a.png"));
      expect(await Promise.all([job("a.png"), job("b.png"), job("c.png")].map((one) => workers.do(one)))).toEqual([want, want, want]);
      expect(workers.news).toBe("batches: threads that read data ended on their own 1 times, and were replaced");
    } finally { await workers.close(); }
  });

  test("that end with a file again and again show which it is, and the others are read", async () => {
    const workers = new DecodeWorkers(2, program("bad.png", true));
    try {
      const [first, second, third] = await Promise.all([workers.do(job("a.png")), workers.do(check("a.png", "bad.png", "c.png")), workers.do(job("b.png"))]);
      expect([first.pixels!.length, third.pixels!.length]).toEqual([768, 768]);
      expect(second.tiles.map(({ broken }) => broken)).toEqual([undefined, expect.stringMatching(/^image bad\.png: the thread that decoded it ended .*; replace the file$/), undefined]);
    } finally { await workers.close(); }
  });

  test("that cannot be started leave the work to the caller, and are told of", async () => {
    const workers = new DecodeWorkers(2, join(files, "no-such-program.mjs"));
    const want = await doJob(job("a.png"));
    expect(await Promise.all([workers.do(job("a.png")), workers.do(job("b.png"))])).toEqual([want, want]);
    expect(workers.news).toMatch(/^batches: no thread to read data could be started \(.+\); it is read between steps instead$/);
    expect(await workers.do(job("c.png"))).toEqual(want);
  });

  test("do not keep a process alive that has nothing to ask of them", () => {
    const script = `import { decodeWorkers } from ${JSON.stringify(new URL("../../dist/datasets/workers.js", import.meta.url).href)};
      const { tiles } = await decodeWorkers(2).do(${JSON.stringify(check("a.png"))}); console.log(tiles[0].size.width);`;
    expect(execFileSync(process.execPath, ["--input-type=module", "-e", script], { timeout: 20_000, encoding: "utf8" })).toBe("10\n");
  });
});
