/** What a run says while it works: a line that is rewritten in place on a terminal, a plain line now and then elsewhere. */
import type { EpochEvent, StepEvent } from "../detection/index.ts";
import { printable } from "../datasets/printable.ts";
import type { LossParts } from "../detection/index.ts";

/** All that one line shows. */
export interface Live extends LossParts {
  /** What the parts of the loss are called; absent: those of SpikeYOLO. */
  readonly names?: PartNames;
  /** From 1. */
  readonly epoch: number;
  readonly epochs: number;
  /** Batches of this epoch that are done. */
  readonly batch: number;
  readonly batches: number;
  readonly imagesPerSecond: number;
  /** Of the whole run, as far as one can tell. */
  readonly secondsLeft: number;
  readonly megabytes: number;
  readonly firingRate: number;
}

/** What the three parts of a loss are called. */
export type PartNames = readonly [box: string, classes: string, third: string];
const NAMES: PartNames = ["box", "cls", "dfl"];

export const WIDTH = 100;

/** `epoch 3/12 [####------] box 1.23 cls 1.23 dfl 1.23 | 123 img/s | 12:34 left | 273 MB | rate 0.45`; the bar takes the room that is left. */
export function liveLine(live: Live, width = WIDTH): string {
  const { epoch, epochs, batch, batches } = live;
  const head = `epoch ${String(epoch).padStart(String(epochs).length)}/${epochs}`;
  const rest = [
    losses(live), `${figure(live.imagesPerSecond)} img/s`, `${clock(live.secondsLeft)} left`, `${live.megabytes.toFixed(0)} MB`, `rate ${live.firingRate.toFixed(2)}`,
  ].join(" | ");
  const room = Math.min(24, width - head.length - rest.length - 4);
  const line = room >= 4 ? `${head} [${bar(batch / batches, room)}] ${rest}` : `${head} ${rest}`;
  return line.slice(0, width);
}

/** The same without a bar, for logs. */
export function plainLine(live: Live): string {
  const { epoch, epochs, batch, batches } = live;
  return `epoch ${epoch}/${epochs} batch ${batch}/${batches} ${losses(live)} | ${figure(live.imagesPerSecond)} img/s | ${clock(live.secondsLeft)} left | ${live.megabytes.toFixed(0)} MB | rate ${live.firingRate.toFixed(2)}`;
}

/** The line that stays when an epoch is over. */
export function epochLine({ epoch, validation, firingRate, best, ...parts }: EpochEvent, epochs: number, seconds: number, names?: PartNames): string {
  const head = `epoch ${String(epoch + 1).padStart(String(epochs).length)}/${epochs}`;
  return `${head} ${losses({ ...parts, names })} | mAP50 ${validation.map50.toFixed(3)} mAP50-95 ${validation.map.toFixed(3)} | rate ${firingRate.toFixed(2)} | ${clock(seconds)}${best ? " | best" : ""}`;
}

const losses = ({ box, classes, dfl, names = NAMES }: LossParts & { names?: PartNames }): string => [box, classes, dfl].map((part, i) => `${names[i]} ${part.toFixed(2)}`).join(" ");
const figure = (x: number): string => (x < 10 ? x.toFixed(1) : x.toFixed(0));

function bar(share: number, room: number): string {
  const done = Math.round(Math.min(Math.max(share, 0), 1) * room);
  return "#".repeat(done) + "-".repeat(room - done);
}

/** 75 -> "1:15", 3675 -> "1:01:15" */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds)), two = (n: number): string => String(n).padStart(2, "0");
  const h = Math.floor(whole / 3600), m = Math.floor(whole / 60) % 60, s = whole % 60;
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** Follows the steps of a run and keeps what the line needs. Times are in seconds. */
export class Pace {
  private epoch = -1;
  private began = 0;
  /** When the step before was over. */
  private last: number;
  private images = 0;
  private steps = 0;
  private stepSeconds = 0;
  /** What validation and saving took after the last whole epoch. */
  private afterEpoch = 0;
  private sums = { box: 0, classes: 0, dfl: 0, firingRate: 0 };
  private inEpoch = 0;

  constructor(private readonly epochs: number, now: number, private readonly names?: PartNames) { this.last = now; }

  step(event: StepEvent, now: number): Live {
    if (event.epoch !== this.epoch) {
      this.epoch = event.epoch;
      this.began = this.last;
      this.images = this.inEpoch = 0;
      this.sums = { box: 0, classes: 0, dfl: 0, firingRate: 0 };
    }
    this.images += event.images;
    this.inEpoch++;
    this.steps++;
    this.stepSeconds += now - this.last;
    this.last = now;
    for (const key of ["box", "classes", "dfl", "firingRate"] as const) this.sums[key] += event[key];
    const { box, classes, dfl, firingRate } = this.sums, n = this.inEpoch;
    const epochsLeft = this.epochs - event.epoch - 1, stepsLeft = event.batches - event.batch - 1 + epochsLeft * event.batches;
    return {
      box: box / n, classes: classes / n, dfl: dfl / n, firingRate: firingRate / n, names: this.names,
      epoch: event.epoch + 1, epochs: this.epochs, batch: event.batch + 1, batches: event.batches,
      imagesPerSecond: this.images / Math.max(now - this.began, 1e-9),
      secondsLeft: stepsLeft * (this.stepSeconds / this.steps) + (epochsLeft + 1) * this.afterEpoch,
      megabytes: event.peakBytes / 1e6,
    };
  }

  /** An epoch is over, its validation too: how long all of it took. */
  endEpoch(now: number): number {
    this.afterEpoch = now - this.last;
    this.last = now;
    return now - this.began;
  }
}

/** Where lines go. */
export interface Screen {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** Lines on a screen, the last of which may be one that changes. */
export class Progress {
  private shown = false;
  private lastTenth = 0;
  constructor(private readonly screen: Screen) {}

  /** A line that stays. It may name files and classes of strangers. */
  say(line: string): void {
    this.screen.write(`${this.shown ? ERASE : ""}${printable(line)}\n`);
    this.shown = false;
  }

  /** A line that the next one replaces; without a terminal one in about ten of an epoch stays. */
  live(state: Live): void {
    if (this.screen.isTTY) return this.passing(liveLine(state, Math.min(WIDTH, (this.screen.columns ?? WIDTH) - 1)));
    const tenth = Math.floor((10 * state.batch) / state.batches);
    if (tenth === this.lastTenth) return;
    this.lastTenth = tenth;
    if (tenth > 0) this.say(plainLine(state));
  }

  /** A word on what is going on, for a terminal only. */
  passing(line: string): void {
    if (!this.screen.isTTY) return;
    this.screen.write(`${ERASE}${line}`);
    this.shown = true;
  }

  /** Takes the changing line away. */
  clear(): void {
    if (this.shown) this.screen.write(ERASE);
    this.shown = false;
  }
}

/** Back to the first column, and the line is empty. */
const ERASE = "\r\x1b[K";
