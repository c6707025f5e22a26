/** Frames of one moment of a recording, from its file: what is asked, what comes back, and how it is done, on whichever thread. */
import { eventFrames, framePlace, toNetwork, windowOf, type EventFrames, type FrameProtocol } from "./event-frames.ts";
import type { EventFlaws } from "./event-flaws.ts";
import { BrokenFile, fileSource } from "./file.ts";
import { openEvents, type RecordedFile } from "./gen1.ts";

export interface MomentJob {
  readonly recorded: RecordedFile;
  /** Microseconds. */
  readonly time: number;
  /** Absent: only find out whether the file can be read. */
  readonly protocol?: FrameProtocol;
  /** Of the square that a network sees; absent: only frames of the sensor's size. */
  readonly side?: number;
}

export interface MomentDone {
  readonly frames?: EventFrames;
  /** The frames on the network's square, [T, side, side, 3]. */
  readonly input?: Float32Array;
  /** Why the file cannot be used. */
  readonly broken?: string;
  readonly flaws?: EventFlaws;
}

export async function doMoment({ recorded, time, protocol, side }: MomentJob): Promise<MomentDone> {
  try {
    const file = await openEvents(await fileSource(recorded.path, recorded.name)), { flaws } = file;
    if (!protocol) return { flaws };
    const { start, end } = windowOf(time, protocol);
    return { ...framesFor(await file.events(start, end), time, { ...protocol, width: file.width, height: file.height }, side), flaws };
  } catch (error) {
    if (!(error instanceof BrokenFile)) throw error;
    return { broken: error.message };
  }
}

/** The same of events in memory. */
export function framesFor(events: Parameters<typeof eventFrames>[0], time: number, how: Parameters<typeof eventFrames>[2], side?: number): Required<Pick<MomentDone, "frames">> & MomentDone {
  const frames = eventFrames(events, time, how);
  return side === undefined ? { frames } : { frames, input: toNetwork(frames, framePlace(how.width, how.height, side)) };
}
