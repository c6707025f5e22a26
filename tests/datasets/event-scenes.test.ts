import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventCamera, record, type EventCamera, type Light } from "../../datasets/event-camera.ts";
import { eventFrames } from "../../datasets/event-frames.ts";
import { drawEventScene, EVENT_CLASSES, eventScenes, writeEventScenes } from "../../datasets/event-scenes.ts";
import { writeBoxes, type Events } from "../../datasets/gen1.ts";
import { gen1Frames } from "../../datasets/gen1-frames.ts";
import { Random } from "../../engine/random.ts";

const hash = ({ t, x, y, p }: Events): string => {
  const all = createHash("sha256");
  for (const column of [t, x, y, p]) all.update(new Uint8Array(column.buffer, column.byteOffset, column.byteLength));
  return all.digest("hex").slice(0, 16);
};

describe("the event camera", () => {
  const exact: EventCamera = { ...eventCamera, width: 16, height: 16, spread: 0, refractory: 0, noise: 0, step: 1000 };
  const whole = { x1: 0, y1: 0, x2: 16, y2: 16 };
  /** The whole sensor sees exp(log light). */
  const shine = (logOf: (time: number) => number): Light => (time, light) => { light.fill(Math.exp(logOf(time))); return [whole]; };
  const balance = ({ p }: Events) => ({ on: p.filter((value) => value === 1).length / 256, off: p.filter((value) => value === 0).length / 256 });

  test("speaks once for each threshold that the log of the light passes, and names the direction", () => {
    const up = balance(record(new Random(1), exact, shine((time) => 1e-5 * time), 100_000)); // the log rises by 1, 5 thresholds; memories start half a threshold around the light
    expect(up.off).toBe(0);
    expect(Math.abs(up.on - 4.5)).toBeLessThan(0.2);
    const down = balance(record(new Random(1), exact, shine((time) => -2e-5 * time), 100_000));
    expect(down.on).toBe(0);
    expect(Math.abs(down.off - 9.5)).toBeLessThan(0.2);
  });

  test("does not depend on how bright it is, but on contrast", () => {
    const dim = record(new Random(1), exact, shine((time) => -3 + 1e-5 * time), 100_000), bright = record(new Random(1), exact, shine((time) => 1e-5 * time), 100_000);
    expect(Math.abs(dim.t.length - bright.t.length)).toBeLessThanOrEqual(4); // memories are float32
  });

  test("returns to silence: as many events up as down, to one a pixel, when the light comes back", () => {
    const { on, off } = balance(record(new Random(2), exact, shine((time) => Math.sin(time / 100_000 * 2 * Math.PI)), 100_000));
    expect(on).toBeGreaterThan(8);
    expect(Math.abs(on - off)).toBeLessThan(1);
  });

  test("gives times between two looks, in order", () => {
    const { t } = record(new Random(1), { ...exact, step: 20_000 }, shine((time) => 1e-5 * time), 100_000);
    expect(new Set(t).size).toBeGreaterThan(1000);
    expect(t.every((time, i) => i === 0 || time >= t[i - 1])).toBe(true);
  });

  test("is deaf for a while after each event", () => {
    const { t, x, y } = record(new Random(1), { ...exact, refractory: 10_000 }, shine((time) => 2e-4 * time), 100_000), last = new Map<number, number>();
    expect(t.length).toBeGreaterThan(256 * 8);
    t.forEach((time, i) => {
      const pixel = 16 * y[i] + x[i];
      expect(time - (last.get(pixel) ?? -Infinity)).toBeGreaterThanOrEqual(9_999); // whole microseconds
      last.set(pixel, time);
    });
  });

  test("sees nothing where nothing changes but noise, at the rate that it has", () => {
    const still = shine(() => 0);
    expect(record(new Random(1), exact, still, 1e6).t.length).toBe(0);
    const { t, p } = record(new Random(1), { ...exact, noise: 5 }, still, 4e6), mean = 5 * 256 * 4;
    expect(Math.abs(t.length - mean)).toBeLessThan(4 * Math.sqrt(mean));
    expect(Math.abs(p.reduce((a, b) => a + b, 0) - t.length / 2)).toBeLessThan(4 * Math.sqrt(t.length / 4));
  });

  test("has pixels that differ, by as much as it is told", () => {
    const counts = (spread: number) => { const { x, y } = record(new Random(3), { ...exact, spread }, shine((time) => 4e-5 * time), 100_000), each = new Float64Array(256); x.forEach((column, i) => { each[16 * y[i] + column]++; }); return each; };
    const range = (values: Float64Array) => Math.max(...values) - Math.min(...values);
    expect(range(counts(0))).toBeLessThanOrEqual(1);
    expect(range(counts(0.2))).toBeGreaterThan(5);
  });
});

