/** What `npm run bench -- sparsity` may be told. */
import { nearest } from "../../cli/options.ts";
import { expectPicture } from "../../cli/figures/draw.ts";
import { UserError } from "../../cli/user-error.ts";

export interface LabOptions {
  /** A few small layers, each measured once: to see that everything runs. */
  readonly quick: boolean;
  /** A run folder or checkpoint: the spikes that its network makes of its validation pictures, in place of synthetic ones. */
  readonly spikes?: string;
  /** How many pictures of it, as one batch. */
  readonly pictures: number;
  readonly threads: number;
  /** A file for the figure, .svg or .png. */
  readonly picture?: string;
}

const whole = (key: string, text: string, most: number): number => {
  const n = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!(n >= 1 && n <= most)) throw new UserError(`sparsity: ${key} is ${text === "" ? "empty" : text}, expected a whole number from 1 to ${most}`);
  return n;
};
const path = (key: string, text: string): string => {
  if (text === "" || text.includes("\0")) throw new UserError(`sparsity: ${key} is empty, expected a path`);
  return text;
};

const READ: { readonly [K in Exclude<keyof LabOptions, "quick">]-?: (text: string) => LabOptions[K] } = {
  spikes: (text) => path("spikes", text),
  pictures: (text) => whole("pictures", text, 256),
  threads: (text) => whole("threads", text, 64),
  picture: (text) => { expectPicture(path("picture", text)); return text; },
};

export function labOptions(args: readonly string[]): LabOptions {
  const given: Record<string, unknown> = {}, keys = ["quick", ...Object.keys(READ)];
  for (const argument of args) {
    const [, key, equals, text] = /^([^=]*)(=?)(.*)$/s.exec(argument)!;
    const good = key === "quick" ? equals === "" : equals === "=" && Object.hasOwn(READ, key);
    if (!good) {
      const near = nearest(key, keys), form = (key: string): string => (key === "quick" ? key : `${key}=...`);
      throw new UserError(`sparsity: expected quick, or one of ${Object.keys(READ).map(form).join(", ")}, got ${JSON.stringify(argument)}${near ? `; did you mean ${form(near)}?` : ""}`);
    }
    if (Object.hasOwn(given, key)) throw new UserError(`sparsity: ${key} is given twice; keep one`);
    given[key] = key === "quick" ? true : READ[key as keyof typeof READ](text);
  }
  if (given["pictures"] !== undefined && given["spikes"] === undefined) throw new UserError("sparsity: pictures= belongs to spikes=RUN, whose pictures they are");
  return { quick: false, pictures: 8, threads: 1, ...given };
}
