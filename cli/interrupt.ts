/**
 * Ctrl-C: the first asks the run to end with a checkpoint, the next one ends the process.
 *
 * Under npm every Ctrl-C comes twice: from the terminal, and from npm, which passes it on. The second of a pair may wait behind a long
 * training step; so another signal counts only once the loop of events has turned, with all that was waiting, well after the first.
 */
const PAIR_MS = 400;

export interface Interrupt {
  readonly signal: AbortSignal;
  /** Gives the signals back to the system. */
  release(): void;
}

export function onInterrupt(tell: () => void, kill: () => void = () => process.exit(130)): Interrupt {
  const controller = new AbortController();
  let armed = false;
  const handle = (): void => {
    if (armed) return kill();
    if (controller.signal.aborted) return;
    controller.abort();
    tell();
    setTimeout(() => setImmediate(() => { armed = true; }), PAIR_MS).unref(); // after the timer, what has waited is handled first
  };
  const signals = ["SIGINT", "SIGTERM"] as const;
  for (const name of signals) process.on(name, handle);
  return { signal: controller.signal, release: () => { for (const name of signals) process.off(name, handle); } };
}
