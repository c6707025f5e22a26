/**
 * What an op is: a name, the shape it makes, what it must remember, how it runs, and how it gives gradients back.
 * This file knows no op by name.
 */
import { host } from "./host.ts";
import type { Kernels } from "../kernels/signatures.ts";
import type { Life } from "./memory.ts";
import { show, type Shape } from "./shape.ts";
import { emptySpikes, Spikes } from "./spikes.ts";
import { empty, Tensor } from "./tensor.ts";

export type Value = Tensor | Spikes;
export type Inputs = readonly (Value | undefined)[];

/** What `backward` may look at beside the inputs. */
export interface Passed<Output, Attributes, Saved> {
  readonly output: Output;
  readonly attributes: Attributes;
  readonly saved: Saved;
  /** Which inputs want a gradient; the others may be left undefined. */
  readonly needs: readonly boolean[];
}

export interface OpSpec<I extends Inputs, Attributes, Output extends Value, Saved> {
  readonly name: string;
  /** The output's shape. Refuses wrong inputs in one sentence. */
  shape(inputs: I, attributes: Attributes): Shape;
  /** Makes the output; without it, an uninitialised tensor of that shape. Views share their input's memory here. */
  output?(shape: Shape, inputs: I, attributes: Attributes): Output;
  /** What is kept for the gradient beside inputs and output; allocated before `forward` fills it. */
  saves?(inputs: I, attributes: Attributes, shape: Shape): Saved;
  forward(k: Kernels, inputs: I, output: Output, attributes: Attributes, saved: Saved): void;
  /** Whose values `backward` reads: inputs by number, and the output; without it, all of them. What nobody reads need not be kept (lean.ts). */
  readonly reads?: { readonly inputs?: readonly number[]; readonly output?: boolean };
  /** Cheap enough to run again where `backward` wants an output that was not kept. It saves nothing and changes nothing. */
  readonly again?: boolean;
  /** Its output may be kept for `backward` in sixteen bits where that is asked for (`keepingAs`). */
  readonly halvable?: boolean;
  /** Whether gradients of leaves may still be computed when this `backward` returns; they are there when the whole pass ends (behind.ts). */
  readonly leavesBehind?: boolean;
  /** One gradient per input, in order; undefined where there is none. */
  backward(dy: Tensor, inputs: I, passed: Passed<Output, Attributes, Saved>): readonly (Tensor | undefined)[];
}

/** One application of an op, as `backward` will find it. */
export interface Node {
  readonly spec: OpSpec<any, any, any, any>;
  readonly inputs: Inputs;
  readonly attributes: unknown;
  readonly saved: unknown;
  readonly output: Value;
  /** Later nodes have larger numbers. */
  readonly order: number;
  /** What its gradient reads, once somebody asked (lean.ts). */
  lives?: readonly Life[];
  /** Makes the output again with a graph of its own, through which the gradient goes (checkpointing.ts). */
  readonly redo?: () => Value;
}

type Arguments<I extends Inputs, Attributes> = Attributes extends undefined ? [...inputs: I] : [...inputs: I, attributes: Attributes];

/** An op as model code calls it: inputs in order, then its attributes if it has any. */
export interface Op<I extends Inputs, Attributes, Output extends Value, Saved> {
  (...args: Arguments<I, Attributes>): Output;
  readonly spec: OpSpec<I, Attributes, Output, Saved>;
}

export type Unary<Attributes = undefined> = Op<[x: Tensor], Attributes, Tensor, undefined>;
export type Binary<Attributes = undefined> = Op<[x: Tensor, y: Tensor], Attributes, Tensor, undefined>;

/** The one way to make an op. */
export function defineOp<I extends Inputs, Attributes = undefined, Output extends Value = Tensor, Saved = undefined>(
  spec: OpSpec<I, Attributes, Output, Saved>,
): Op<I, Attributes, Output, Saved> {
  const run = (...args: unknown[]): Output => {
    const last = args.at(-1);
    const hasAttributes = last !== undefined && !(last instanceof Tensor) && !(last instanceof Spikes);
    const inputs = (hasAttributes ? args.slice(0, -1) : args) as unknown as I;
    return apply(spec, inputs, (hasAttributes ? last : undefined) as Attributes);
  };
  return Object.assign(run as (...args: Arguments<I, Attributes>) => Output, { spec });
}

let order = 0;
let recording = true;
let trace: Trace | undefined;

/** What ran while somebody watched: nodes in their order, and everything that they were given. */
export class Trace {
  readonly nodes: Node[] = [];
  readonly inputs = new Set<Value>();
}

