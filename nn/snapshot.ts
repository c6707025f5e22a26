/** What a training step changes before the optimiser does. */
import type { Parameter, RealArray, Tensor } from "../engine/index.ts";
import type { Module } from "./module.ts";

/** Running statistics, and the gradients that have gathered: taken before a step, put back where the step broke off. */
export class Snapshot {
  private readonly buffers: readonly Tensor[];
  private readonly parameters: readonly Parameter[];
  private readonly gathered = new Set<Parameter>();
  /** Copies of buffers, and of the gradients of parameters. */
  private readonly copies = new Map<Tensor, RealArray>();

  constructor(module: Module) {
    this.buffers = module.namedBuffers().map(([, buffer]) => buffer);
    this.parameters = module.parameters();
  }

  take(): void {
    for (const buffer of this.buffers) this.keep(buffer, buffer.data);
    this.gathered.clear();
    for (const parameter of this.parameters) {
      if (!parameter.grad) continue;
      this.gathered.add(parameter);
      this.keep(parameter, parameter.grad.data);
    }
  }

  restore(): void {
    for (const buffer of this.buffers) buffer.data.set(this.copies.get(buffer)!);
    for (const parameter of this.parameters) {
      if (this.gathered.has(parameter)) parameter.grad!.data.set(this.copies.get(parameter)!);
      else parameter.clearGradient();
    }
  }

  private keep(of: Tensor, values: RealArray): void {
    const copy = this.copies.get(of);
    if (copy) copy.set(values); else this.copies.set(of, values.slice());
  }
}
