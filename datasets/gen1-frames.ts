/** Gen1 recordings -> frames of every time that has boxes. Boxes are read when the set is opened, events when a sample is asked for. */
import { FlawsOfFiles } from "./event-flaws.ts";
import { protocolOf, type FrameProtocol } from "./event-frames.ts";
import { eventSet, type EventSet } from "./event-set.ts";
import { BrokenFile } from "./file.ts";
import { gen1, type EventBox, type Recording } from "./gen1.ts";
import { ProblemList } from "./problems.ts";

export interface Gen1FramesOptions extends Partial<FrameProtocol> {
  /** Sub-folder of the recordings. Default: those in the folder itself. */
  readonly split?: string;
}

/** One time of one recording. */
interface Labelled { readonly recording: Recording; readonly time: number; readonly boxes: readonly EventBox[] }

/**
 *   for await (const { images, boxes } of (await gen1Frames("path/to/gen1", { split: "train" })).batches(8)) ...      images [T, B, 320, 320, 3]
 *
 * A recording that cannot be read is left out, with a sentence in `problems`.
 */
export async function gen1Frames(path: string, { split, ...frames }: Gen1FramesOptions = {}): Promise<EventSet> {
  const protocol = protocolOf(frames), { name, classes, recordings, problems: unpaired } = await gen1(path, { split });
  const problems = new ProblemList(), moments: Labelled[] = [];
  for (const recording of recordings) {
    try {
      const { boxes, problems: found } = await recording.boxes(), times = new Map<number, EventBox[]>();
      for (const sentence of found) problems.add(sentence);
      for (const box of boxes) {
        const here = times.get(box.t);
        if (here) here.push(box); else times.set(box.t, [box]);
      }
      for (const [time, here] of [...times].sort(([a], [b]) => a - b)) moments.push({ recording, time, boxes: here });
    } catch (error) {
      if (!(error instanceof BrokenFile)) throw error;
      problems.add(`gen1: ${error.message}; the recording is skipped`);
    }
  }
  if (moments.length === 0) throw new Error(`${name}: none of its ${recordings.length} recordings has a box that can be read${problems.list.length > 0 ? ` (first problem: ${problems.list[0]})` : ""}`);

  const flaws = new FlawsOfFiles();
  return eventSet({
    name, classes, size: moments.length,
    get problems() { return [...unpaired, ...problems.list, ...flaws.sentences]; },
    moment(index) {
      const { recording: { name, file }, time, boxes } = moments[index];
      return { name: `${name} at ${time} us`, recording: name, time, boxes, from: file };
    },
    told(index, { broken, flaws: found }) {
      if (found) flaws.add(moments[index].recording.file, found);
      if (broken !== undefined) problems.add(`gen1: ${broken}; what is labelled in the recording is skipped`);
    },
  }, protocol);
}