/** Runs and notes in `into` what is applied. */
export function tracing<R>(into: Trace, run: () => R): R {
  const before = trace;
  trace = into;
  try { return run(); } finally { trace = before; }
}

/** Whether ops remember how to give gradients back. */
export const isRecording = (): boolean => recording;

/** Runs without remembering anything for gradients. */
export function noGrad<R>(run: () => R): R { return withRecording(false, run); }

export function withRecording<R>(on: boolean, run: () => R): R {
  const before = recording;
  recording = on;
  try { return run(); } finally { recording = before; }
}

let recomputing = false;

/** Whether what runs now ran before, and is run again for its gradient: it must change nothing that it changed then. */
export const isRecomputing = (): boolean => recomputing;

/** Runs a part of the forward pass once more, with a graph; and the number that its first node has. */
export function recompute<R>(run: () => R): { result: R; since: number } {
  const before = recomputing, since = order;
  recomputing = true;
  try { return { result: withRecording(true, run), since }; } finally { recomputing = before; }
}

function apply<I extends Inputs, Attributes, Output extends Value, Saved>(spec: OpSpec<I, Attributes, Output, Saved>, inputs: I, attributes: Attributes): Output {
  const { kernels, memory } = host();
  for (const input of inputs) if (input) expectHere(spec.name, input);
  for (const key in attributes) {
    const value: unknown = attributes[key];
    if (value instanceof Tensor) expectHere(spec.name, value);
  }
  const shape = spec.shape(inputs, attributes);
  const output = spec.output?.(shape, inputs, attributes) ?? (empty(shape) as Output);
  const saved = spec.saves?.(inputs, attributes, shape) as Saved;
  memory.withWorkspace(() => spec.forward(kernels, inputs, output, attributes, saved));
  if (recording && inputs.some((input) => input?.requiresGrad)) record({ spec, inputs, attributes, saved, output });
  if (trace) for (const input of inputs) if (input) trace.inputs.add(input);
  return output;
}

/** Makes a value the output of a node. */
export function record({ spec, inputs, attributes, saved, output, redo }: Omit<Node, "order" | "lives">): void {
  const made: Node = { spec, inputs, attributes, saved, output, order: order++, lives: undefined, redo };
  made.output.requiresGrad = true;
  made.output.node = made;
  trace?.nodes.push(made);
}

/** The output of a node once more, from inputs with the values that it was given. */
export function runAgain({ spec, attributes, saved, output: { shape } }: Node, inputs: Inputs): Value {
  const { kernels, memory } = host(), output: Value = spec.output?.(shape, inputs, attributes) ?? empty(shape);
  memory.withWorkspace(() => spec.forward(kernels, inputs, output, attributes, saved));
  return output;
}

/** Refuses values whose scope has ended, and values of another memory. */
function expectHere(op: string, value: Value): void {
  value.expectAlive();
  if (value.home.memory !== host().memory) throw new Error(`${op}: ${show(value.shape)} lives in the memory of another host; compute inside withHost of its own, or copy its values here`);
}

/** Output of an op that fires: spikes with values up to D. */
export const spikesUpTo = (D: number) => (shape: Shape): Spikes => emptySpikes(shape, D);

/** Lifetime of everything that ops make inside: until `run` returns. Tensors in its result move to the enclosing scope. */
export function scope<R>(run: () => R): R {
  const { memory } = host();
  memory.enter();
  let result: R;
  try {
    result = run();
  } catch (error) {
    memory.leave();
    throw error;
  }
  const kept = new Map<Tensor, ArrayLike<number>>();
  collect(result, kept);
  memory.leave();
  if (result instanceof Promise) throw new Error("scope: the function must not be async; await outside, compute inside");
  if (!kept.size) return result;
  const moved = new Map([...kept].map(([x, values]) => {
    const y = empty(x.shape);
    y.data.set(values);
    return [x, y] as const;
  }));
  return replace(result, moved) as R;
}

function collect(value: unknown, into: Map<Tensor, ArrayLike<number>>): void {
  if (value instanceof Tensor) { if ((value.life.scope ?? value.life) === host().memory.life) into.set(value, value.data.slice()); }
  else if (Array.isArray(value)) for (const item of value) collect(item, into);
  else if (isRecord(value)) for (const item of Object.values(value)) collect(item, into);
}

function replace(value: unknown, moved: ReadonlyMap<Tensor, Tensor>): unknown {
  if (value instanceof Tensor) return moved.get(value) ?? value;
  if (Array.isArray(value)) return value.map((item) => replace(item, moved));
  if (isRecord(value)) return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, replace(item, moved)]));
  return value;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
