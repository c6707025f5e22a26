/** What a person at the command line can put right: one sentence, exit code 2, no stack. */
import { OutOfMemoryError, WorkerLostError } from "../engine/index.ts";
import { BrokenFile, BrokenImage } from "../datasets/index.ts";
import { NonFiniteLoss } from "../detection/index.ts";
import { FormatError, NonFiniteGradient, WrongModelError } from "../nn/index.ts";

export class UserError extends Error {
  override readonly name = "UserError";
}

/** The run was stopped by a signal, after a checkpoint where there was something to keep. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
}

const SENTENCES = [UserError, OutOfMemoryError, BrokenFile, BrokenImage, NonFiniteLoss, NonFiniteGradient, FormatError, WrongModelError, WorkerLostError];

/** Whether the message is a sentence for the person; everything else is a mistake of this program. */
export const isForUser = (error: unknown): error is Error => SENTENCES.some((kind) => error instanceof kind);

/** Runs something that refuses files and folders with plain errors, which are sentences too. Errors of other kinds pass through. */
export async function refusing<R>(run: () => Promise<R> | R): Promise<R> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof Error && error.constructor === Error) throw new UserError(error.message, { cause: error });
    throw error;
  }
}

/** "ENOSPC: no space left on device, write" -> "no space left on device (ENOSPC)" */
export function reasonOf(error: unknown): string {
  const { message, code } = error as NodeJS.ErrnoException;
  const [, reason] = /^E[A-Z0-9]+: ([^,]+)/.exec(message) ?? [];
  return reason && code ? `${reason} (${code})` : message;
}
