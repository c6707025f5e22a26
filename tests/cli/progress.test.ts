import { describe, expect, test } from "vitest";
import { clock, epochLine, liveLine, Pace, plainLine, Progress, type Live } from "../../cli/progress.ts";
import type { StepEvent } from "../../detection/index.ts";

const live: Live = { epoch: 3, epochs: 12, batch: 40, batches: 100, box: 1.234, classes: 0.5, dfl: 12.345, imagesPerSecond: 123.4, secondsLeft: 754, megabytes: 272.6, firingRate: 0.456 };
const settings = { rates: { bias: 0, weight: 0, norm: 0 }, momentum: 0.9, accumulate: 1, step: true };

/** A screen that keeps what was written. */
function screen(isTTY: boolean, columns?: number) {
  const written: string[] = [];
  return { written, isTTY, columns, write: (text: string) => written.push(text) };
}

describe("the progress line", () => {
  test("shows where a run is", () => {
    expect(liveLine(live)).toBe("epoch  3/12 [#####-------] box 1.23 cls 0.50 dfl 12.35 | 123 img/s | 12:34 left | 273 MB | rate 0.46");
    expect(plainLine(live)).toBe("epoch 3/12 batch 40/100 box 1.23 cls 0.50 dfl 12.35 | 123 img/s | 12:34 left | 273 MB | rate 0.46");
  });

  test("never takes more than the width it is given", () => {
    const wide: Live = { ...live, epoch: 299, epochs: 300, box: 123.45, classes: 123.45, dfl: 123.45, imagesPerSecond: 12345, secondsLeft: 359999, megabytes: 12345 };
    for (const state of [live, wide, { ...wide, box: NaN, secondsLeft: Infinity }]) {
      for (const width of [20, 79, 100]) expect(liveLine(state, width).length).toBeLessThanOrEqual(width);
    }
    expect(liveLine(wide, 100)).toContain("epoch 299/300 ");
  });

  test("its bar is empty at the start and full at the end", () => {
    expect(liveLine({ ...live, batch: 0 })).toContain("[------------]");
    expect(liveLine({ ...live, batch: 100 })).toContain("[############]");
  });

  test("a clock says hours only when there are some", () => {
    expect([0, 5.4, 75, 3599.6, 3675].map(clock)).toEqual(["0:00", "0:05", "1:15", "1:00:00", "1:01:15"]);
  });

  test("an epoch's line names its scores and whether it is the best", () => {
    const validation = { protocol: "made up", images: 1, truths: 1, detections: 1, map50: 0.5, map: 0.25, fitness: 0.3, precision: 1, recall: 1, f1: 1, confidence: 0.5, perClass: [] };
    const event = { kind: "epoch", epoch: 0, box: 1, classes: 2, dfl: 3, firingRate: 0.4, settings, validation, fitness: 0.3, best: true } as const;
    expect(epochLine(event, 12, 61)).toBe("epoch  1/12 box 1.00 cls 2.00 dfl 3.00 | mAP50 0.500 mAP50-95 0.250 | rate 0.40 | 1:01 | best");
    expect(epochLine({ ...event, best: false }, 12, 61)).not.toContain("best");
  });
});

describe("pace", () => {
  const step = (epoch: number, batch: number, box = 1): StepEvent => ({ kind: "step", epoch, batch, batches: 4, images: 8, settings, gradientNorm: 1, firingRate: 0.5, peakBytes: 2e6, box, classes: 2, dfl: 3 });

  test("tells pictures per second and the time left of steps and validations", () => {
    const pace = new Pace(2, 100);
    pace.step(step(0, 0), 102);
    pace.step(step(0, 1), 104);
    expect(pace.step(step(0, 2), 106)).toMatchObject({ imagesPerSecond: 4, secondsLeft: 5 * 2, epoch: 1, batch: 3, megabytes: 2 });
    pace.step(step(0, 3), 108);
    expect(pace.endEpoch(113)).toBe(13);
    expect(pace.step(step(1, 0), 115)).toMatchObject({ imagesPerSecond: 4, secondsLeft: 3 * 2 + 5 });
  });

  test("losses are means over the epoch so far, and start anew with the next", () => {
    const pace = new Pace(2, 0);
    pace.step(step(0, 0, 1), 1);
    expect(pace.step(step(0, 1, 2), 2).box).toBe(1.5);
    expect(pace.step(step(1, 0, 7), 3).box).toBe(7);
  });
});

describe("the screen", () => {
  test("a terminal gets one line rewritten in place, and lines that stay above it", () => {
    const tty = screen(true, 200), progress = new Progress(tty);
    progress.live(live);
    progress.live({ ...live, batch: 41 });
    progress.say("done");
    progress.say("more");
    expect(tty.written).toEqual([`\r\x1b[K${liveLine(live)}`, `\r\x1b[K${liveLine({ ...live, batch: 41 })}`, "\r\x1b[Kdone\n", "more\n"]);
  });

  test("a narrow terminal gets a line that does not wrap", () => {
    const tty = screen(true, 60);
    new Progress(tty).live(live);
    expect(tty.written[0].replace("\r\x1b[K", "").length).toBe(59);
  });

  test("a log gets plain lines, ten in an epoch", () => {
    const log = screen(false), progress = new Progress(log);
    for (let epoch = 1; epoch <= 2; epoch++) for (let batch = 1; batch <= 100; batch++) progress.live({ ...live, epoch, batch });
    progress.passing("validating ...");
    expect(log.written.length).toBe(20);
    expect(log.written[0]).toBe(`${plainLine({ ...live, epoch: 1, batch: 10 })}\n`);
    expect(log.written[19]).toBe(`${plainLine({ ...live, epoch: 2, batch: 100 })}\n`);
    expect(log.written.join("")).not.toMatch(/\r|\x1b/);
  });
});
