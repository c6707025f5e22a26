import { readFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { describe, expect, test } from "vitest";
import { cornersOf, eventFrames, eventLabels, framePlace, onNetwork, showFrame, toNetwork, windowOf } from "../../datasets/event-frames.ts";
import { openEvents, readBoxes, type EventBox, type Events } from "../../datasets/gen1.ts";

/** Rows of t, x, y, p. */
const eventsOf = (...rows: readonly (readonly [number, number, number, number])[]): Events => ({
  t: Float64Array.from(rows, ([t]) => t), x: Uint16Array.from(rows, ([, x]) => x), y: Uint16Array.from(rows, ([, , y]) => y), p: Uint8Array.from(rows, ([, , , p]) => p),
});
const boxOf = (x: number, y: number, w: number, h: number, track = 0, more: Partial<EventBox> = {}): EventBox => ({ t: 100, x, y, w, h, class: 0, track, confidence: 1, ...more });

describe("frames and labels of the released code", async () => {
  const recorded = JSON.parse(readFileSync(join(import.meta.dirname, "../fixtures/event-frames.json"), "utf8"));
  const { width, height } = recorded, bytes = (text: string) => new Uint8Array(Buffer.from(text, "base64"));
  const events = await (await openEvents(bytes(recorded.events))).events(), { boxes } = readBoxes(bytes(recorded.boxes));

  test.each<any>(recorded.windows)("$key: every byte and every count", ({ T, window_us: window, label_time, window_start, crc32: sums, black, white, events_neg_pos_per_slice }) => {
    const how = { width, height, T, window, order: "chronological" } as const, frames = eventFrames(events, label_time, how), size = width * height;
    const slices = Array.from({ length: T }, (_, t) => frames.data.subarray(t * size, (t + 1) * size) as Uint8Array);
    expect(frames.start).toBe(window_start);
    expect(slices.map((slice) => crc(slice))).toEqual(sums);
    expect(slices.map((slice) => slice.filter((value) => value === 0).length)).toEqual(black);
    expect(slices.map((slice) => slice.filter((value) => value === 255).length)).toEqual(white);
    const counts = eventFrames(events, label_time, { ...how, encoding: "count" }).data;
    const sum = (t: number, p: number) => { let all = 0; for (let i = p; i < 2 * size; i += 2) all += counts[2 * t * size + i]; return all; };
    expect(slices.map((_, t) => [sum(t, 0), sum(t, 1)])).toEqual(events_neg_pos_per_slice);
  });

  test.each<any>(recorded.labels)("labels at $label_time us", ({ label_time, labels_pixels, labels_normalised }) => {
    const labels = eventLabels(boxes, label_time, { width, height });
    const close = (got: readonly number[][], want: readonly number[][]) => {
      expect(got.length).toBe(want.length);
      got.flat().forEach((value, i) => expect(value).toBeCloseTo(want.flat()[i], 5));
    };
    close(labels.map(({ class: c, xc, yc, w, h }) => [c, xc, yc, w, h]), labels_pixels);
    close(labels.map(({ class: c, xc, yc, w, h }) => [c, xc / width, yc / height, w / width, h / height]), labels_normalised);
  });
});

/** As Python prints it. */
function crc(data: Uint8Array): string {
  if (typeof crc32 === "function") return crc32(data).toString(16).padStart(8, "0");
  let rest = -1;
  for (const byte of data) {
    rest ^= byte;
    for (let bit = 0; bit < 8; bit++) rest = (rest >>> 1) ^ (rest & 1 ? 0xedb88320 : 0);
  }
  return (~rest >>> 0).toString(16).padStart(8, "0");
}

describe("event frames", () => {
  const size = { width: 4, height: 2 };
  const small = { ...size, T: 2, window: 100 };

  test("show the last polarity of each pixel and slice on grey, the newest slice first", () => {
    const { shape, data, protocol } = eventFrames(eventsOf([0, 0, 0, 1], [10, 0, 0, 0], [49, 1, 0, 1], [50, 0, 0, 1], [99, 3, 1, 0]), 100, small);
    expect(shape).toEqual([2, 2, 4, 1]);
    expect([...data]).toEqual([255, 127, 127, 127, 127, 127, 127, 0, /* older */ 0, 255, 127, 127, 127, 127, 127, 127]);
    expect(protocol).toBe("last polarity, 2 slices of 0.05 ms, newest first");
  });

  test("are the same slices the other way around when chronological", () => {
    const events = eventsOf([0, 0, 0, 1], [60, 2, 1, 0], [90, 3, 0, 1]);
    for (const encoding of ["last", "count", "voxel"] as const) {
      const released = eventFrames(events, 100, { ...small, encoding }), ordered = eventFrames(events, 100, { ...small, encoding, order: "chronological" }), half = ordered.data.length / 2;
      expect([...released.data]).toEqual([...ordered.data.subarray(half), ...ordered.data.subarray(0, half)]);
      expect(ordered.protocol).toMatch(/chronological$/);
    }
  });

  test("take the half-open window before the label, and the first window where there is not so much", () => {
    expect(windowOf(400, { T: 2, window: 100 })).toEqual({ start: 300, end: 400 });
    expect(windowOf(40, { T: 2, window: 100 })).toEqual({ start: 0, end: 100 });
    const events = eventsOf([299, 0, 0, 1], [300, 1, 0, 1], [399, 2, 0, 1], [400, 3, 0, 1]);
    expect([...eventFrames(events, 400, { ...small, T: 1 }).data]).toEqual([127, 255, 255, 127, 127, 127, 127, 127]);
  });

  test("leave out the microseconds that do not fill equal slices", () => {
    const { start, end, events } = eventFrames(eventsOf([98, 0, 0, 1], [99, 0, 0, 1]), 100, { ...size, T: 3, window: 100 });
    expect([start, end, events]).toEqual([0, 99, 1]);
  });

  test("count both polarities of every event", () => {
    const { shape, data } = eventFrames(eventsOf([0, 1, 0, 1], [1, 1, 0, 1], [2, 1, 0, 0], [70, 3, 1, 0]), 100, { ...small, encoding: "count", order: "chronological" });
    expect(shape).toEqual([2, 2, 4, 2]);
    expect([...data]).toEqual([0, 0, 1, 2, ...Array(12).fill(0), ...Array(14).fill(0), 1, 0]);
  });

  test("share an event between the two nearest moments of a voxel grid, and lose none of it", () => {
    const how = { ...size, T: 3, window: 120, encoding: "voxel", order: "chronological" } as const; // moments at 0, 60 and 120 us
    const { data } = eventFrames(eventsOf([0, 0, 0, 1], [15, 1, 0, 1], [60, 2, 0, 0], [105, 3, 0, 0]), 120, how), row = (t: number) => [...data.subarray(8 * t, 8 * t + 4)];
    expect([row(0), row(1), row(2)]).toEqual([[1, 0.75, 0, 0], [0, 0.25, -1, -0.25], [0, 0, 0, -0.75]]);
  });

  test("count and leave out events beside the sensor", () => {
    const { data, events, outside } = eventFrames(eventsOf([1, 4, 0, 1], [2, 0, 2, 1], [3, 0, 0, 1]), 100, small);
    expect([events, outside]).toEqual([3, 2]);
    expect(data.filter((value) => value !== 127).length).toBe(1);
  });

  test.each<[object, string]>([
    [{ encoding: "sum" }, 'events: encoding must be one of last, count, voxel, got "sum"'],
    [{ order: "newest" }, 'events: order must be "newest first" or "chronological", got "newest"'],
    [{ T: 0 }, "events: T must be a whole number from 1 to 1000, got 0"],
    [{ T: 4, window: 3 }, "events: window must be whole microseconds, at least one for each of 4 slices, got 3"],
  ])("refuse %o", (given, sentence) => {
    expect(() => eventFrames(eventsOf(), 0, { ...size, ...given })).toThrow(sentence);
  });
});

describe("labels of events", () => {
  const sensor = { width: 304, height: 240 };

  test("are the last box of each track at that time, the highest track first", () => {
    const labels = eventLabels([boxOf(10, 10, 20, 20, 1), boxOf(50, 50, 10, 10, 7), boxOf(30, 10, 20, 20, 1), boxOf(0, 0, 9, 9, 2, { t: 99 })], 100, sensor);
    expect(labels.map(({ xc }) => xc)).toEqual([55, 40]);
  });

  test("without area are left out, where the released code stops", () => {
    expect(eventLabels([boxOf(10, 10, 0, 20), boxOf(10, 10, 20, -1, 1)], 100, sensor)).toEqual([]);
  });
});

describe("frames before a network", () => {
  test("fill the longer side, the other rounded up, with padding as the released loader has it", () => {
    expect(framePlace(304, 240, 320)).toEqual({ side: 320, width: 320, height: 253, padLeft: 0, padTop: 33, left: 0, top: 33.5 });
    const box = onNetwork(cornersOf({ class: 1, xc: 152, yc: 120, w: 30, h: 24 }), { width: 304, height: 240 }, framePlace(304, 240, 320));
    expect(box.x1 / 320 + box.x2 / 320).toBeCloseTo(1, 12);
    expect((box.y1 + box.y2) / 2).toBeCloseTo(160, 12);
    expect(box.y2 - box.y1).toBeCloseTo(25.3, 12);
  });

  test("of one polarity are three equal channels over 255 with grey around", () => {
    const input = toNetwork(eventFrames(eventsOf([1, 0, 0, 1]), 100, { width: 8, height: 4, T: 1, window: 100 }), framePlace(8, 4, 8));
    expect(input.length).toBe(8 * 8 * 3);
    expect([...input.subarray(0, 3)]).toEqual([114, 114, 114].map((value) => Math.fround(value / 255)));
    expect([...input.subarray(2 * 8 * 3, 2 * 8 * 3 + 6)]).toEqual([255, 255, 255, 127, 127, 127].map((value) => Math.fround(value / 255)));
  });

  test("of counts are darker, brighter and both, with nothing around; their mean survives a stretch to twice the size", () => {
    const frames = eventFrames(eventsOf([1, 1, 1, 1], [2, 1, 1, 1], [3, 2, 1, 0]), 100, { width: 4, height: 4, T: 1, window: 100, encoding: "count" });
    const same = toNetwork(frames, framePlace(4, 4, 4)), twice = toNetwork(frames, framePlace(4, 4, 8)), sum = (values: Float32Array, c: number) => values.filter((_, i) => i % 3 === c).reduce((a, b) => a + b, 0);
    expect([...same.subarray(3 * 5, 3 * 7)]).toEqual([0, 2, 2, 1, 0, 1]);
    for (const c of [0, 1, 2]) expect(sum(twice, c)).toBeCloseTo(4 * sum(same, c), 5);
    const wide = toNetwork(eventFrames(eventsOf(), 100, { width: 4, height: 2, T: 1, window: 100, encoding: "voxel" }), framePlace(4, 2, 4));
    expect(wide.every((value) => value === 0)).toBe(true);
  });

  test("can be looked at, whatever they are", () => {
    const events = eventsOf([1, 0, 0, 1], [2, 1, 0, 0]);
    for (const encoding of ["last", "count", "voxel"] as const) {
      const { pixels } = showFrame(eventFrames(events, 100, { width: 4, height: 2, T: 1, window: 100, encoding }), 0);
      expect([pixels[0] > 127, pixels[3] < 127, pixels[6]]).toEqual([true, true, 127]);
    }
  });
});
