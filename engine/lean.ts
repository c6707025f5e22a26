/**
 * Who reads what, so that memory goes back as soon as nobody does.
 *
 *   forward    at the end of a stretch: all that was made in it but its result and what a gradient will read
 *   backward   as it walks: what no node that is still to come will read
 *
 * What a gradient reads is declared by each op (`reads`). Outputs of ops that are cheap (`again`: norms, padding, spikes as reals) are not kept but
 * made once more from what they came from, with the same bits.
 */
import { host } from "./host.ts";
import { Block, type Life } from "./memory.ts";
import { runAgain, Trace, tracing, type Inputs, type Node, type Value } from "./op.ts";
import { Spikes } from "./spikes.ts";
import { empty, Tensor } from "./tensor.ts";

/** A stretch of the forward pass whose blocks are watched. */
interface Stretch { readonly trace: Trace; readonly blocks: Map<number, Block> }

/** The open stretches by the scope that they stand in. */
const open = new WeakMap<Life, Stretch>();

/** How outputs of convolutions are kept for gradients. */
export type Kept = "f32" | "f16";
let kind: Kept = "f32";
export const keptAs = (): Kept => kind;

/**
 * Keeps outputs of convolutions in lean stretches as sixteen-bit floats: half the memory, gradients with errors of some 1e-3. The forward pass has the
 * same bits.
 */
export function keepingAs<R>(kept: Kept, run: () => R): R {
  const before = kind;
  kind = kept;
  try { return run(); } finally { kind = before; }
}

let keepsAll = false;

/** Runs with every stretch keeping all that it makes until its scope ends, to be looked at. */
export function keepAll<R>(run: () => R): R {
  const before = keepsAll;
  keepsAll = true;
  try { return run(); } finally { keepsAll = before; }
}

/**
 * Runs a stretch of the forward pass and keeps of it only its result and what gradients will read. Other values of it cannot be read afterwards.
 * `backward` frees what it kept, so it goes once over such a graph.
 */
export function lean<R>(run: () => R): R { return stretch(run).result; }

/** The same, and what ran inside. With `keeping` "nothing", gradients are left with nothing to read. */
export function stretch<R>(run: () => R, keeping: "gradients" | "nothing" = "gradients"): { result: R; trace: Trace } {
  if (keepsAll && keeping === "gradients") return { result: run(), trace: new Trace() };
  const { memory } = host(), { life } = memory, outer = open.get(life);
  const mine: Stretch = { trace: new Trace(), blocks: new Map() };
  open.set(life, mine);
  memory.watch(mine.blocks);
  let result: R;
  try {
    result = tracing(mine.trace, run);
  } finally {
    if (outer) open.set(life, outer); else open.delete(life);
    memory.watch(outer?.blocks);
    if (outer) for (const [pointer, block] of mine.blocks) outer.blocks.set(pointer, block);
  }
  const given = new Set(livesIn(result)), kept = new Set(given);
  if (keeping === "gradients") for (const node of mine.trace.nodes) eachLifeReadBy(node, (life) => kept.add(life));
  for (const [pointer, block] of mine.blocks) {
    if (!kept.has(block)) { outer?.blocks.delete(pointer); memory.free(block); }
    else if (!outer && given.has(block)) block.given = true;
  }
  if (keeping === "gradients" && kind === "f16") halve(mine, given, outer);
  if (outer) {
    if (keeping === "gradients") outer.trace.nodes.push(...mine.trace.nodes);
    for (const input of mine.trace.inputs) outer.trace.inputs.add(input);
  }
  return { result, trace: mine.trace };
}

/** Outputs that may be halved, and that nobody but gradients will read any more, as sixteen-bit floats. */
function halve({ trace, blocks }: Stretch, given: ReadonlySet<Life>, outer: Stretch | undefined): void {
  const { memory, kernels } = host(), whole = new Set(trace.nodes.flatMap((node) => (node.redo ? livesIn(node.saved) : [])));
  for (const { spec, output } of trace.nodes) {
    const { life } = output;
    if (!spec.halvable || !(output instanceof Tensor) || !(life instanceof Block) || life.ended || given.has(life) || whole.has(life) || !blocks.has(life.pointer)) continue;
    const made = new Map<number, Block>(), before = memory.watch(made), { ptr } = memory.room(2 * output.size);
    memory.watch(before);
    life.half = made.get(ptr)!;
    kernels.f16_from_f32(output.size, output.ptr, ptr);
    outer?.blocks.delete(life.pointer);
    outer?.blocks.set(ptr, life.half);
    memory.free(life);
  }
}

