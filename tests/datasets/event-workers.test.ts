/** Frames of recordings: the same batches whoever reads them, however far ahead, and whatever is wrong with the files. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { eventFrames, framePlace, protocolOf, toNetwork, windowOf } from "../../datasets/event-frames.ts";
import type { EventBatch, EventBatchOptions } from "../../datasets/event-set.ts";
import { datHeader, gen1Frames, openEvents, writeEventScenes, type FrameProtocol } from "../../datasets/index.ts";
import { doMoment, type MomentJob } from "../../datasets/moments.ts";
import { decodeWorkers, DecodeWorkers } from "../../datasets/workers.ts";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 300_000 });

const ROOT = resolve(import.meta.dirname, "../.."), room = mkdtempSync(join(tmpdir(), "spiketrain-event-workers-")), good = join(room, "good"), bad = join(room, "bad");
const HEADER = datHeader({ width: 64, height: 48 }).length, EVENT = 8;

/** Writes over the event at byte `at`: its time, or its word of x, y and polarity. */
function patch(file: string, at: number, { t, word }: { t?: number; word?: number }): void {
  const bytes = readFileSync(file), view = new DataView(bytes.buffer, bytes.byteOffset);
  if (t !== undefined) view.setUint32(at, t, true);
  if (word !== undefined) view.setUint32(at + 4, word, true);
  writeFileSync(file, bytes);
}

beforeAll(async () => {
  execFileSync(process.execPath, [join(ROOT, "cli/bootstrap.mjs"), "build"], { stdio: "pipe" }); // threads run the built program
  await writeEventScenes(good, { recordings: 4, seconds: 1.5, seed: 2, camera: { width: 64, height: 48 } });
  cpSync(good, bad, { recursive: true });
  const file = (k: number) => join(bad, "train", `scene_${k}_td.dat`), size = readFileSync(file(1)).length;
  truncateSync(file(0), HEADER - 5);
  truncateSync(file(1), size - 3);
  const last = readFileSync(file(2)).length - EVENT;
  patch(file(2), last - 9 * EVENT, { word: 0x3fff });                                      // x far off the sensor
  patch(file(2), last - 5 * EVENT, { word: 0x3fff });
  patch(file(2), last - 2 * EVENT, { t: 3 });
});
afterAll(async () => {
  await Promise.all([1, 2, 3].map((n) => decodeWorkers(n).close()));
  rmSync(room, { recursive: true, force: true });
});

const base = { batch: 3, imgsz: 64, shuffle: true, seed: 5 } satisfies EventBatchOptions;
const digest = ({ images, boxes, origins, protocol }: EventBatch): string => createHash("sha256").update(new Uint8Array(images.data.buffer, images.data.byteOffset, images.data.byteLength))
  .update(JSON.stringify([images.shape, [...boxes.image], [...boxes.class], [...boxes.xywh], origins, protocol])).digest("hex");
async function digests(how: EventBatchOptions, path = good, frames: Partial<FrameProtocol> = {}): Promise<string[]> {
  const all: string[] = [];
  for await (const batch of (await gen1Frames(path, { split: "train", ...frames })).batches(how)) all.push(digest(batch));
  return all;
}
const WAYS: readonly Partial<EventBatchOptions>[] = [{ ahead: 0 }, { ahead: 5 }, { workers: 1 }, { workers: 2 }, { workers: 3, ahead: 20 }, { workers: 2, ahead: 0 }];

test.each<Partial<FrameProtocol>>([{}, { encoding: "count", T: 2 }, { encoding: "voxel", order: "chronological", window: 100_000 }])("batches are the same bits whatever number of threads makes them: %o", async (frames) => {
  const plain = await digests(base, good, frames);
  expect(plain.length).toBeGreaterThan(3);
  for (const way of WAYS) expect(await digests({ ...base, ...way }, good, frames), JSON.stringify(way)).toEqual(plain);
  expect(decodeWorkers(2).alive, "threads did the work").toBe(2);
  expect(await digests({ ...base, epoch: 1, workers: 2 }, good, frames)).not.toEqual(plain);
});

