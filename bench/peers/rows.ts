/** What is compared: one entry per row. Weights are packed beforehand, as the peers pack theirs; a layout that an input must get first is inside. */
import { dense, depthwise, describe, describeDepthwise, sparse, type Shape } from "../convolutions.ts";
import type { Desk } from "../desk.ts";
import type { Pass } from "./problem.ts";

/** A convolution laid out on our desk: where its tensors stand, and how it runs. */
interface Laid {
  x: number; w: number; dy: number; y: number; dw: number; dx?: number;
  run(): void;
  /** Our own dense kernel on the same values, where `run` is another one. */
  dense?(): void;
}
export interface Row { name: string; pass: Pass; shape: Shape; groups: number; on(desk: Desk): Laid }

const SHAPE: Shape = { B: 1, S: 40, C: 256, N: 256, k: 3 }, POINTWISE: Shape = { ...SHAPE, N: 512, k: 1 }, LARGE: Shape = { ...SHAPE, k: 7 };

const denseRow = (shape: Shape, pass: Pass, run: "forward" | "inputGradient" | "weightGradient"): Row => ({
  name: `${describe(shape)}, ${pass}`, pass, shape, groups: 1,
  on: (desk) => {
    const laid = dense(desk, shape);
    return { ...laid, run: laid[run] };
  },
});

const depthwiseRow = (shape: Shape, pass: Pass, what: string, run: (laid: ReturnType<typeof depthwise>) => void): Row => ({
  name: `${describeDepthwise(shape)}, ${what}`, pass, shape, groups: shape.C,
  on: (desk) => {
    const laid = depthwise(desk, shape);
    return { ...laid, run: () => run(laid) };
  },
});

/** From the membrane current on: fire, lists and convolution on our side, the dense convolution of the same values on the others'. */
const sparseRow = (shape: Shape, density: number): Row => ({
  name: `${describe(shape)}, ${100 * density} % spikes, fire included`, pass: "forward", shape, groups: 1,
  on: (desk) => {
    const laid = sparse(desk, shape, density);
    return { ...laid, run: () => { laid.fire(); laid.forward(); }, dense: laid.reals.forward };
  },
});

export const ROWS: Row[] = [
  denseRow(SHAPE, "forward", "forward"),
  denseRow(SHAPE, "dX", "inputGradient"),
  denseRow(SHAPE, "dW", "weightGradient"),
  denseRow(POINTWISE, "forward", "forward"),
  depthwiseRow(SHAPE, "forward", "forward", (laid) => { laid.pack(); laid.forward(); }),
  depthwiseRow(SHAPE, "forward", "forward, input in planes", (laid) => laid.forward()),
  depthwiseRow(LARGE, "forward", "forward", (laid) => { laid.pack(); laid.forward(); }),
  depthwiseRow(LARGE, "forward", "forward, input in planes", (laid) => laid.forward()),
  depthwiseRow(LARGE, "dX and dW", "dX and dW", (laid) => { laid.packGradient(); laid.inputGradient(); laid.pack(); laid.weightGradient(); }),
  sparseRow(SHAPE, 0.1),
];
