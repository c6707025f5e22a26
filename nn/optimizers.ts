/** Stochastic gradient descent as PyTorch does it: momentum without dampening, decay on weights only, the norm of all gradients clipped. */
import { Parameter, show, withHost, type RealArray, type Role } from "../engine/index.ts";
import { expectKnown, type NamedTensors } from "./checkpoint.ts";
import { Buffer } from "./module.ts";
import type { Rates } from "./schedules.ts";

export interface SGDOptions {
  readonly lr: number;
  readonly momentum?: number;
  readonly nesterov?: boolean;
  readonly weightDecay?: number;
  /** The roles of parameters that decay: weights, unless said otherwise; biases and norms do not. */
  readonly decaying?: readonly Role[];
}

/** A gradient holds NaN or an infinity. Nothing was changed; the gradients are still there to be looked at, or cleared. */
export class NonFiniteGradient extends Error {
  override readonly name = "NonFiniteGradient";
  constructor(readonly gradientNorm: number, readonly parameter: string, message: string) {
    super(message);
  }
}

type NamedParameter = readonly [name: string, parameter: Parameter];

interface Entry { readonly name: string; readonly parameter: Parameter; momentum?: Buffer }

/**
 * g = clip*dw + decay*w;   m = momentum*m + g;   w -= rate * (nesterov ? g + momentum*m : m)
 *
 * A step uses the parameters that have gathered a gradient since the last one, and clears it.
 */
export class SGD {
  /** Learning rates by role. Set them, and `momentum`, to follow a schedule. */
  rates: Rates;
  momentum: number;
  readonly nesterov: boolean;
  readonly weightDecay: number;
  readonly decaying: readonly Role[];
  private readonly entries: readonly Entry[];

  /** With `model.namedParameters()` state and errors speak of weights by name, with `model.parameters()` by number. */
  constructor(parameters: readonly (Parameter | NamedParameter)[], { lr, momentum = 0, nesterov = false, weightDecay = 0, decaying = ["weight"] }: SGDOptions) {
    for (const [name, x] of Object.entries({ lr, momentum, weightDecay })) {
      if (!(Number.isFinite(x) && x >= 0)) throw new Error(`sgd: ${name} is ${x}, expected a number from 0 up`);
    }
    if (nesterov && momentum === 0) throw new Error("sgd: nesterov looks ahead along the momentum, but momentum is 0; set it, for example to 0.937");
    this.rates = { weight: lr, bias: lr, norm: lr };
    this.momentum = momentum;
    this.nesterov = nesterov;
    this.weightDecay = weightDecay;
    this.decaying = decaying;
    const names = new Map<Parameter, string>(); // a parameter that two parts share steps once
    parameters.forEach((given, i) => {
      const [name, parameter] = given instanceof Parameter ? [String(i), given] : given;
      if (!names.has(parameter)) names.set(parameter, name);
    });
    this.entries = [...names].map(([parameter, name]) => ({ name, parameter }));
  }

  /**
   * One step. With `clip`, gradients are scaled down together to that norm if theirs is larger, as by torch.nn.utils.clip_grad_norm_.
   * Gives back the norm before clipping.
   */
  step({ clip = Infinity }: { clip?: number } = {}): { gradientNorm: number } {
    if (!(clip > 0)) throw new Error(`sgd: clip is ${clip}, expected a norm above 0; leave it out to clip nothing`);
    const ready = this.entries.filter(({ parameter }) => parameter.requiresGrad && parameter.grad);
    const gradientNorm = normOfGradients(ready);
    const coefficient = Math.min(1, clip / (gradientNorm + 1e-6));
    for (const entry of ready) {
      const { parameter } = entry, decay = this.decaying.includes(parameter.role) ? this.weightDecay : 0;
      parameter.home.kernels.f32_sgd(
        parameter.size, parameter.ptr, parameter.grad!.ptr, momentumOf(entry).ptr, this.rates[parameter.role], this.momentum, decay, coefficient, Number(this.nesterov),
      );
      parameter.clearGradient();
    }
    return { gradientNorm };
  }

  /** Forgets what has gathered since the last step. */
  clearGradients(): void {
    for (const { parameter } of this.entries) parameter.clearGradient();
  }

  /** The momentum of each parameter that has stepped: live tensors, to be saved before the next step. */
  state(): NamedTensors {
    return new Map(this.entries.flatMap(({ name, momentum }) => (momentum ? [[name, momentum]] : [])));
  }

  /** Goes on from a saved state. A parameter that is not in it starts with no momentum. */
  load(state: NamedTensors): void {
    expectKnown("sgd", new Map(this.entries.map(({ name, parameter }) => [name, parameter])), state);
    for (const entry of this.entries) {
      const saved = state.get(entry.name);
      if (saved) momentumOf(entry).data.set(saved.data);
      else entry.momentum?.data.fill(0);
    }
  }
}

/** Momentum starts at zero, in persistent memory taken on first use. */
const momentumOf = (entry: Entry): Buffer => (entry.momentum ??= withHost(entry.parameter.home, () => new Buffer(entry.parameter.shape)));

/** In float64, as four running sums, since each addition waits for the one before it. */
function sumOfSquares(x: RealArray): number {
  let a = 0, b = 0, c = 0, d = 0, i = 0;
  for (; i + 3 < x.length; i += 4) {
    a += x[i] * x[i];
    b += x[i + 1] * x[i + 1];
    c += x[i + 2] * x[i + 2];
    d += x[i + 3] * x[i + 3];
  }
  for (; i < x.length; i++) a += x[i] * x[i];
  return a + b + (c + d);
}

/** sqrt(sum of all dw^2), in float64 and in the order of the parameters: the same bits in every build. */
function normOfGradients(entries: readonly Entry[]): number {
  let total = 0;
  for (const { name, parameter } of entries) {
    const gradient = parameter.grad!.data;
    const sum = sumOfSquares(gradient);
    if (!Number.isFinite(sum)) {
      const norm = Math.sqrt(sum);
      throw new NonFiniteGradient(norm, name, `sgd: the gradient of parameter ${name} ${show(parameter.shape)} has norm ${norm}; no weight was changed (a lower learning rate or a longer warm-up may help)`);
    }
    total += sum;
  }
  return Math.sqrt(total);
}
