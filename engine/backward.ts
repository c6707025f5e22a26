/**
 * Reverse-mode differentiation: every node hands its output's gradient back to its inputs, latest node first.
 * This file knows no op by name.
 */
import { afterwards, mayLeave, wholly } from "./behind.ts";
import { host } from "./host.ts";
import { lastReads, lean, present } from "./lean.ts";
import { Block } from "./memory.ts";
import { recompute, withRecording, type Inputs, type Node, type Value } from "./op.ts";
import { show } from "./shape.ts";
import { empty, full, Tensor } from "./tensor.ts";

/**
 * Gradients of the sum over roots of <seed, root> (seed 1 for a scalar root), with respect to every tensor made with `requiresGrad`.
 * Parameters add to what they have gathered; other tensors get `grad` anew. What stretches of the forward pass kept (lean.ts) is freed on the way.
 */
export function backward(roots: Tensor | readonly Tensor[], seeds?: readonly Tensor[]): void {
  const all = roots instanceof Tensor ? [roots] : roots;
  withRecording(false, () => {
    const gradients = new Gradients();
    all.forEach((root, i) => {
      if (!seeds && root.size !== 1) throw new Error(`backward: a root of shape ${show(root.shape)} needs a seed; only a scalar starts from 1`);
      const seed = seeds ? seeds[i] : full(root.shape, 1);
      gradients.hold(seed); // for good: the caller's seed is not ours to reuse
      gradients.add(root, seed);
    });
    wholly(() => walk(latestFirst(all), gradients));
  });
}

/** Hands gradients through nodes, and what only they read back to the memory; what they were `given` from outside may have other readers. */
function walk(nodes: readonly Node[], gradients: Gradients, given: Inputs = []): void {
  const { memory } = host(), after = lastReads(nodes, given);
  nodes.forEach((node, i) => {
    const dy = gradients.take(node.output);
    if (dy && node.redo) redo(node.redo, node.inputs, dy, gradients);
    else if (dy) distribute(node, dy, gradients);
    if (after[i].length) afterwards(() => { for (const block of after[i]) memory.free(block); });
  });
}

/** Goes through what a checkpoint ran, once it has run again. */
function redo(run: () => Value, given: Inputs, dy: Tensor, gradients: Gradients): void {
  const { result, since } = recompute(() => lean(run)), { life } = result;
  if (life instanceof Block) life.given = false;
  gradients.add(result, dy);
  gradients.release(dy);
  walk(latestFirst([result], since), gradients, given);
  if (life instanceof Block) afterwards(() => host().memory.free(life));
}

function distribute(node: Node, dy: Tensor, gradients: Gradients): void {
  const { spec, inputs, attributes, saved, output } = node, { memory, bytes } = host();
  const needs = inputs.map((input) => input?.requiresGrad === true), seen = present(node);
  const compute = (): readonly (Tensor | undefined)[] => spec.backward(dy, seen.inputs, { output, attributes, saved, needs });
  const { result: { result: results, left }, free } = memory.withLastingWorkspace(() => (spec.leavesBehind ? mayLeave(bytesOf([dy, ...seen.inputs]), compute) : { result: compute(), left: false }));
  for (const gradient of results) if (gradient) gradients.hold(gradient);
  results.forEach((gradient, i) => {
    if (!gradient) return;
    const input = needs[i] ? inputs[i] : undefined;
    if (input && gradient.size !== input.size) {
      throw new Error(`${spec.name}: gradient of input ${i} has shape ${show(gradient.shape)}, its input ${show(input.shape)}`);
    }
    const hand = (): void => {
      if (input) gradients.add(input, gradient);
      gradients.release(gradient);
    };
    if (input && !input.node) afterwards(hand); else hand();
  });
  const tidy = (): void => {
    free();
    for (const { ptr, size } of seen.made) memory.recycle(ptr, size * bytes);
    gradients.release(dy);
  };
  if (left) afterwards(tidy); else tidy();
}

/** What they take in memory: a byte for each spike. */
const bytesOf = (values: Inputs): number => values.reduce((sum, value) => sum + (value ? value.size * (value instanceof Tensor ? host().bytes : 1) : 0), 0);

/** Every node that the roots came from, those before `since` left out, in the reverse of the order in which they ran. */
function latestFirst(roots: readonly Value[], since = 0): Node[] {
  const found = new Set<Node>();
  const waiting = roots.map((root) => root.node);
  for (let node = waiting.pop(); waiting.length || node; node = waiting.pop()) {
    if (!node || node.order < since || found.has(node)) continue;
    found.add(node);
    for (const input of node.inputs) if (input?.node) waiting.push(input.node);
  }
  return [...found].sort((a, b) => b.order - a.order);
}

/**
 * Gradients that wait for their node. Several inputs may be handed one and the same tensor (the gradient of x + y is dz, twice),
 * so blocks are counted, and go back to the memory when nobody waits for them any more.
 */
class Gradients {
  private readonly waiting = new Map<Value, Tensor>();
  private readonly holders = new Map<number, number>();
  private readonly delivered = new Set<Tensor>();
  /** Where parameters keep what they were given in place. */
  private readonly taken = new Set<number>();
  private readonly begin = Tensor.made;

  add(to: Value, gradient: Tensor): void {
    if (!to.node) { this.deliver(to as Tensor, gradient); return; }
    const before = this.waiting.get(to);
    const next = before ? this.sum(before, gradient) : gradient;
    this.hold(next);
    this.waiting.set(to, next);
    if (before) this.release(before);
  }

  /** The gradient that has gathered at a value. The taker releases it. */
  take(value: Value): Tensor | undefined {
    const gradient = this.waiting.get(value);
    this.waiting.delete(value);
    return gradient;
  }

  hold({ ptr }: Tensor): void { this.holders.set(ptr, (this.holders.get(ptr) ?? 0) + 1); }

  /** One holder less; the last one returns the block, if this pass made it. */
  release(gradient: Tensor): void {
    const left = this.holders.get(gradient.ptr)! - 1;
    if (left > 0) { this.holders.set(gradient.ptr, left); return; }
    this.holders.delete(gradient.ptr);
    const { memory, bytes } = host();
    if (gradient.serial >= this.begin && gradient.life === memory.life && !this.taken.has(gradient.ptr)) memory.recycle(gradient.ptr, gradient.size * bytes);
  }

  /** Leaves keep what they are given: parameters over several passes, other tensors over this one. */
  private deliver(leaf: Tensor, gradient: Tensor): void {
    leaf.accumulate(gradient, !this.delivered.has(leaf));
    if (leaf.grad!.ptr === gradient.ptr) this.taken.add(gradient.ptr);
    this.delivered.add(leaf);
  }

  private sum(a: Tensor, b: Tensor): Tensor {
    const z = empty(a.shape);
    host().kernels.f32_add(z.size, a.ptr, b.ptr, z.ptr);
    return z;
  }
}
