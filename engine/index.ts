/** Tensors, spikes, and gradients back through them. */
export { host, loadKernels, retrying, withHost, type Host } from "./host.ts";
export { WorkerLostError } from "../kernels/pool.ts";
export { OutOfMemoryError, type Memory } from "./memory.ts";
export { empty, full, Parameter, tensor, Tensor, zeros, type RealArray, type Role } from "./tensor.ts";
export { Spikes, type EventLists, type SpikeStatistics } from "./spikes.ts";
export { defineOp, isRecording, noGrad, scope, type Op, type OpSpec, type Value } from "./op.ts";
export { backward } from "./backward.ts";
export { gradcheck, type CheckedInput, type GradcheckOptions } from "./gradcheck.ts";
export { Random } from "./random.ts";
export { lastAxis, show, sizeOf, type Shape } from "./shape.ts";
export { add, mul, scale, sigmoid, sub, sum, sumOfSquares } from "./ops/elementwise.ts";
export { channels, concat, concatRows, gatherRows, meanOverTime, repeatOverTime, reshape, valuesOf } from "./ops/layout.ts";
export { batchNorm, batchStatistics, mulRow, type Statistics } from "./ops/norm.ts";
export { conv2d, withSpikePath, type Algorithm, type ConvAttributes, type SpikePath } from "./ops/conv.ts";
export { linear, matmul } from "./ops/matmul.ts";
export { maxPool2d, padWith, upsampleNearest } from "./ops/pool.ts";
export { fire, spikesOf, type BinaryNeuron, type IntegerNeuron, type Neuron, type Surrogate } from "./ops/neuron.ts";
export { bceWithLogits, ciou, distributionFocal, expectation, softmax } from "./ops/loss.ts";
