/** Where a run has the sizes from which its network tells boxes: as published, from the weights that it starts from, or found in its own data. */
import { familyOf, findAnchors, networks, type AnchorBox, type Anchors } from "../detection/index.ts";
import { inOrder, type OpenSet } from "./data.ts";
import type { Settings } from "./recipes.ts";
import { UserError } from "./user-error.ts";

/** Boxes after which more would change little. */
const ENOUGH = 5000;

/** Without anchors: a network that needs none, or has those of COCO. */
export interface RunAnchors { readonly anchors?: Anchors; readonly news?: string }

/** The anchors of a run that begins, and a line about them. */
export async function anchorsFor(settings: Settings, set: OpenSet, signal?: AbortSignal): Promise<RunAnchors> {
  if (!familyOf(networks[settings.model]).anchors || settings.anchors !== "auto") return {};
  const { imgsz } = settings, sizes: AnchorBox[] = [];
  for await (const { boxes: { xywh } } of inOrder(set, settings, signal)) {
    for (let i = 0; i < xywh.length; i += 4) sizes.push([xywh[i + 2] * imgsz, xywh[i + 3] * imgsz]);
    if (sizes.length >= ENOUGH) break;
  }
  try {
    const { anchors, meanIoU } = findAnchors(sizes, { seed: settings.seed });
    return { anchors, news: `anchors of ${sizes.length} boxes: ${anchors.map((head) => head.map((box) => box.join("x")).join(" ")).join(", ")} pixels; mean IoU ${meanIoU.toFixed(3)}` };
  } catch (error) {
    throw new UserError(`train: ${(error as Error).message}: give anchors=coco`, { cause: error });
  }
}