test("batches are what the events of the files say, one by one", async () => {
  const set = await gen1Frames(good, { split: "train" }), protocol = protocolOf();
  for await (const { images: { data }, origins: [{ labels, place, width, height }] } of set.batches({ batch: 1, imgsz: 64, workers: 2 })) {
    const file = await openEvents(join(good, "train", `${labels.recording}_td.dat`)), { start, end } = windowOf(labels.time, protocol);
    const frames = eventFrames(await file.events(start, end), labels.time, { width, height, ...protocol });
    expect([width, height]).toEqual([64, 48]);
    expect(place).toEqual(framePlace(64, 48, 64));
    const want = toNetwork(frames, place);
    expect(data.length === want.length && data.every((value, i) => value === want[i])).toBe(true);
  }
});

test("from any batch on they are as if the epoch had begun at its beginning, broken recordings and all", async () => {
  const whole = await digests(base, bad);
  expect(whole.length).toBeGreaterThan(3);
  for (const workers of [0, 2]) for (const from of [1, 2, whole.length]) expect(await digests({ ...base, from, workers }, bad), `from ${from} with ${workers}`).toEqual(whole.slice(from));
});

test("what is wrong with recordings is told once, by byte, whoever met it and however often", async () => {
  const told: string[][] = [];
  for (const workers of [0, 1, 3]) {
    const set = await gen1Frames(bad, { split: "train" }), seen = new Set<number>();
    for (let epoch = 0; epoch < 2; epoch++) for await (const { origins } of set.batches({ ...base, epoch, workers })) for (const { index } of origins) seen.add(index);
    expect(set.skipped).toBe(set.size - seen.size);
    expect(set.skipped).toBeGreaterThan(0);
    told.push([...set.problems].sort());
  }
  expect(told[1]).toEqual(told[0]);
  expect(told[2]).toEqual(told[0]);
  expect(told[0]).toEqual([
    expect.stringMatching(/^gen1: scene_0_td\.dat: a header line does not end \(byte \d+\); what is labelled in the recording is skipped$/),
    expect.stringMatching(/^gen1: scene_1_td\.dat ends with 5 bytes of a torn event after \d+ whole ones; they are left out$/),
    expect.stringMatching(/^gen1: scene_2_td\.dat goes back in time at 1 of its events, the first at byte \d+; windows of time may miss events, sort the file$/),
    expect.stringMatching(/^gen1: scene_2_td\.dat has 2 of its events off the sensor of 64 x 48, the first at byte \d+; they are left out$/),
  ]);
  const byte = (sentence: string): number => Number(/byte (\d+)/.exec(sentence)![1]);
  expect(byte(told[0][2]) - byte(told[0][3])).toBe(7 * EVENT);
});

test("the first recording that cannot be read ends a strict epoch, by the reason that is its own", async () => {
  for (const workers of [0, 2]) await expect(digests({ ...base, strict: true, workers }, bad)).rejects.toThrow(/^scene_0_td\.dat: a header line does not end \(byte \d+\) \(strict: the run ends at the first moment that cannot be read\)$/);
});

test("a recording with which threads end again and again is taken for broken", async () => {
  const program = join(room, "fatal.mjs"), path = (k: number) => join(good, "train", `scene_${k}_td.dat`);
  writeFileSync(program, `
    import { parentPort } from "node:worker_threads";
    import { doAny } from ${JSON.stringify(new URL("../../dist/datasets/jobs.js", import.meta.url).href)};
    parentPort.postMessage("ready");
    let turn = Promise.resolve();
    parentPort.on("message", ({ number, job }) => { turn = turn.then(async () => {
      if (job.recorded.name === "fatal") process.exit(1);
      parentPort.postMessage({ number, done: await doAny(job) });
    }); });`);
  const workers = new DecodeWorkers(2, program), job = (name: string, k: number): MomentJob => ({ recorded: { path: path(k), name }, time: 500_000, protocol: protocolOf(), side: 64 });
  try {
    const [first, fatal, last] = await Promise.all([workers.do(job("a", 1)), workers.do(job("fatal", 2)), workers.do(job("b", 3))]);
    expect(fatal).toEqual({ broken: expect.stringMatching(/^fatal: the thread that read it ended \(.+\); replace the file$/) });
    expect([first, last]).toEqual([await doMoment(job("a", 1)), await doMoment(job("b", 3))]);
  } finally { await workers.close(); }
});
