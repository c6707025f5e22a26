/**
 * A simulated event camera: each pixel remembers the log intensity at which it last spoke, and speaks again when the light has changed
 * by a threshold (Gehrig et al., ESIM, 2018; Hu et al., v2e, arXiv:2006.07722).
 *
 *   while log I - memory >= on:    memory += on,   event brighter
 *   while memory - log I >= off:   memory -= off,  event darker
 *
 * Light is looked at every `step` microseconds and taken for a straight line between, so that events have times of their own. What real sensors
 * have besides and this one has not: leaks, hot pixels, and a bandwidth that falls with the light.
 */
import type { Random } from "../engine/random.ts";
import { log } from "../kernels/elementary.ts";
import { firstAt } from "./event-frames.ts";
import type { Events } from "./gen1.ts";
import { NORMAL } from "./texture.ts";

export interface EventCamera {
  readonly width: number;
  readonly height: number;
  /** Change of log intensity that makes an event. */
  readonly threshold: number;
  /** Standard deviation of the thresholds of the pixels, as a share. */
  readonly spread: number;
  /** Microseconds for which a pixel is silent after an event. */
  readonly refractory: number;
  /** Events per pixel and second that mean nothing. */
  readonly noise: number;
  /** Microseconds between two looks. */
  readonly step: number;
}

/** The sensor of Gen1, in ordinary light. */
export const eventCamera: EventCamera = { width: 304, height: 240, threshold: 0.2, spread: 0.05, refractory: 500, noise: 0.1, step: 2000 };

/** Pixels [x1, x2) x [y1, y2). */
export interface Region { readonly x1: number; readonly y1: number; readonly x2: number; readonly y2: number }

/** What stands before the camera: brings `light` (linear, above 0, [H, W]) up to a time, and says where it may have changed since the last one. */
export type Light = (time: number, light: Float32Array) => readonly Region[];

/** Records from time 0 to `duration`, in microseconds. */
export function record(random: Random, camera: EventCamera, show: Light, duration: number): Events {
  const { width, height, threshold, spread, refractory, noise, step } = camera, pixels = width * height;
  const light = new Float32Array(pixels), on = new Float32Array(pixels), off = new Float32Array(pixels);
  const now = new Float32Array(pixels), memory = new Float32Array(pixels), spoke = new Float64Array(pixels).fill(-Infinity);
  show(0, light);
  const seen = light.slice();
  let grain = random.bits();
  for (let i = 0; i < pixels; i++) {
    grain = (Math.imul(grain, 1664525) + 1013904223) >>> 0;
    on[i] = threshold * Math.max(0.2, 1 + spread * NORMAL[grain >>> 19]);
    off[i] = threshold * Math.max(0.2, 1 + spread * NORMAL[(grain >>> 19) + 1]);
    now[i] = log(light[i]);
    memory[i] = now[i] + threshold * (((grain >>> 3) & 0xffff) / 0x10000 - 0.5);         // cameras were there before the recording began
  }

  const events = new Columns(), fresh = new Columns();
  const rate = noise * pixels / 1e6;                                                      // noise events per microsecond
  const pause = () => (rate > 0 ? -log(1 - random.uniform()) / rate : Infinity);
  for (let begin = 0, next = pause(); begin < duration; begin += step) {
    const end = Math.min(begin + step, duration), span = end - begin;
    const speak = (i: number, time: number, p: number) => {
      if (time - spoke[i] < refractory) return;
      spoke[i] = time;
      fresh.push(Math.min(begin + Math.floor(time - begin), end - 1), i % width, Math.floor(i / width), p);
    };
    for (const { x1, y1, x2, y2 } of show(end, light)) {
      for (let y = y1; y < y2; y++) {
        for (let i = y * width + x1, last = y * width + x2; i < last; i++) {
          if (light[i] === seen[i]) continue;                                             // also where regions overlap: the second look sees nothing new
          seen[i] = light[i];
          const before = now[i], after = now[i] = Math.fround(log(light[i])), change = after - before;
          while (after - memory[i] >= on[i]) speak(i, begin + span * within((memory[i] += on[i]) - before, change), 1);
          while (memory[i] - after >= off[i]) speak(i, begin + span * within((memory[i] -= off[i]) - before, change), 0);
        }
      }
    }
    for (; next < end; next += pause()) speak(random.integer(0, pixels), next, random.integer(0, 2));
    events.append(fresh.inOrder());
    fresh.length = 0;
  }
  return events.all();
}

/** Share of a straight way from 0 to `whole` after which `part` is reached; memories that started beyond it spoke at once. */
const within = (part: number, whole: number): number => Math.min(Math.max(part / whole, 0), 1);

/** Events as columns that grow. */
class Columns {
  length = 0;
  private t = new Float64Array(1024);
  private x = new Uint16Array(1024);
  private y = new Uint16Array(1024);
  private p = new Uint8Array(1024);

  push(t: number, x: number, y: number, p: number): void {
    this.reserve(this.length + 1);
    const i = this.length++;
    this.t[i] = t; this.x[i] = x; this.y[i] = y; this.p[i] = p;
  }

  append({ t, x, y, p }: Events): void {
    this.reserve(this.length + t.length);
    this.t.set(t, this.length); this.x.set(x, this.length); this.y.set(y, this.length); this.p.set(p, this.length);
    this.length += t.length;
  }

  private reserve(room: number): void {
    if (room <= this.t.length) return;
    const larger = <A extends Float64Array | Uint16Array | Uint8Array>(old: A): A => {
      const grown = new (old.constructor as new (length: number) => A)(Math.max(room, 2 * old.length));
      grown.set(old);
      return grown;
    };
    this.t = larger(this.t); this.x = larger(this.x); this.y = larger(this.y); this.p = larger(this.p);
  }

  /** By time; events of one microsecond stay as they came. */
  inOrder(): Events {
    const { length, t, x, y, p } = this, order = Uint32Array.from({ length }, (_, i) => i).sort((a, b) => t[a] - t[b] || a - b);
    return { t: pick(t, order), x: pick(x, order), y: pick(y, order), p: pick(p, order) };
  }

  all(): Events {
    const { length } = this;
    return { t: this.t.slice(0, length), x: this.x.slice(0, length), y: this.y.slice(0, length), p: this.p.slice(0, length) };
  }
}

function pick<A extends Float64Array | Uint16Array | Uint8Array>(column: A, order: Uint32Array): A {
  const picked = new (column.constructor as new (length: number) => A)(order.length);
  for (let i = 0; i < order.length; i++) picked[i] = column[order[i]];
  return picked;
}

/** The events of [start, end), as views. */
export function cut({ t, x, y, p }: Events, start: number, end: number): Events {
  const first = firstAt(t, start), last = firstAt(t, end);
  return { t: t.subarray(first, last), x: x.subarray(first, last), y: y.subarray(first, last), p: p.subarray(first, last) };
}
