import { expect, test } from "vitest";
import { isForUser, UserError } from "../../cli/user-error.ts";
import { BrokenImage } from "../../datasets/index.ts";
import { NonFiniteLoss } from "../../detection/index.ts";
import { WorkerLostError } from "../../kernels/pool.ts";
import { FormatError, NonFiniteGradient } from "../../nn/index.ts";

test("errors that a person can put right are sentences for them; others are mistakes of the program", () => {
  const sentences = [
    new UserError("a"), new BrokenImage("a"), new FormatError("a", 0), new NonFiniteLoss("a"), new NonFiniteGradient(NaN, "stem.weight", "a"), new WorkerLostError("a"),
  ];
  for (const error of sentences) expect(isForUser(error), error.name).toBe(true);
  for (const error of [new Error("a"), new TypeError("a"), "a", undefined]) expect(isForUser(error)).toBe(false);
});
