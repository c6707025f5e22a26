/** The spikes that the convolutions of a trained network meet on its own validation pictures. */
import { inOrder, openSplit } from "../../cli/data.ts";
import { modelOf, readRun } from "../../cli/saved-run.ts";
import { UserError } from "../../cli/user-error.ts";
import { loadKernels, noGrad, scope, Spikes } from "../../engine/index.ts";
import { observeConvolutions } from "../../nn/index.ts";
import type { Layer } from "./layer.ts";

export interface Recorded { readonly name: string; readonly layer: Layer; readonly bytes: Uint8Array; readonly D: number }
export interface Recording { readonly of: string; readonly layers: readonly Recorded[] }

/** One batch of pictures through the network in eval mode; of every convolution that is not depthwise and reads spikes, the layer and the bytes. */
export async function record(run: string, pictures: number): Promise<Recording> {
  const saved = await readRun(run, "best"), settings = { ...saved.options, batch: pictures };
  const { stop } = await loadKernels({ arithmetic: settings.arithmetic });
  try {
    const set = await openSplit(settings, "val", { classes: saved.classes });
    for await (const { images } of inOrder(set, settings)) {
      const model = modelOf(saved), names = new Map(model.namedModules().map(([name, module]) => [module, name] as const)), layers: Recorded[] = [];
      model.eval();
      scope(() => noGrad(() => observeConvolutions((conv, x, y) => {
        const { stride, padding, dilation, groups } = conv.attributes, [B, H, W, C] = x.shape;
        if (!(x instanceof Spikes) || groups > 1 || dilation > 1) return;
        const ran = conv.kernel === 1 && y.shape[1] > H ? 1 : padding; // a norm that was folded in may pad
        layers.push({ name: names.get(conv) ?? "?", layer: { B, H, W, C, N: conv.outChannels, k: conv.kernel, stride, padding: ran }, bytes: x.values(), D: x.D });
      }, () => { model.forward(images); })));
      const { model: size, T, D } = settings, [B, H, W] = images.shape;
      return { of: `SpikeYOLO ${size}, T ${T} x D ${D}, on ${B} of ${set.name}, ${W} x ${H}`, layers };
    }
    throw new UserError(`sparsity: ${set.name} has no pictures to record spikes of`);
  } finally {
    await stop();
  }
}
