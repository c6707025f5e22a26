/** A slow average of a module, smoother than the module of any one step. */
import { withHost, type Tensor } from "../engine/index.ts";
import { exp } from "../kernels/elementary.ts";
import { restoreTensors, tensorsOf, type NamedTensors } from "./checkpoint.ts";
import { Buffer, type Module } from "./module.ts";

export interface EMAOptions {
  readonly decay?: number;
  /** Updates after which the decay has come to 63 % of its final value. */
  readonly tau?: number;
}

/** average = d*average + (1-d)*w      d = decay * (1 - exp(-updates/tau)),  over every parameter and buffer */
export class EMA {
  /** How often `update` ran. */
  updates = 0;
  readonly decay: number;
  readonly tau: number;
  private readonly names: ReadonlyMap<string, Tensor>;
  /** One average for each tensor, also for one that two parts share. */
  private readonly averages = new Map<Tensor, Buffer>();
  private swapped = false;

  /** Starts from the module's values. */
  constructor(module: Module, { decay = 0.9999, tau = 2000 }: EMAOptions = {}) {
    if (!(decay >= 0 && decay <= 1)) throw new Error(`ema: decay is ${decay}, expected 0 to 1`);
    if (!(tau > 0)) throw new Error(`ema: tau is ${tau}, expected a number above 0`);
    this.decay = decay;
    this.tau = tau;
    this.names = tensorsOf(module);
    for (const source of new Set(this.names.values())) {
      const average = withHost(source.home, () => new Buffer(source.shape));
      average.data.set(source.data);
      this.averages.set(source, average);
    }
  }

  /** Takes in the module's values of now. Call it after each step of the optimiser. */
  update(): void {
    this.expectHome("update");
    this.updates++;
    const d = this.decay * (1 - exp(-this.updates / this.tau));
    for (const [source, average] of this.averages) source.home.kernels.f32_ema(source.size, source.ptr, average.ptr, d);
  }

  /** Runs with the averages in the module, which should be in eval mode. They leave it when `run` is done, throws, or its promise settles. */
  within<R>(run: () => R): R {
    this.expectHome("within");
    this.swap();
    let result: R;
    try {
      result = run();
    } catch (error) {
      this.swap();
      throw error;
    }
    if (isPromise(result)) return Promise.resolve(result).finally(() => this.swap()) as R;
    this.swap();
    return result;
  }

  /** The averages by the names of the module's tensors: live, to be saved together with `updates` before the next one. */
  state(): { updates: number; tensors: NamedTensors } {
    this.expectHome("state");
    return { updates: this.updates, tensors: this.byName() };
  }

  /** Goes on from a saved state. */
  load({ updates, tensors }: { updates: number; tensors: NamedTensors }): void {
    this.expectHome("load");
    if (!Number.isSafeInteger(updates) || updates < 0) throw new Error(`ema: updates is ${updates}, expected an integer from 0 up`);
    restoreTensors("ema", this.byName(), tensors);
    this.updates = updates;
  }

  private byName(): Map<string, Buffer> {
    return new Map([...this.names].map(([name, source]) => [name, this.averages.get(source)!]));
  }

  private swap(): void {
    this.swapped = !this.swapped;
    for (const [source, average] of this.averages) {
      const values = source.data.slice();
      source.data.set(average.data);
      average.data.set(values);
    }
  }

  private expectHome(call: string): void {
    if (this.swapped) throw new Error(`ema: ${call}() while the averages are in the module; wait until within() is done`);
  }
}

const isPromise = (value: unknown): value is PromiseLike<unknown> => typeof (value as PromiseLike<unknown> | undefined)?.then === "function";
