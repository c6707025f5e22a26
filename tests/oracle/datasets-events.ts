/** Players of the cases of event data: recordings -> frames and labels. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { cornersOf, eventFrames, eventLabels, framePlace, onNetwork, toNetwork, type EventFrames, type EventLabel } from "../../datasets/event-frames.ts";
import { openEvents, readBoxes, type EventBox, type Events } from "../../datasets/gen1.ts";
import type { Check, OracleCase, Player } from "./play.ts";

/** Rows of class, centre x, centre y, width, height; in pixels, or over the sensor's sides. */
const rowsOf = (labels: readonly EventLabel[], width = 1, height = 1): number[] =>
  labels.flatMap(({ class: c, xc, yc, w, h }) => [c, xc / width, yc / height, w / width, h / height]);

const framesOfOneLabel: Player = { places: [], play: (c, check) => {
  const { T, window_us: window, label_time: time, width, height, imgsz } = c.params, size = { width, height };
  const column = (name: string) => c.get("inputs", name).data;
  const events: Events = { t: Float64Array.from(column("t")), x: Uint16Array.from(column("x")), y: Uint16Array.from(column("y")), p: Uint8Array.from(column("p")) };
  const stored = eventFrames(events, time, { ...size, T, window, order: "chronological" });
  check.equal("frames", stored.data, c.get("outputs", "frames").data);

  const rows = column("boxes"), boxes = Array.from({ length: rows.length / 5 }, (_, i): EventBox =>
    ({ t: time, class: rows[5 * i], x: rows[5 * i + 1], y: rows[5 * i + 2], w: rows[5 * i + 3], h: rows[5 * i + 4], track: i, confidence: 1 }));
  const labels = eventLabels(boxes, time, size), place = framePlace(width, height, imgsz);
  check.close("labels", rowsOf(labels, width, height), c.get("outputs", "labels"));
  check.close("net_bboxes", labels.flatMap((label) => {
    const { x1, y1, x2, y2 } = onNetwork(cornersOf(label), { width, height }, place);
    return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1].map((value) => value / imgsz);
  }), c.get("outputs", "net_bboxes"));

  // as the network gets it: the newest slice first, three equal channels / 255
  const input = toNetwork(eventFrames(events, time, { ...size, T, window }), place), want = c.get("outputs", "net_input").data;
  for (let channel = 0; channel < 3; channel++) check.equal(`net_input, channel ${channel}`, Float64Array.from(want, (_, i) => Math.round(input[3 * i + channel] * 255)), want);
} };

/** Per window: the frames where they are recorded, else their checksums and counts; and the labels. */
function playWindows(c: OracleCase, check: Check, events: Events, boxes: readonly EventBox[]): void {
  const { width, height } = c.params, folder = join(c.folder.path, "gen1-mini");
  const { windows } = JSON.parse(readFileSync(join(folder, "expected.json"), "utf8")) as { windows: readonly ExpectedWindow[] };
  const recorded = c.folder.tensors("gen1-mini/frames.safetensors");
  for (const { key, T, window_us: window, slice_us, label_time, window_start, events_neg_pos_per_slice, black, white, crc32, labels_pixels, labels_normalised } of windows) {
    const how = { width, height, T, window, order: "chronological" } as const, frames = eventFrames(events, label_time, how);
    check.equal(`${key}: window`, [frames.start, frames.end], [window_start, window_start + T * slice_us]);
    check.equal(`${key}: events that darken and brighten`, perSlice(eventFrames(events, label_time, { ...how, encoding: "count" })), events_neg_pos_per_slice.flat());
    const slices = Array.from({ length: T }, (_, t) => (frames.data as Uint8Array).subarray(t * width * height, (t + 1) * width * height));
    check.equal(`${key}: black`, slices.map((slice) => slice.filter((value) => value === 0).length), black);
    check.equal(`${key}: white`, slices.map((slice) => slice.filter((value) => value === 255).length), white);
    check.equal(`${key}: checksums`, slices.map(crc), crc32.map((hex) => parseInt(hex, 16)));
    const whole = recorded.get(`frames_${key}`);
    if (whole) check.equal(`${key}: frames`, frames.data, whole.read() as Uint8Array);
    const labels = eventLabels(boxes, label_time, { width, height }), tolerance = { rtol: 0, atol: 1e-5 };
    const table = (rows: readonly (readonly number[])[]) => ({ shape: [rows.length, 5], data: rows.flat(), integer: false });
    check.close(`${key}: labels in pixels`, rowsOf(labels), table(labels_pixels), tolerance);
    check.close(`${key}: labels`, rowsOf(labels, width, height), table(labels_normalised), tolerance);
  }
}

interface ExpectedWindow {
  readonly key: string;
  readonly T: number;
  readonly window_us: number;
  readonly slice_us: number;
  readonly label_time: number;
  readonly window_start: number;
  readonly events_neg_pos_per_slice: readonly (readonly [number, number])[];
  readonly black: readonly number[];
  readonly white: readonly number[];
  readonly crc32: readonly string[];
  readonly labels_pixels: readonly (readonly number[])[];
  readonly labels_normalised: readonly (readonly number[])[];
}

/** [darker, brighter] of each slice of counts. */
function perSlice({ shape: [T, H, W], data }: EventFrames): number[] {
  return Array.from({ length: 2 * T }, (_, k) => {
    const slice = data.subarray((k >> 1) * H * W * 2, ((k >> 1) + 1) * H * W * 2);
    let sum = 0;
    for (let i = k & 1; i < slice.length; i += 2) sum += slice[i];
    return sum;
  });
}

/** CRC-32 of zip and PNG. */
function crc(bytes: Uint8Array): number {
  let rest = -1;
  for (const byte of bytes) {
    rest ^= byte;
    for (let bit = 0; bit < 8; bit++) rest = (rest >>> 1) ^ (rest & 1 ? 0xedb88320 : 0);
  }
  return ~rest >>> 0;
}

/** The recording as its files have it: what the frames and labels of each window are. */
const framesOfRecording: Player = {
  places: [],
  async read(c): Promise<[Events, readonly EventBox[]]> {
    const file = (name: string) => readFileSync(join(c.folder.path, "gen1-mini", name));
    return [await (await openEvents(file("mini_td.dat"))).events(), readBoxes(file("mini_bbox.npy")).boxes];
  },
  play: (c, check, [events, boxes]: [Events, readonly EventBox[]]) => playWindows(c, check, events, boxes),
};

export const eventPlayers: ReadonlyMap<string, Player> = new Map([["event_frames", framesOfOneLabel], ["read_gen1", framesOfRecording]]);
