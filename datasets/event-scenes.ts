/**
 * Recordings that need no files and no licence: cars and pedestrians pass before a simulated event camera, among poles that hide them.
 *
 * Recording `index` of a split is a pure function of (seed, split, index). In the order of making:
 *
 *   1. ground   textured, with poles in front of everything
 *   2. things   each crosses the sensor at its own speed, coming nearer or going away; nearer ones are larger, lower and in front
 *   3. camera   `record` turns the light on each pixel into events
 *   4. labels   every quarter of a second, a box around each thing of which at least 40 % shows, cut at the border of the sensor
 *
 * `eventScenes` gives frames of one label each, drawn when they are asked for; `writeEventScenes` writes recordings in the files of Gen1.
 */
import { Random } from "../engine/random.ts";
import { power } from "../kernels/elementary.ts";
import { eventCamera, record, type EventCamera, type Light, type Region } from "./event-camera.ts";
import { protocolOf, type FrameProtocol } from "./event-frames.ts";
import { eventSet, type EventSet } from "./event-set.ts";
import { distanceTo, reachOf, things, type Part, type Thing } from "./event-things.ts";
import { writeBoxes, writeDat, type EventBox, type Events } from "./gen1.ts";
import { drawPalette, drawScenery } from "./texture.ts";

export const EVENT_CLASSES = Object.keys(things) as (keyof typeof things)[];
const SPLITS = ["train", "val", "test"] as const;
type Split = (typeof SPLITS)[number];

export interface EventScenesOptions extends Partial<FrameProtocol> {
  readonly split?: Split;
  /** How many labels' frames; they do not depend on it. Default 1000 for train, else 250. */
  readonly size?: number;
  readonly seed?: number;
  readonly camera?: Partial<EventCamera>;
}

/**
 *   for await (const { images, boxes } of eventScenes({ split: "train" }).batches({ batch: 8, imgsz: 320 })) ...      images [T, B, 320, 320, 3]
 */
export function eventScenes({ split = "train", size = split === "train" ? 1000 : 250, seed = 0, camera: given, ...frames }: EventScenesOptions = {}): EventSet {
  if (!SPLITS.includes(split)) throw new RangeError(`event scenes: split must be one of ${SPLITS.join(", ")}, got "${split as string}"`);
  if (!Number.isInteger(size) || size < 1) throw new RangeError(`event scenes: size must be a whole number of at least 1, got ${size}`);
  const camera = cameraOf(given), { window } = protocolOf(frames), name = `event scenes ${split}`;
  return eventSet({
    name, classes: EVENT_CLASSES, size, problems: [],
    moment(index) {
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const scene = planScene(new Random(seed, SPLITS.indexOf(split), index, attempt), camera, window, window);
        if (scene.boxes.length > 0) return { name: `${name} ${index}`, recording: `${name} ${index}`, time: window, boxes: scene.boxes, from: { width: scene.width, height: scene.height, events: scene.record() } };
      }
      throw new Error(`event scenes: no thing can be seen at the end of scene ${index} after ${ATTEMPTS} attempts`);
    },
  }, frames);
}

/** A scene in which nothing can be labelled, about one in ten, is drawn anew. */
const ATTEMPTS = 100;

export interface WriteOptions {
  readonly split?: Split;
  readonly recordings: number;
  /** Length of each. Default 10. */
  readonly seconds?: number;
  readonly seed?: number;
  readonly camera?: Partial<EventCamera>;
  /** Told after each recording; may throw to stop. */
  readonly progress?: (done: number) => void | Promise<void>;
}

/**
 * Recordings `scene_0`, `scene_1`, ... as NAME_td.dat and NAME_bbox.npy in the folder `path/SPLIT`, which is made: what Gen1 looks like on disk.
 * The same arguments give the same bytes.
 */
