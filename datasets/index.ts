/** Files, or nothing at all, -> pictures with boxes, in batches. */
export type { Batch, BoxColumns, DetectionSet, ObjectBox, Origin, Picture, Sample } from "./sample.ts";

export { voc, type VocFolder, type VocOptions, type VocSet } from "./voc.ts";
export { coco, cocoSplits, readInstances, readResults, type CocoAnnotations, type CocoCategory, type CocoFile, type CocoImage, type CocoInstances, type CocoOptions, type CocoResults, type CocoSet } from "./coco.ts";
export { parseDataYaml, yolo, type DataYaml, type YoloFile, type YoloOptions } from "./yolo-txt.ts";
export { gen1, gen1Splits, GEN1_CLASSES, GEN1_SENSOR, datHeader, encodeEvents, openEvents, readBoxes, writeBoxes, writeDat, type EventBox, type EventFile, type Events, type RecordedFile, type Recording, type RecordingSet } from "./gen1.ts";
export { pictures } from "./folder.ts";
export type { PictureSet } from "./picture-set.ts";
export { readNpy, readNpyTable, writeNpy, writeNpyTable, type NpyArray, type NpyTable } from "./npy.ts";
export { readNpz, type Npz } from "./npz.ts";
export { BrokenFile, type ByteSource } from "./file.ts";
export { shapes, type ShapesOptions } from "./shapes.ts";
export { eventScenes, writeEventScenes, type EventScenesOptions } from "./event-scenes.ts";
export { gen1Frames, type Gen1FramesOptions } from "./gen1-frames.ts";
export { recordingFrames, type RecordingFramesOptions } from "./recording-frames.ts";
export type { EventBatch, EventBatchOptions, EventOrigin, EventSample, EventSet } from "./event-set.ts";
export { eventFrames, eventLabels, frameProtocol, nameOf, offNetwork, onNetwork, protocolOf, type EventFrames, type FrameProtocol } from "./event-frames.ts";
export { checkable, look, shared, type Checkable, type Problem, type SetCheck } from "./check.ts";
export { batches, type Batched, type BatchOptions } from "./loader.ts";
export { augmentations, type Augment } from "./augment.ts";

export { BrokenImage, decodeImage, encodePng, type Decoder } from "./image.ts";
export { fit, letterbox, overlay, resize, toCanvas, toPicture, type Fit, type FitOptions } from "./letterbox.ts";
export { colourOf, drawBoxes, fill, grid, label, rectangle, textHeight, textWidth, write, type Colour } from "./draw.ts";
