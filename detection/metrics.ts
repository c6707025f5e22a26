/** Metrics by several protocols. They differ in the third digit or the first, so every result says in `protocol` whose rules it follows. */
export * from "./metrics/ultralytics.ts";
export {
  COCO, cocoAreas, cocoMetrics, cocoMost, cocoRecalls, cocoThresholds,
  type CocoClass, type CocoCurves, type CocoDetections, type CocoFigures, type CocoScores, type CocoSet, type CocoTruths,
} from "./metrics/coco.ts";
export { cocoSet } from "./metrics/coco-json.ts";
export { vocMetrics, vocProtocol, vocRules, type VocClass, type VocMarks, type VocRule, type VocScores, type VocTruths } from "./metrics/voc.ts";
export { gen1Metrics, gen1Rules, type Gen1Boxes, type Gen1Detections, type Gen1Recording, type Gen1Rule, type Gen1Scores } from "./metrics/gen1.ts";
export { ConfusionMatrix, type ConfusionOptions } from "./metrics/confusion.ts";
export { type BoxColumns, type DetectionColumns } from "./metrics/columns.ts";