export async function writeEventScenes(path: string, { split = "train", recordings, seconds = 10, seed = 0, camera: given, progress }: WriteOptions): Promise<void> {
  if (!SPLITS.includes(split)) throw new RangeError(`event scenes: split must be one of ${SPLITS.join(", ")}, got "${split as string}"`);
  if (!Number.isInteger(recordings) || recordings < 1) throw new RangeError(`event scenes: recordings must be a whole number of at least 1, got ${recordings}`);
  if (!(seconds > 0 && seconds <= 3600)) throw new RangeError(`event scenes: seconds must be above 0 and no more than 3600, got ${seconds}`);
  const [{ mkdir, writeFile }, { join }] = await Promise.all([import("node:fs/promises"), import("node:path")]);
  const folder = join(path, split), camera = cameraOf(given), { width, height } = camera;
  await mkdir(folder, { recursive: true });
  for (let i = 0; i < recordings; i++) {
    const { events, boxes } = drawEventScene(new Random(seed, SPLITS.indexOf(split), i, RECORDING), { camera, duration: Math.round(seconds * 1e6) });
    await writeFile(join(folder, `scene_${i}_td.dat`), writeDat(events, { width, height }));
    await writeFile(join(folder, `scene_${i}_bbox.npy`), writeBoxes(boxes));
    await progress?.(i + 1);
  }
}

/** Stream of recordings for files, apart from the attempts at a single label. */
const RECORDING = 1 << 20;

export interface EventScene {
  readonly width: number;
  readonly height: number;
  readonly events: Events;
  readonly boxes: readonly EventBox[];
}

/** Microseconds between two times with labels. */
const LABEL_EVERY = 250_000;

/** One recording of `duration` microseconds, with labels from `first` on. */
export function drawEventScene(random: Random, { camera: given, duration, first = 2 * LABEL_EVERY }: { camera?: Partial<EventCamera>; duration: number; first?: number }): EventScene {
  const { record, ...scene } = planScene(random, cameraOf(given), duration, first);
  return { ...scene, events: record() };
}

/** Everything but the events, which take most of the time. */
function planScene(random: Random, camera: EventCamera, duration: number, first: number): Omit<EventScene, "events"> & { record(): Events } {
  const { width, height } = camera;
  const stage = drawStage(random, width, height), actors = drawActors(random, width, height, duration);
  const boxes: EventBox[] = [];
  for (let time = first; time <= duration; time += LABEL_EVERY) boxes.push(...labelsAt(actors, stage, time));
  return { width, height, boxes, record: () => record(random, camera, lightOf(actors, stage), duration) };
}

function cameraOf(given: Partial<EventCamera> = {}): EventCamera {
  const camera = { ...eventCamera, ...given };
  for (const [name, least, most, whole] of [["width", 16, 16384, true], ["height", 16, 16384, true], ["threshold", 0.01, 10, false], ["spread", 0, 1, false],
    ["refractory", 0, 1e6, false], ["noise", 0, 1000, false], ["step", 1, 1e5, true]] as const) {
    const value = camera[name];
    if (!(value >= least && value <= most) || (whole && !Number.isInteger(value))) throw new RangeError(`event scenes: ${name} of the camera must be a ${whole ? "whole " : ""}number from ${least} to ${most}, got ${value}`);
  }
  return camera;
}

/** What does not move. */
interface Stage {
  readonly width: number;
  readonly height: number;
  /** Light of the ground and of the poles before it, [H, W]. */
  readonly ground: Float32Array;
  /** 1 where a pole hides whatever passes, [H, W]. */
  readonly pole: Uint8Array;
}

const DARKEST = 0.02;

function drawStage(random: Random, width: number, height: number): Stage {
  const scenery = drawScenery(random, drawPalette(random)), paint = new Float64Array(3), side = Math.max(width, height);
  const ground = new Float32Array(width * height), pole = new Uint8Array(width * height);
  const horizon = random.uniform(0.3, 0.5) * height, sky = random.uniform(0, 0.4);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      scenery(x / side, y / side, paint);
      ground[i] = Math.max(DARKEST, 0.299 * paint[0] + 0.587 * paint[1] + 0.114 * paint[2] + (y < horizon ? sky : 0));
    }
  }
  for (let poles = random.integer(0, 4); poles > 0; poles--) {
    const x = random.uniform(0, width), half = width * random.uniform(0.004, 0.018), foot = height * random.uniform(0.75, 1.1), tone = random.uniform(0.04, 0.7);
    eachRow({ x1: Math.max(0, Math.round(x - half)), y1: 0, x2: Math.min(width, Math.round(x + half)), y2: Math.min(height, Math.round(foot)) }, width, (from, to) => {
      ground.fill(tone, from, to);
      pole.fill(1, from, to);
    });
  }
  return { width, height, ground, pole };
}

