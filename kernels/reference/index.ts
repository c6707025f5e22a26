/** The plain kernels: the definition of every name in signatures.ts, the test oracle, and the fallback where there is no SIMD. */
import type { RangeKernels } from "../signatures.ts";
import { conv } from "./conv.ts";
import { depthwise } from "./depthwise.ts";
import { dot } from "./dot.ts";
import { elementwise } from "./elementwise.ts";
import { fixed } from "./fixed.ts";
import { halves } from "./half.ts";
import { loss } from "./loss.ts";
import { machine } from "./machine.ts";
import { masked } from "./masked.ts";
import { neuron } from "./neuron.ts";
import { norm } from "./norm.ts";
import { optimizer } from "./optimizer.ts";
import { pool } from "./pool.ts";
import { rows } from "./rows.ts";
import { spike } from "./spike.ts";
import { spikeGrad } from "./spike-grad.ts";
import { spikeI16 } from "./spike-i16.ts";
import { winograd } from "./winograd.ts";

/** Every reference kernel on one memory, in float32 or (the twin that checks gradients) float64. */
export function referenceKernels(memory: WebAssembly.Memory, real: "f32" | "f64" = "f32"): RangeKernels {
  const m = machine(memory, real);
  return { ...elementwise(m), ...halves(m), ...conv(m), ...masked(m), ...winograd(m), ...depthwise(m), ...rows(m), ...norm(m), ...pool(m), ...neuron(m), ...spike(m), ...spikeGrad(m), ...spikeI16(m), ...fixed(m), ...dot(m), ...loss(m), ...optimizer(m) } as unknown as RangeKernels;
}