/** Adds the lives of the tensors, spikes and rooms in a value, which may be a list or record of them. This runs for every node of every step. */
function livesIn(value: unknown, into: Life[] = []): Life[] {
  if (typeof value !== "object" || value === null) return into;
  if (value instanceof Tensor || value instanceof Spikes) into.push(value.life);
  else if (Array.isArray(value)) for (const item of value) livesIn(item, into);
  else if (Object.getPrototypeOf(value) === Object.prototype) {
    const { life } = value as { life?: Life };
    if (life) into.push(life); else for (const key in value) livesIn((value as Record<string, unknown>)[key], into);
  }
  return into;
}

/** What can go back to the memory after each of these nodes, in the order in which their gradients are taken; nothing of what they were given from outside. */
export function lastReads(nodes: readonly Node[], given: Inputs = []): Block[][] {
  const last = new Map<Block, number>(), theirs = new Set<Life>(livesIn(given));
  nodes.forEach((node, i) => eachLifeReadBy(node, (life) => { if (life instanceof Block && !life.given && !theirs.has(life)) last.set(life, i); }));
  const after: Block[][] = nodes.map(() => []);
  for (const [block, i] of last) after[i].push(block);
  return after;
}

/** Bytes that stand for the gradients of these roots, by the node that made them. */
export function bytesKeptBy(roots: readonly Value[]): Map<Node, number> {
  const nodes = new Set<Node>(), waiting = roots.map(({ node }) => node);
  for (let node = waiting.pop(); waiting.length || node; node = waiting.pop()) {
    if (!node || nodes.has(node)) continue;
    nodes.add(node);
    for (const input of node.inputs) waiting.push(input?.node);
  }
  const kept = new Set<Life>(), bytes = new Map<Node, number>();
  for (const node of nodes) eachLifeReadBy(node, (life) => kept.add(life));
  for (const node of [...nodes].sort((a, b) => a.order - b.order)) {
    const { life } = node.output, half = life instanceof Block && life.half;
    for (const life of [half || node.output.life, ...livesIn(node.attributes), ...livesIn(node.saved)]) {
      if (life instanceof Block && kept.delete(life)) bytes.set(node, (bytes.get(node) ?? 0) + life.bytes);
    }
  }
  return bytes;
}

/** The lives of what the gradient of a node reads, or is made from; of what was halved, also that of its half. */
function eachLifeReadBy(node: Node, see: (life: Life) => void): void {
  for (const life of (node.lives ??= livesReadBy(node))) {
    see(life);
    if (life instanceof Block && life.half) see(life.half);
  }
}

function livesReadBy({ spec: { reads }, inputs, attributes, saved, output }: Node): Life[] {
  const into: Life[] = [];
  inputs.forEach((input, i) => { if (!reads || reads.inputs?.includes(i)) origins(input, into); });
  if (!reads || reads.output) origins(output, into);
  livesIn(attributes, into);
  return livesIn(saved, into);
}

function origins(value: Value | undefined, into: Life[]): void {
  const node = value?.node;
  if (node?.spec.again) {
    for (const input of node.inputs) origins(input, into);
    livesIn(node.attributes, into);
    livesIn(node.saved, into);
  } else if (value) into.push(value.life);
}

/** No memory reaches so far: a kernel that is given this address stops. */
const NOWHERE = 2 ** 32 - 64;

/** The inputs of a node as its gradient may see them, and what was made for that: those that were not kept made again, or shapes without values. */
export function present({ spec: { reads }, inputs }: Node): { inputs: Inputs; made: readonly Tensor[] } {
  const made: Tensor[] = [];
  const seen = inputs.map((input, i) => {
    if (!input?.life.ended) return input;
    if (!reads || reads.inputs?.includes(i)) return remade(input, made);
    return input instanceof Tensor ? new Tensor(input.shape, NOWHERE, input.life, input.home) : new Spikes(input.shape, NOWHERE, input.D, input.life, input.home);
  });
  return { inputs: seen, made };
}

function remade(value: Value, made: Tensor[]): Value {
  const { node, life } = value;
  if (!life.ended) return value;
  if (life instanceof Block && life.half && node && !node.spec.again) {
    const x = empty(value.shape);
    x.node = node; // it is no leaf
    host().kernels.f16_to_f32(x.size, life.half.pointer, x.ptr);
    made.push(x);
    return x;
  }
  if (!node?.spec.again) return value;
  const before = made.length, again = runAgain(node, node.inputs.map((input) => input && remade(input, made)));
  again.node = node;
  // what stood between is not wanted any more, unless this is a view of it
  const { memory, bytes } = host(), views = made.slice(before).filter(({ ptr }) => ptr === again.ptr);
  for (const { ptr, size } of made.slice(before)) if (ptr !== again.ptr) memory.recycle(ptr, size * bytes);
  made.splice(before, Infinity, ...views);
  if (again instanceof Tensor && views.length === 0 && node.inputs.every((input) => input?.ptr !== again.ptr)) made.push(again);
  return again;
}
