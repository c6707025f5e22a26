/** Recordings that nobody labelled -> frames at regular moments, to predict on. Of a file, only its header and its first and last event are read beforehand. */
import { FlawsOfFiles } from "./event-flaws.ts";
import { protocolOf, type FrameProtocol } from "./event-frames.ts";
import { eventSet, type EventSet } from "./event-set.ts";
import { BrokenFile, fileSource } from "./file.ts";
import { openEvents, type RecordedFile } from "./gen1.ts";
import { ProblemList } from "./problems.ts";

export interface RecordingFramesOptions extends Partial<FrameProtocol> {
  /** Microseconds from one moment to the next. Default: the window, so that each event is in one of them. */
  readonly every?: number;
  readonly classes?: readonly string[];
}

/**
 *   first window   |----|
 *   moments             |    |    |    |      every so many microseconds from there, if events lie before them, until no event is left
 *   events         ...........................
 */
export function momentsOf(first: number, last: number, window: number, every: number): { first: number; count: number } {
  const from = Math.max(0, Math.ceil((first + 1 - window) / every)), to = Math.floor((last - window + Math.min(every, window)) / every);
  return { first: window + from * every, count: Math.max(1, to - from + 1) };
}

/** A recording that cannot be read, or has no event, is left out, with a sentence in `problems`. */
export async function recordingFrames(files: readonly RecordedFile[], { every, classes = [], ...frames }: RecordingFramesOptions = {}): Promise<EventSet> {
  const protocol = protocolOf(frames), { window } = protocol, step = every ?? window, problems = new ProblemList(), flaws = new FlawsOfFiles();
  if (!Number.isSafeInteger(step) || step < 1) throw new RangeError(`recordings: every must be a whole number of microseconds of at least 1, got ${step}`);
  const spans: { file: RecordedFile; first: number; count: number }[] = [];
  for (const file of files) {
    try {
      const events = await openEvents(await fileSource(file.path, file.name)), { count } = events;
      flaws.add(file, events.flaws);
      if (count === 0) problems.add(`recordings: ${file.name} has no event; it is left out`);
      else spans.push({ file, ...momentsOf(await events.timeOf(0), await events.timeOf(count - 1), window, step) });
    } catch (error) {
      if (!(error instanceof BrokenFile)) throw error;
      problems.add(`recordings: ${error.message}; it is left out`);
    }
  }
  const at = (index: number): { file: RecordedFile; time: number } => {
    for (const { file, first, count } of spans) if (index < count) return { file, time: first + index * step }; else index -= count;
    throw new RangeError(`recordings: a moment behind the last was asked for`);
  };
  return eventSet({
    name: `recordings ${files.map(({ name }) => name).join(", ")}`, classes, size: spans.reduce((sum, { count }) => sum + count, 0),
    get problems() { return [...problems.list, ...flaws.sentences]; },
    moment(index) {
      const { file, time } = at(index);
      return { name: `${file.name} at ${time} us`, recording: file.name, time, boxes: [], from: file };
    },
    told(index, done) {
      if (done.flaws) flaws.add(at(index).file, done.flaws);
      if (done.broken !== undefined) problems.add(`recordings: ${done.broken}; its frames are skipped`);
    },
  }, protocol);
}
