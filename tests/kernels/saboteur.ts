/** Workers that die to order, in the middle of a piece: the pool's own program, which looks at a word of the shared memory at every piece that it takes. */
import { CONTROL, FIELDS } from "../../kernels/control.mjs";

/** Behind the block of the pool, before the heap. */
const ORDER = CONTROL + FIELDS.end;
/** An order is the number of a death, and this for every piece that comes before it. */
const LATER = 8;

export const deaths = ["traps", "exits", "runs out of memory", "never comes back"] as const;
export type Death = (typeof deaths)[number];

/** The program of such workers. */
export const saboteur = new URL(`data:text/javascript,${encodeURIComponent(`
  const add = Atomics.add, obey = [
    () => {},
    () => { throw new WebAssembly.RuntimeError("planted"); },
    () => { process.exit(3); },
    () => { const all = []; for (;;) all.push(new Array(1e6).fill(0.5)); },
    () => { for (;;); },
  ];
  Atomics.add = (words, index, value) => {
    const before = add(words, index, value);
    if (index === ${FIELDS.taken / 4} && words.byteOffset === ${CONTROL}) {
      const orders = new Int32Array(words.buffer, ${ORDER}, 1);
      if (Atomics.load(orders, 0) >= ${LATER}) Atomics.sub(orders, 0, ${LATER}); else obey[Atomics.exchange(orders, 0, 0)]();
    }
    return before;
  };
  await import(${JSON.stringify(new URL("../../kernels/worker.mjs", import.meta.url).href)});
`)}`);

const wordOf = (memory: WebAssembly.Memory): Int32Array => new Int32Array(memory.buffer, ORDER, 1);
/** The worker that takes a piece after so many others dies of it. */
export const order = (memory: WebAssembly.Memory, death: Death, after = 0): void => { Atomics.store(wordOf(memory), 0, 1 + deaths.indexOf(death) + LATER * after); };
export const obeyed = (memory: WebAssembly.Memory): boolean => Atomics.load(wordOf(memory), 0) === 0;
