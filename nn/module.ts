/** Parts with parameters. A module's parts are its fields: names of fields become names of weights. */
import { host, Parameter, Tensor, type Random, type Shape, sizeOf } from "../engine/index.ts";
import { FOREVER } from "../engine/memory.ts";

/** Values that a module keeps and does not train, such as running statistics. Saved and averaged with the parameters. */
export class Buffer extends Tensor {
  constructor(shape: Shape, fill = 0) {
    const h = host();
    super(shape, h.memory.persistent(sizeOf(shape) * h.bytes), FOREVER, h);
    this.data.fill(fill);
  }
}

type Part = Parameter | Buffer | Module;

export abstract class Module {
  /** Whether norms use the statistics of the batch (and update the running ones). Set by `train` and `eval`. */
  training = true;
  /** Set by `freeze`. */
  frozen = false;
  /** Made from the weights of other parts: it has a name, but its weights are not the model's own and are neither trained nor saved. */
  derived = false;

  /** Draws initial values. Modules with parameters override it; it is called once on each, in order. */
  reset(_random: Random): void {}

  /** Every parameter, buffer and module below this one, in order of declaration, with its path such as "stage4.0.conv1". */
  *parts(prefix = ""): Generator<[name: string, part: Part]> {
    for (const [field, value] of Object.entries(this)) {
      const members: [string, unknown][] = Array.isArray(value) ? value.map((member, i) => [`${field}.${i}`, member]) : [[field, value]];
      for (const [name, member] of members) {
        if (member instanceof Parameter || member instanceof Buffer) yield [prefix + name, member];
        else if (member instanceof Module) {
          yield [prefix + name, member];
          if (!member.derived) yield* member.parts(`${prefix}${name}.`);
        }
      }
    }
  }

  namedParameters(): [name: string, parameter: Parameter][] { return this.all(Parameter); }
  namedBuffers(): [name: string, buffer: Buffer][] { return this.all(Buffer); }
  namedModules(): [name: string, module: Module][] { return this.all(Module); }
  parameters(): Parameter[] { return this.namedParameters().map(([, parameter]) => parameter); }

  /** How many numbers are in the parameters. */
  get parameterCount(): number { return this.parameters().reduce((total, { size }) => total + size, 0); }

  train(on = true): this {
    this.training = on && !this.frozen;
    for (const [, module] of this.namedModules()) module.training = on && !module.frozen;
    return this;
  }

  eval(): this { return this.train(false); }

  /** Leaves weights and running statistics of this part as they are, whatever is trained around it: no gradients, and eval mode for good. */
  freeze(): this {
    for (const module of [this, ...this.namedModules().map(([, module]) => module)]) module.frozen = true;
    for (const parameter of this.parameters()) parameter.requiresGrad = false;
    return this.eval();
  }

  /** Initial values for everything below, drawn in order from one stream. */
  initialize(random: Random): void {
    this.reset(random);
    for (const [, module] of this.namedModules()) module.reset(random);
  }

  private all<P extends Part>(kind: abstract new (...args: never[]) => P): [string, P][] {
    return [...this.parts()].filter((entry): entry is [string, P] => entry[1] instanceof kind);
  }
}