/** How much of a pixel lies inside an edge at this distance, in pixels. */
const covered = (distance: number): number => Math.min(Math.max(0.5 - distance, 0), 1);

/** A thing on its way; in pixels and microseconds. */
interface Actor {
  readonly thing: Thing;
  readonly track: number;
  /** 1 faces right, -1 left. */
  readonly facing: number;
  /** Where its feet are at time `middle`, how far they get in a microsecond, and its unit then. */
  readonly x: number;
  readonly y: number;
  readonly middle: number;
  readonly speed: number;
  readonly unit: number;
  /** Share of its size that it gains in a microsecond, looming or shrinking around the horizon. */
  readonly growth: number;
}

/** At least two, and one more for each two seconds or so; each is inside the sensor at some time of the recording. From back to front. */
function drawActors(random: Random, width: number, height: number, duration: number): Actor[] {
  const count = random.integer(2, 5) + Math.floor(duration / 1e6 * random.uniform(0.3, 0.7));
  const actors = Array.from({ length: count }, (_, track): Actor => {
    const kind = EVENT_CLASSES[random.integer(0, EVENT_CLASSES.length)], thing = things[kind](random);
    const near = power(4, random.uniform()) / 4;                                           // 1/4 .. 1, more of them far away
    const unit = height * near * (kind === "car" ? random.uniform(0.6, 0.75) : random.uniform(0.45, 0.55));
    const pace = kind === "car" ? random.uniform(0.4, 1.6) : random.uniform(0.4, 1.1);      // units per second
    const facing = random.uniform() < 0.5 ? 1 : -1;
    return {
      thing, track, facing, unit, x: random.uniform(0, width), y: height * (0.42 + 0.5 * near + random.uniform(-0.03, 0.03)),
      middle: random.uniform(0, duration), speed: facing * pace * unit / 1e6, growth: random.uniform(-0.12, 0.12) / 1e6,
    };
  });
  return actors.sort((a, b) => a.y - b.y);
}

/** An actor's parts in pixels at a time. */
function poseAt({ thing, facing, x, y, middle, speed, unit, growth }: Actor, time: number): { parts: Part[]; size: number } {
  const passed = time - middle, size = unit * Math.max(0.2, 1 + growth * passed), px = x + speed * passed;
  const parts = thing.parts(Math.abs(speed) * passed / unit).map((part): Part => ({
    ...part, au: px + facing * size * part.au, av: y + size * part.av, r: size * part.r,
    bu: part.kind === "box" ? size * part.bu : px + facing * size * part.bu, bv: part.kind === "box" ? size * part.bv : y + size * part.bv,
  }));
  return { parts, size };
}

/** The rectangle around all parts, not cut. */
function around(parts: readonly Part[]): Region {
  const reaches = parts.map(reachOf), of = (pick: (...values: number[]) => number, side: "left" | "top" | "right" | "bottom") => pick(...reaches.map((reach) => reach[side]));
  return { x1: of(Math.min, "left"), y1: of(Math.min, "top"), x2: of(Math.max, "right"), y2: of(Math.max, "bottom") };
}

/** The whole pixels that a rectangle touches, with half a pixel of soft edge, on the sensor. */
function touched({ x1, y1, x2, y2 }: Region, width: number, height: number): Region {
  return { x1: Math.max(0, Math.floor(x1 - 0.5)), y1: Math.max(0, Math.floor(y1 - 0.5)), x2: Math.min(width, Math.ceil(x2 + 0.5)), y2: Math.min(height, Math.ceil(y2 + 0.5)) };
}

