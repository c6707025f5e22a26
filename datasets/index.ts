/** Files, or nothing at all, -> pictures with boxes, in batches. */
export type { Batch, BoxColumns, DetectionSet, ObjectBox, Origin, Picture, Sample } from "./sample.ts";

export { voc, type VocFolder, type VocOptions, type VocSet } from "./voc.ts";
export { shapes, type ShapesOptions } from "./shapes.ts";
export { batches, type Batched, type BatchOptions } from "./loader.ts";
export { augmentations, type Augment } from "./augment.ts";

export { BrokenImage, decodeImage, encodePng, type Decoder } from "./image.ts";
export { fit, letterbox, overlay, resize, toCanvas, toPicture, type Fit, type FitOptions } from "./letterbox.ts";
export { colourOf, drawBoxes, fill, grid, label, rectangle, textHeight, textWidth, write, type Colour } from "./draw.ts";
