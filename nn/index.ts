/** Layers, neurons, blocks, and what trains them. */
export { Buffer, Module } from "./module.ts";
export { BatchNorm2d, BatchNormPad, Conv2d, Linear, normed, observeConvolutions, perTimestep, type Conv2dOptions, type NormOptions } from "./layers.ts";
export { AllConvBlock, ConvBlock, DownSampling, SeparableConv, SpikingConv, type BlockOptions } from "./blocks.ts";
export { activating, type Activating, type Activation, type RealActivation } from "./activations.ts";
export { RepConv, SepRepConv, SpikingRepConv, SpikingSepRepConv, type Part } from "./chains.ts";
export { fold, foldedChains, foldingCosts, readByChains, unfold, type ChainSpikes, type Cost, type FoldingCost, type FoldOptions } from "./fold.ts";
export { measuredRates, milliseconds, type PartRates, type SpikeSums } from "./rates.ts";
export { ilif, ilifGen1, integrateAndFire, largestSpike, leaky, Neurons, parametricLeaky, type BinaryOptions, type LeakyOptions } from "./neurons.ts";
export * as surrogates from "./surrogates.ts";
export { NonFiniteGradient, SGD, type SGDOptions } from "./optimizers.ts";
export { referenceRecipe, schedule, snnYOLOv3Recipe, type Rates, type Recipe, type Schedule, type Settings } from "./schedules.ts";
export { EMA, type EMAOptions } from "./ema.ts";
export { loadCheckpoint, restore, saveCheckpoint, tensorsOf, WrongModelError, type Checkpoint, type NamedTensors } from "./checkpoint.ts";
export { Snapshot } from "./snapshot.ts";
export { FormatError, readSafetensors, writeSafetensors } from "./safetensors.ts";
