/** Files, or nothing at all, -> pictures with boxes, in batches. */
export type { Batch, BoxColumns, DetectionSet, ObjectBox, Origin, Picture, Sample } from "./sample.ts";

export { voc, type VocFolder, type VocOptions, type VocSet } from "./voc.ts";
export { shapes, type ShapesOptions } from "./shapes.ts";
export { eventScenes, writeEventScenes, type EventScenesOptions } from "./event-scenes.ts";
export { gen1Frames, type Gen1FramesOptions } from "./gen1-frames.ts";
export type { EventBatch, EventBatchOptions, EventSample, EventSet } from "./event-set.ts";
export { eventFrames, eventLabels, frameProtocol, type EventFrames, type FrameProtocol } from "./event-frames.ts";
export { checkable, look, shared, type Checkable, type Problem, type SetCheck } from "./check.ts";
export { batches, type Batched, type BatchOptions } from "./loader.ts";
export { augmentations, type Augment } from "./augment.ts";

export { BrokenImage, decodeImage, encodePng, type Decoder } from "./image.ts";
export { fit, letterbox, overlay, resize, toCanvas, toPicture, type Fit, type FitOptions } from "./letterbox.ts";
export { colourOf, drawBoxes, fill, grid, label, rectangle, textHeight, textWidth, write, type Colour } from "./draw.ts";
