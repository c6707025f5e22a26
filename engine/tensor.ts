/** Real numbers in linear memory, with the op that made them. */
import { host, type Host } from "./host.ts";
import { endOf, FOREVER, type Life } from "./memory.ts";
import type { Node } from "./op.ts";
import { sizeOf, show, type Shape } from "./shape.ts";

export type RealArray = Float32Array | Float64Array;

export class Tensor {
  /** How many tensors there have been; with `serial` it tells what was made since. */
  static made = 0;
  readonly serial = Tensor.made++;
  readonly size: number;
  /** The op and inputs that made this, while a gradient may be asked for. */
  node: Node | undefined;
  private gathered: Tensor | undefined;

  constructor(readonly shape: Shape, readonly ptr: number, readonly life: Life, readonly home: Host, public requiresGrad = false) {
    this.size = sizeOf(shape);
  }

  /** The gradient of the last `backward`, for tensors made with `requiresGrad`. */
  get grad(): Tensor | undefined { return this.gathered; }

  /** Takes one more part of the gradient; `first` says that a new pass begins. */
  accumulate(part: Tensor, first: boolean): void {
    const { kernels } = this.home;
    if (first) {
      this.gathered = empty(this.shape);
      kernels.f32_copy(this.size, part.ptr, this.gathered.ptr);
    } else kernels.f32_axpy(this.size, part.ptr, this.gathered!.ptr, 1);
  }

  /** A view of the values, row-major. Ask each time: it goes empty when the memory grows. */
  get data(): RealArray {
    this.expectAlive();
    const { memory, bytes } = this.home;
    return bytes === 8 ? new Float64Array(memory.wasm.buffer, this.ptr, this.size) : new Float32Array(memory.wasm.buffer, this.ptr, this.size);
  }

  /** The only value of a tensor of one element. */
  item(): number {
    if (this.size !== 1) throw new Error(`item: expected one element, got shape ${show(this.shape)}`);
    return this.data[0];
  }

  expectAlive(): void {
    if (this.life.ended) throw new Error(`tensor ${show(this.shape)}: ${endOf(this.life, "its")}`);
  }
}

/** An uninitialised tensor of the innermost scope. */
export function empty(shape: Shape): Tensor {
  const h = host(), { ptr, life } = h.memory.room(sizeOf(shape) * h.bytes);
  return new Tensor(shape, ptr, life, h);
}

/** Where an op writes the gradient of one of its inputs that is a weight: a parameter that has none yet takes it without copying it. */
export function gradientOf(weight: Tensor): Tensor { return weight instanceof Parameter ? weight.gradientToFill : empty(weight.shape); }

/** An uninitialised tensor of the op that runs now; its memory is gone when that op returns. */
export function scratch(shape: Shape): Tensor {
  const h = host();
  return new Tensor(shape, h.memory.workspace(sizeOf(shape) * h.bytes), h.memory.life, h);
}

export function zeros(shape: Shape): Tensor { return full(shape, 0); }

export function full(shape: Shape, value: number): Tensor {
  const x = empty(shape);
  x.home.kernels.f32_fill(x.size, x.ptr, value);
  return x;
}

/** A tensor of the innermost scope with the given values, row-major. */
export function tensor(values: ArrayLike<number>, shape: Shape = [values.length], { requiresGrad = false } = {}): Tensor {
  if (values.length !== sizeOf(shape)) throw new Error(`tensor: shape ${show(shape)} holds ${sizeOf(shape)} values, got ${values.length}`);
  const x = empty(shape);
  x.data.set(values);
  x.requiresGrad = requiresGrad;
  return x;
}

/** What a parameter is to the optimiser: weights decay, biases warm up from a higher rate, norms do neither. */
export type Role = "weight" | "bias" | "norm";

/**
 * A tensor that is trained. It lives until the program ends, and so does its gradient, which adds up over calls of
 * `backward` until an optimiser has used it.
 */
export class Parameter extends Tensor {
  private gradient: Tensor | undefined;
  private filled = false;
  /** Whether an op writes the first gradient in place now. */
  private lent = false;

  constructor(shape: Shape, readonly role: Role = "weight", values?: ArrayLike<number>) {
    const h = host();
    super(shape, h.memory.persistent(sizeOf(shape) * h.bytes), FOREVER, h, true);
    if (values) this.data.set(values); else h.kernels.f32_fill(this.size, this.ptr, 0);
  }

  override get grad(): Tensor | undefined { return this.filled ? this.gradient : undefined; }

  override accumulate(part: Tensor): void {
    const { kernels } = this.home, { ptr } = this.ownGradient();
    if (this.filled) kernels.f32_axpy(this.size, part.ptr, ptr, 1);
    else if (part.ptr !== ptr) kernels.f32_copy(this.size, part.ptr, ptr);
    this.filled = true;
    this.lent = false;
  }

  /** Where an op may write a gradient that it hands to `accumulate` next: the parameter's own memory as long as nothing has gathered there. */
  get gradientToFill(): Tensor {
    if (this.filled || this.lent) return empty(this.shape);
    this.lent = true;
    return this.ownGradient();
  }

  private ownGradient(): Tensor {
    const { memory, bytes } = this.home;
    return (this.gradient ??= new Tensor(this.shape, memory.persistent(this.size * bytes), FOREVER, this.home));
  }

  /** Forgets the gradient; the next `accumulate` starts anew. */
  clearGradient(): void { this.filled = this.lent = false; }
}