/** Paints ground, actors and poles where something has moved. */
function lightOf(actors: readonly Actor[], { width, height, ground, pole }: Stage): Light {
  let before: Region[] | undefined;
  return (time, light) => {
    const poses = actors.map((actor) => poseAt(actor, time).parts);
    const after = poses.map((parts) => touched(around(parts), width, height)).filter(({ x1, y1, x2, y2 }) => x2 > x1 && y2 > y1);
    const changed = before ? [...before, ...after] : [{ x1: 0, y1: 0, x2: width, y2: height }];
    before = after;
    for (const region of changed) eachRow(region, width, (from, to) => { light.set(ground.subarray(from, to), from); });
    for (const parts of poses) for (const part of parts) paint(part, light, width, height);
    for (const region of changed) eachRow(region, width, (from, to) => { for (let i = from; i < to; i++) if (pole[i]) light[i] = ground[i]; });
    return changed;
  };
}

/**
 * A part over what lies behind it, its edge half a pixel soft to both sides: light += covered(distance) (tone - light). Most pixels are far inside
 * or outside, which is found without a root.
 */
function paint(part: Part, light: Float32Array, width: number, height: number): void {
  const { kind, au, av, bu, bv, r } = part, { left, top, right, bottom } = reachOf(part), region = touched({ x1: left, y1: top, x2: right, y2: bottom }, width, height);
  const tone = Math.max(DARKEST, part.tone), outer = (r + 0.5) * (r + 0.5), inner = r > 0.5 ? (r - 0.5) * (r - 0.5) : 0;
  const du = bu - au, dv = bv - av, square = du * du + dv * dv, scale = square === 0 ? 0 : 1 / square;
  for (let y = region.y1; y < region.y2; y++) {
    const v = y + 0.5 - av, across = Math.max(Math.abs(v) - bv, 0);
    for (let x = region.x1, i = y * width + x; x < region.x2; x++, i++) {
      const u = x + 0.5 - au;
      let p: number, q: number; // from the nearest point of the skeleton
      if (kind === "box") {
        p = Math.max(Math.abs(u) - bu, 0);
        q = across;
      } else {
        const along = Math.min(Math.max((u * du + v * dv) * scale, 0), 1);
        p = u - along * du;
        q = v - along * dv;
      }
      const far = p * p + q * q;
      if (far >= outer) continue;
      light[i] += (far < inner ? 1 : covered(Math.sqrt(far) - r)) * (tone - light[i]);
    }
  }
}

function eachRow({ x1, y1, x2, y2 }: Region, width: number, visit: (from: number, to: number, y: number) => void): void {
  for (let y = y1; y < y2; y++) visit(y * width + x1, y * width + x2, y);
}

const LEAST_VISIBLE = 0.4;
/** Of the height of the sensor, 10 pixels in Gen1; smaller things are too far away to be labelled. */
const SMALLEST = 1 / 24;

/** Boxes of what can be seen at a time. */
function labelsAt(actors: readonly Actor[], { width, height, pole }: Stage, time: number): EventBox[] {
  const owner = new Uint16Array(width * height), poses = actors.map((actor) => poseAt(actor, time).parts), points = new Float64Array(actors.length), shown = new Float64Array(actors.length + 1);
  poses.forEach((parts, k) => {
    const { x1, y1, x2, y2 } = around(parts);
    for (let y = Math.floor(y1); y < y2; y++) {
      for (let x = Math.floor(x1); x < x2; x++) {
        if (!parts.some((part) => distanceTo(part, x + 0.5, y + 0.5) < 0)) continue;
        points[k]++;
        if (x >= 0 && x < width && y >= 0 && y < height) owner[y * width + x] = k + 1;
      }
    }
  });
  owner.forEach((k, i) => { if (!pole[i]) shown[k]++; });
  return actors.flatMap(({ thing, track }, k) => {
    const { x1, y1, x2, y2 } = around(poses[k]), left = Math.max(0, x1), top = Math.max(0, y1), w = Math.min(width, x2) - left, h = Math.min(height, y2) - top;
    if (Math.min(w, h) < SMALLEST * height || shown[k + 1] < LEAST_VISIBLE * points[k]) return [];
    return [{ t: time, x: left, y: top, w, h, class: thing.class, track, confidence: 1 }];
  });
}
