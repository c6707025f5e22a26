/** Frames of recordings that nobody labelled. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { gen1Frames, recordingFrames, writeDat, writeEventScenes } from "../../datasets/index.ts";
import { momentsOf } from "../../datasets/recording-frames.ts";

const room = mkdtempSync(join(tmpdir(), "spiketrain-recordings-")), fileOf = (name: string) => ({ path: join(room, name), name });
afterAll(() => rmSync(room, { recursive: true }));
const recorded = (times: readonly number[]): Uint8Array => writeDat({ t: Float64Array.from(times), x: new Uint16Array(times.length), y: new Uint16Array(times.length), p: new Uint8Array(times.length) }, { width: 8, height: 6 });

describe("moments of a recording", () => {
  const times = (first: number, last: number, every: number): number[] => { const { first: from, count } = momentsOf(first, last, 100, every); return Array.from({ length: count }, (_, k) => from + k * every); };
  test.each<[string, number, number, number, number[]]>([
    ["a window each: every event is before one of them", 0, 299, 100, [100, 200, 300]],
    ["an event at a moment belongs to the next", 0, 300, 100, [100, 200, 300, 400]],
    ["more often than the window is long", 0, 180, 40, [100, 140, 180, 220]],
    ["less often", 0, 450, 300, [100, 400]],
    ["less than a window of events", 5, 40, 100, [100]],
    ["a part of a longer recording", 1234, 1399, 100, [1300, 1400]],
    ["an event alone, just before a moment and at it", 199, 199, 100, [200]],
    ["an event alone, just at a moment", 200, 200, 100, [300]],
    ["times that run backwards", 900, 0, 100, [1000]],
  ])("%s", (_, first, last, every, want) => expect(times(first, last, every)).toEqual(want));

  test("have every event in exactly one window, where windows follow each other", () => {
    for (let first = 0; first < 350; first += 7) for (let last = first; last < 700; last += 13) for (const t of [first, last]) {
      expect(times(first, last, 100).filter((time) => t >= time - 100 && t < time).length, `${t} of ${first} .. ${last}`).toBe(1);
    }
  });
});

describe("recordings", () => {
  beforeAll(() => writeEventScenes(room, { recordings: 2, seconds: 1.5, camera: { width: 64, height: 48 }, seed: 1 }));
  const both = [fileOf("train/scene_0_td.dat"), fileOf("train/scene_1_td.dat")];

  test("give the frames that labels at the same times have", async () => {
    const set = await recordingFrames(both, { T: 2 }), labelled = await gen1Frames(room, { split: "train", T: 2 });
    expect([set.size, set.protocol, set.problems]).toEqual([12, labelled.protocol, []]);
    const moments = new Map<string, Awaited<ReturnType<typeof set.sample>>>();
    for (let i = 0; i < set.size; i++) { const sample = (await set.sample(i))!; moments.set(sample.name, sample); }
    expect([...moments.keys()].slice(0, 2)).toEqual(["train/scene_0_td.dat at 250000 us", "train/scene_0_td.dat at 500000 us"]);
    let compared = 0;
    for (let i = 0; i < labelled.size; i++) {
      const sample = (await labelled.sample(i))!, { recording, time } = sample.labels, moment = moments.get(`train/${recording}_td.dat at ${time} us`)!;
      expect(moment.frames).toEqual(sample.frames);
      expect(moment.picture).toEqual(sample.picture);
      expect(moment.boxes).toEqual([]);
      compared++;
    }
    expect(compared).toBeGreaterThan(3);
  });

  test("that cannot be read or hold nothing are named and left out", async () => {
    writeFileSync(join(room, "empty_td.dat"), recorded([]));
    writeFileSync(join(room, "cut_td.dat"), recorded([1, 2]));
    truncateSync(join(room, "cut_td.dat"), 20);
    writeFileSync(join(room, "one_td.dat"), recorded([2 ** 32 - 1]));
    const set = await recordingFrames(["empty_td.dat", "cut_td.dat", "nowhere_td.dat", "one_td.dat"].map(fileOf));
    expect(set.size).toBe(1);
    expect((await set.sample(0))!.frames.events).toBe(1);
    expect(set.problems).toEqual([
      "recordings: empty_td.dat has no event; it is left out",
      expect.stringMatching(/^recordings: cut_td\.dat: .* \(byte \d+\); it is left out$/),
      expect.stringMatching(/^recordings: nowhere_td\.dat: there is no such file \(byte 0\); it is left out$/),
    ]);
  });

  test("that claim an hour of moments take no memory for them", async () => {
    writeFileSync(join(room, "hour_td.dat"), recorded([0, 2 ** 32 - 1]));
    const set = await recordingFrames([fileOf("hour_td.dat")], { every: 1 });
    expect(set.size).toBe(2 ** 32 - 250_000 + 1);
    expect((await set.sample(set.size - 1))!.name).toBe(`hour_td.dat at ${2 ** 32} us`);
    await expect(recordingFrames([], { every: 0.5 })).rejects.toThrow("recordings: every must be a whole number of microseconds of at least 1, got 0.5");
  });
});
