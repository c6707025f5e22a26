/** Detectors, their losses and their metrics. */
export { SpikeYOLO, spikeYOLO, type DetectorInput, type SpikeYOLOConfig, type SpikeYOLOSize } from "./spikeyolo.ts";
export { type HeadName, type PyramidConfig } from "./pyramid.ts";
export { SpikingYOLOv8, spikingYOLOv8, type SpikingYOLOv8Config, type SpikingYOLOv8Size } from "./spiking-yolov8.ts";
export { ablations, timesteps, type Ablation, type AblationName } from "./ablations.ts";
export { SNNYOLOv3, snnYOLOv3, type SNNYOLOv3Config } from "./snn-yolov3.ts";
export { type Detector } from "./detector.ts";
export { families, familyOf, networks, newDetector, titleOf, type DetectorRecord, type Family, type FamilyName, type NetworkName, type SNNYOLOv3Record, type SpikeYOLORecord } from "./families.ts";
export { cocoAnchors, decodeAnchors, scoredBoxes, type AnchorBox, type AnchorPrediction } from "./anchor-head.ts";
export { expectAnchors, findAnchors, type Anchors, type AnchorSearch, type FoundAnchors } from "./anchors.ts";
export { anchorGains, anchorLoss, assignAnchors, type AnchorAssignment, type AnchorLoss, type AnchorLossOptions } from "./anchor-loss.ts";
export { DarknetError, loadDarknet, readDarknetConfig, readDarknetHeader, type DarknetCell, type DarknetConfig, type DarknetHeader, type DarknetLayer, type DarknetLoadOptions, type DarknetShape } from "./darknet.ts";
export { darknetCells } from "./snn-yolov3-weights.ts";
export { type Prediction } from "./head.ts";
export { detectionLoss, lossGains, type BoxTargets, type DetectionLoss, type LossGains } from "./loss.ts";
export { nonMaxSuppression, predictionNms, validationNms, type Detection, type NmsOptions } from "./nms.ts";
export { DetectionMetrics, fitness, type DetectionScores, type Truth } from "./metrics.ts";
export { cocoMetrics, cocoSet, ConfusionMatrix, gen1Metrics, gen1Rules, vocMetrics, vocRules, type CocoScores, type DetectionCurves, type Gen1Scores, type VocScores } from "./metrics.ts";
export { accumulations, type Accumulations } from "./accumulations.ts";
export { energy, energyConventions, joulesAt, printedComparison, printedJoules, type EnergyConvention, type EnergyLayer, type EnergyReport } from "./energy.ts";
export { macsOf, profile, type LayerProfile, type Profile, type ProfileOptions } from "./profile.ts";
export { expectRoom, largestBatch, OverLimitError, planTraining, showPlan, type MemoryPlan, type PlannedTraining } from "./plan.ts";
export { loadReference, referenceState, tellsClasses, toReference } from "./weights.ts";
export { configIn, metadataOf, neuronOf, numbersIn, readForeign, sizeIn, type ForeignMetadata, type ForeignWeights, type NeuronKind } from "./foreign.ts";
export { countDifferences, foldFor, kernelList, picojoules, predict, type Folding, type InferenceForm, type KernelRow, type PredictOptions } from "./predictor.ts";
export {
  expectResumable, FiringRate, NonFiniteLoss, savedProgress, train, truthsOf, validate, type EndEvent, type EpochEvent, type LossParts, type SavedProgress, type StepEvent, type Store,
  type TrainEvent, type TrainingBatch, type TrainingData, type TrainOptions, type TrainRecipe,
} from "./trainer.ts";