describe("event scenes", () => {
  const scenes = Array.from({ length: 8 }, (_, index) => drawEventScene(new Random(0, 0, index), { duration: 250_000, first: 250_000, camera: { noise: 0 } }));

  test("are the same events and boxes for the same seed, split and index, in any order and for any size of set", async () => {
    const camera = { width: 80, height: 60 }, bytes = (data: ArrayLike<number>) => Buffer.from(data as Uint8Array).toString("base64");
    const a = eventScenes({ size: 4, seed: 3, camera }), b = eventScenes({ size: 100, seed: 3, camera });
    const plain = async (set: typeof a, i: number) => { const { frames, boxes, picture, name } = (await set.sample(i))!; return { ...frames, data: bytes(frames.data), boxes, pixels: bytes(picture.pixels), name }; };
    await b.sample(50);
    for (const i of [3, 0, 3]) expect(await plain(a, i)).toEqual(await plain(b, i));
    const first = async (options: Parameters<typeof eventScenes>[0], index = 0) => bytes((await eventScenes({ camera, ...options }).sample(index))!.frames.data);
    expect(new Set(await Promise.all([first({}), first({ seed: 1 }), first({ split: "val" }), first({}, 1)])).size).toBe(4);
  });

  // whoever changes the scenes on purpose writes the new numbers here
  test("are those that they were: one hash in every engine", () => {
    const { events, boxes } = drawEventScene(new Random(0, 0, 0), { duration: 250_000, first: 250_000 });
    expect([events.t.length, boxes.length, hash(events)]).toEqual(GOLDEN);
  });

  test("have events in order, on the sensor and in time", () => {
    for (const { events: { t, x, y }, width, height } of scenes) {
      expect(t.every((time, i) => Number.isInteger(time) && time >= (t[i - 1] ?? 0) && time < 250_000)).toBe(true);
      expect(x.every((value) => value < width) && y.every((value) => value < height)).toBe(true);
    }
  });

  test("have boxes on the sensor with much more happening in them than beside them", () => {
    let boxes = 0;
    for (const { events, boxes: all, width, height } of scenes) {
      const late = events.t.findIndex((time) => time >= 187_500), inside = (x: number, y: number) => all.some((box) => x >= box.x - 8 && x <= box.x + box.w + 8 && y >= box.y - 8 && y <= box.y + box.h + 8);
      for (const { x, y, w, h, class: c, t } of all) {
        boxes++;
        expect([x >= 0, y >= 0, x + w <= width + 1e-6, y + h <= height + 1e-6, w >= 10, h >= 10, c in EVENT_CLASSES, t === 250_000]).toEqual(Array(8).fill(true));
        let here = 0;
        for (let i = late; i < events.t.length; i++) if (events.x[i] >= x && events.x[i] <= x + w && events.y[i] >= y && events.y[i] <= y + h) here++;
        expect(here, "events in a box").toBeGreaterThan(10);
      }
      let within = 0, area = 0;
      for (let i = late; i < events.t.length; i++) if (inside(events.x[i], events.y[i])) within++;
      for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) if (inside(x, y)) area++;
      if (all.length > 0) expect(within / (events.t.length - late)).toBeGreaterThan(2 * area / (width * height));
    }
    expect(boxes).toBeGreaterThan(10);
  });

  test("move: later labels of a track lie elsewhere, and both classes come", () => {
    const { boxes } = drawEventScene(new Random(4), { duration: 2e6 }), classes = new Set(boxes.map((box) => box.class)), times = new Set(boxes.map(({ t }) => t));
    expect([...classes].sort()).toEqual([0, 1]);
    expect([...times].every((time) => time >= 500_000 && time % 250_000 === 0)).toBe(true);
    const tracks = new Map<number, typeof boxes[number][]>();
    for (const box of boxes) tracks.set(box.track, [...(tracks.get(box.track) ?? []), box]);
    const moved = [...tracks.values()].filter((steps) => steps.length > 1).map((steps) => Math.abs(steps.at(-1)!.x - steps[0].x) + Math.abs(steps.at(-1)!.w - steps[0].w));
    expect(moved.length).toBeGreaterThan(0);
    for (const way of moved) expect(way).toBeGreaterThan(2);
  });

  test("come in batches [T, B, H, W, 3] with the protocol named", async () => {
    const set = eventScenes({ size: 3, T: 2, camera: { width: 64, height: 48 } }), shapes: (readonly number[])[] = [];
    for await (const { images, boxes, origins, protocol } of set.batches({ batch: 2, imgsz: 64 })) {
      shapes.push(images.shape);
      expect(protocol).toBe("last polarity, 2 slices of 125 ms, newest first");
      expect(Math.max(...boxes.image)).toBeLessThan(origins.length);
      expect(images.data.length).toBe(images.shape.reduce((a, b) => a * b));
    }
    expect(shapes).toEqual([[2, 2, 64, 64, 3], [2, 1, 64, 64, 3]]);
  });

  test("shuffle by seed and epoch alone, and leave out a short last batch when asked", async () => {
    const set = eventScenes({ size: 5, T: 1, camera: { width: 32, height: 32, step: 25_000 } });
    const order = async (epoch: number) => { const all: number[] = []; for await (const { origins } of set.batches({ batch: 2, imgsz: 32, shuffle: true, seed: 1, epoch, dropLast: true })) all.push(...origins.map(({ index }) => index)); return all; };
    expect(await order(0)).toEqual(await order(0));
    expect(await order(0)).not.toEqual(await order(1));
    expect((await order(0)).length).toBe(4);
  });

  test("time of a batch comes first: slice t of picture b is at t B + b", async () => {
    const set = eventScenes({ size: 2, T: 3, camera: { width: 32, height: 32 } }), frames = await Promise.all([0, 1].map(async (i) => (await set.sample(i))!.frames.data));
    for await (const { images: { data } } of set.batches({ batch: 2, imgsz: 32 })) {
      for (let t = 0; t < 3; t++) for (let b = 0; b < 2; b++) for (let i = 0; i < 1024; i++) expect(data[((t * 2 + b) * 1024 + i) * 3]).toBe(Math.fround(frames[b][t * 1024 + i] / 255));
    }
  });

  test("refuse splits, sizes and cameras that are none", () => {
    expect(() => eventScenes({ split: "valid" as "val" })).toThrow('event scenes: split must be one of train, val, test, got "valid"');
    expect(() => eventScenes({ size: 0 })).toThrow("event scenes: size must be a whole number of at least 1, got 0");
    expect(() => eventScenes({ camera: { threshold: 0 } })).toThrow("event scenes: threshold of the camera must be a number from 0.01 to 10, got 0");
  });
});

