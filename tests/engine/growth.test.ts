/** Memory that moves at every allocation: a view that somebody kept across one is empty, and what it should have given is missing. */
import { expect, test } from "vitest";
import { backward, loadKernels, noGrad, scope, withHost, type Host } from "../../engine/index.ts";
import { Memory } from "../../engine/memory.ts";
import { countDifferences, detectionLoss, predict, SpikeYOLO, spikeYOLO, type Detection } from "../../detection/index.ts";

/** Growing by nothing detaches every view of an unshared memory, as growing does. */
class RestlessMemory extends Memory {
  override allocate(bytes: number): number { return this.moved(super.allocate(bytes)); }
  override persistent(bytes: number): number { return this.moved(super.persistent(bytes)); }
  override workspace(bytes: number): number { return this.moved(super.workspace(bytes)); }
  private moved(pointer: number): number { this.wasm.grow(0); return pointer; }
}

const images = { shape: [2, 64, 64, 3], data: Float32Array.from({ length: 2 * 64 * 64 * 3 }, (_, i) => ((i * 2654435761) >>> 8) / 16777216) };
const boxes = { image: Int32Array.from([0, 1]), class: Int32Array.from([0, 1]), xywh: Float32Array.from([0.5, 0.5, 0.4, 0.4, 0.6, 0.6, 0.5, 0.3]) };

interface Run { loss: number; gradients: number[][]; decoded: number[]; detections: Detection[][][] }

/** A training step, a decoded prediction without recording, and detections in every form. */
const run = (host: Host): Run => withHost(host, () => {
  const model = new SpikeYOLO({ ...spikeYOLO.tiny, classes: 2 });
  const loss = scope(() => {
    const { total } = detectionLoss(model.forward(images), boxes);
    backward(total);
    return total.item();
  });
  const gradients = model.parameters().map((parameter) => Array.from(parameter.grad?.data ?? []));
  model.eval();
  const decoded = scope(() => noGrad(() => Array.from(model.detect(images).data)));
  const detections = (["real", "integer", "binary"] as const).map((form) => predict(model, images, { form, nms: { confidence: 0, iou: 0.5, multiLabel: false, maxDetections: 20 } }));
  return { loss, gradients, decoded, detections };
});

test.each(["simd", "reference"] as const)("a training step and a prediction are the same when the %s build's memory moves at every allocation", async (build) => {
  const calm = await loadKernels({ build, threads: 1 }), other = await loadKernels({ build, threads: 1 });
  const restless: Host = { ...other, memory: new RestlessMemory(other.memory.wasm) };
  const want = run(calm), got = run(restless);
  expect(Number.isFinite(want.loss)).toBe(true);
  expect(got.loss).toBe(want.loss);
  got.gradients.forEach((gradient, i) => expect(gradient).toEqual(want.gradients[i]));
  expect(got.decoded).toEqual(want.decoded);
  expect(want.detections.flat(2).length).toBeGreaterThan(0);
  got.detections.flat().forEach((found, i) => expect(countDifferences(found, want.detections.flat()[i])).toBe(0));
}, 60_000);
