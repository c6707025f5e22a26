/** What a file of PyTorch finds in a drawn picture, wherever it is read: Node's record, for Node and the browser. */
import { configIn, loadReference, numbersIn, predict, readForeign, SpikeYOLO } from "../../detection/index.ts";
import { loadKernels, withHost } from "../../engine/index.ts";
import { Random } from "../../engine/random.ts";

/** [form, class, score, x1, y1, x2, y2] of the best of each form. */
export type Found = readonly (readonly [form: string, ...numbers: number[]])[];

/** Loads weights and looks at one picture of coloured noise, in all three forms, in strict arithmetic: the same bits everywhere. */
export async function detections(file: Uint8Array, options: Parameters<typeof loadKernels>[0] = { arithmetic: "strict", threads: 1 }, seed = 5): Promise<Found> {
  return withHost(await loadKernels(options), () => {
    const weights = readForeign(file), model = new SpikeYOLO(configIn(weights)), random = new Random(seed);
    loadReference(model, numbersIn(weights.tensors));
    const images = { shape: [1, 64, 64, 3], data: Float32Array.from({ length: 64 * 64 * 3 }, () => random.uniform()) };
    return (["real", "integer", "binary"] as const).flatMap((form) => {
      const [found] = predict(model, images, { form, nms: { confidence: 0.001, iou: 0.5, multiLabel: false, maxDetections: 4 } });
      return found.slice(0, 4).map((box) => [form, box.class, box.score, box.x1, box.y1, box.x2, box.y2] as const);
    });
  });
}

export const FOUND: Found = [
  ["real", 1, 0.532181978225708, -164.55694580078125, -232.154541015625, 241.36956787109375, 194.59323120117188],
  ["real", 0, 0.4059785306453705, -45.00106620788574, -17.01508331298828, 67.36506843566895, 90.5868911743164],
  ["real", 2, 0.37410447001457214, -46.476470947265625, -51.5775146484375, 183.803466796875, 174.74758911132812],
  ["real", 0, 0.3319854736328125, -256.8241271972656, -240.79273223876953, 213.87570190429688, 239.96092987060547],
  ["integer", 1, 0.532181978225708, -164.55694580078125, -232.154541015625, 241.36956787109375, 194.59323120117188],
  ["integer", 0, 0.4059785306453705, -45.00106620788574, -17.01508331298828, 67.36506843566895, 90.5868911743164],
  ["integer", 2, 0.37410447001457214, -46.476470947265625, -51.5775146484375, 183.803466796875, 174.74758911132812],
  ["integer", 0, 0.3319854736328125, -256.8241271972656, -240.79273223876953, 213.87570190429688, 239.96092987060547],
  ["binary", 1, 0.532181978225708, -164.55694580078125, -232.154541015625, 241.36956787109375, 194.59323120117188],
  ["binary", 0, 0.4059785306453705, -45.00106620788574, -17.01508331298828, 67.36506843566895, 90.5868911743164],
  ["binary", 2, 0.37410447001457214, -46.476470947265625, -51.5775146484375, 183.803466796875, 174.74758911132812],
  ["binary", 0, 0.3319854736328125, -256.8241271972656, -240.79273223876953, 213.87570190429688, 239.96092987060547],
];