describe("event scenes as files of Gen1", () => {
  const home = mkdtempSync(join(tmpdir(), "events-")), camera = { width: 96, height: 64 };
  afterAll(() => rmSync(home, { recursive: true }));
  beforeAll(() => writeEventScenes(home, { recordings: 3, seconds: 1.5, camera }));
  const file = (name: string) => join(home, "train", name);

  test("are read back as they were drawn, frame for frame and box for box", async () => {
    const set = await gen1Frames(home, { split: "train" }), { events, boxes } = drawEventScene(new Random(0, 0, 0, 1 << 20), { camera, duration: 1.5e6 });
    expect(set.classes).toEqual(EVENT_CLASSES);
    expect(set.problems).toEqual([]);
    const times = [...new Set(boxes.map(({ t }) => t))];
    for (const [index, time] of times.entries()) {
      const sample = (await set.sample(index))!;
      expect(sample.name).toBe(`scene_0 at ${time} us`);
      expect(sample.frames).toEqual(eventFrames(events, time, camera));
      const here = boxes.filter(({ t }) => t === time).sort((a, b) => b.track - a.track);
      expect(sample.boxes.map((box) => box.class)).toEqual(here.map((box) => box.class));
      sample.boxes.forEach(({ x1, y1, x2, y2 }, i) => [here[i].x, here[i].y, here[i].x + here[i].w, here[i].y + here[i].h].forEach((value, k) => expect([x1, y1, x2, y2][k]).toBeCloseTo(value, 3)));
    }
    expect((await set.sample(times.length))!.name).toMatch(/^scene_1 at /);
  });

  test("are the same bytes when they are written again", async () => {
    const again = mkdtempSync(join(home, "again-"));
    await writeEventScenes(again, { recordings: 1, seconds: 1.5, camera });
    for (const name of ["scene_0_td.dat", "scene_0_bbox.npy"]) expect(readFileSync(join(again, "train", name)).equals(readFileSync(file(name)))).toBe(true);
  });

  test("with boxes beyond the sensor, or where nothing happens, are told of once", async () => {
    const odd = mkdtempSync(join(home, "odd-")), box = { t: 500_000, x: 1, y: 1, w: 9, h: 9, class: 0, track: 1, confidence: 1 };
    cpSync(file("scene_0_td.dat"), join(odd, "a_td.dat"));
    writeFileSync(join(odd, "a_bbox.npy"), writeBoxes([box, { ...box, x: -5, track: 2 }, { ...box, y: 1e9, track: 3 }, { ...box, t: 750_000, w: 1e30 }, { ...box, t: 9e6 }]));
    const set = await gen1Frames(odd);
    for (let epoch = 0; epoch < 2; epoch++) for await (const { boxes } of set.batches({ batch: 2, imgsz: 96, epoch })) expect(boxes.xywh.every((value) => value >= 0 && value <= 1)).toBe(true);
    expect(set.problems).toEqual([
      "a at 9000000 us: 1 box is labelled where the window of 250 ms has no event; kept nevertheless",
      "a: 3 of the boxes that were read reach beyond the sensor, the first at 500000 us; they are cut to it, or moved, as the release does",
    ]);
  });

  test("with very many boxes at one time are opened in no more than their share of time", async () => {
    const many = mkdtempSync(join(home, "many-")), start = performance.now();
    cpSync(file("scene_0_td.dat"), join(many, "a_td.dat"));
    writeFileSync(join(many, "a_bbox.npy"), writeBoxes(Array.from({ length: 100_000 }, (_, track) => ({ t: 500_000, x: 1, y: 1, w: 9, h: 9, class: 0, track, confidence: 1 }))));
    const set = await gen1Frames(many);
    expect([set.size, (await set.sample(0))!.boxes.length]).toEqual([1, 100_000]);
    expect(performance.now() - start).toBeLessThan(10_000);
  });

  test("that are torn or missing are named, and the others still read", async () => {
    const whole = (await gen1Frames(home, { split: "train" })).size;
    truncateSync(file("scene_1_bbox.npy"), 40);
    truncateSync(file("scene_2_td.dat"), readFileSync(file("scene_2_td.dat")).length - 3);
    const set = await gen1Frames(home, { split: "train" });
    expect(set.size).toBeLessThan(whole);
    let batches = 0;
    for await (const { images } of set.batches({ batch: 2, imgsz: 96 })) batches += images.shape[1];
    expect(batches).toBe(set.size);
    expect(set.problems.some((problem) => /scene_1_bbox\.npy.*the recording is skipped/.test(problem))).toBe(true);
    expect(set.problems.some((problem) => /scene_2_td\.dat.*torn/.test(problem))).toBe(true);
    writeFileSync(file("scene_0_td.dat"), "% Height 0\n");
    const broken = await gen1Frames(home, { split: "train" });
    expect(await broken.sample(0)).toBeUndefined();
    expect(broken.problems.join("\n")).toMatch(/scene_0_td\.dat: the header says Height 0.*is skipped/);
  });
});

const GOLDEN = [30233, 3, "0ad1327816a2f82b"];
