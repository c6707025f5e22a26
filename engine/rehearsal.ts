/** What a computation would take of the memory, without computing: kernels do nothing, and addresses are all that is handed out. */
import { FIXED } from "../kernels/crossovers.ts";
import type { Kernels } from "../kernels/signatures.ts";
import { leavesBehind, withHost, type Host } from "./host.ts";
import { Memory } from "./memory.ts";

/**
 * Runs with a host of its own that only counts. Shapes, choices and lifetimes are those of a real run with spikes as dense as they usually are; values mean nothing. A page that nobody
 * writes to costs nothing, so a rehearsal of gigabytes takes a few megabytes.
 */
export function rehearse<R>(run: (memory: Memory) => R): R {
  const memory = new Memory(ground());
  const kernels = new Proxy({}, { get: () => () => {} }) as Kernels;
  const host: Host = { build: "simd", arithmetic: "fast", dispatch: "fixed", bytes: 4, kernels, memory, threads: 1, crossovers: FIXED, rehearsal: true, leave: leavesBehind() ? () => () => {} : undefined, stop: async () => {} };
  return withHost(host, () => run(memory));
}

const PAGES = 65536;
let known: WeakRef<WebAssembly.Memory> | undefined;

/** All of a linear memory at once, since each growth may wait for a garbage collection; one for rehearsals that follow each other. */
function ground(): WebAssembly.Memory {
  let memory = known?.deref();
  if (!memory) {
    try { memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES }); } catch { memory = new WebAssembly.Memory({ initial: 2, maximum: PAGES }); }
    known = new WeakRef(memory);
  }
  return memory;
}
