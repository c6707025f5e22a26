/**
 * Where numbers live: three arenas in one linear memory.
 *
 *   persistent   parameters, optimiser state, running statistics, tables      until the process ends
 *   scope        everything that an op makes                                  until the innermost scope ends
 *   workspace    what one op needs while it runs (packed weights, halos)      until that op returns
 *
 * An arena is a list of segments, filled by moving a pointer. Ending a scope moves the pointer back, so a step that ran once
 * finds all its memory again.
 *
 *     | constants | persistent … | scope … | workspace … | scope … | persistent … |      segments, in the order they were needed
 *     0           HEAP_BASE
 */
import { HEAP_BASE } from "../kernels/load.ts";

const ALIGNMENT = 64;
/** Kernels may read this far past the end of a tensor. */
const SLACK = 64;
const PAGE = 65536;
const SEGMENT = 4 << 20;

/** What a tensor knows of its scope: whether it has ended. */
export interface Life { ended: boolean }
export const FOREVER: Life = { ended: false };

export class OutOfMemoryError extends Error {
  constructor(readonly requested: number, readonly used: number, readonly limit: number) {
    const megabytes = (bytes: number) => `${(bytes / 1048576).toFixed(1)} MB`;
    super(`memory: ${megabytes(requested)} more do not fit, ${megabytes(used)} of ${megabytes(limit)} are in use; take a smaller batch or image`);
    this.name = "OutOfMemoryError";
  }
}

interface Segment { start: number; end: number }
interface Mark { segment: number; top: number; used: number }

class Arena {
  private readonly segments: Segment[] = [];
  private current = -1;
  private top = 0;
  used = 0;
  constructor(private readonly grow: (bytes: number) => Segment) {}

  allocate(bytes: number): number {
    while (this.current < 0 || this.top + bytes > this.segments[this.current].end) this.next(bytes);
    const pointer = this.top;
    this.top += bytes;
    this.used += bytes;
    return pointer;
  }

  mark(): Mark { return { segment: this.current, top: this.top, used: this.used }; }

  rewind({ segment, top, used }: Mark): void {
    this.current = segment;
    this.top = top;
    this.used = used;
  }

  private next(bytes: number): void {
    if (this.current + 1 === this.segments.length) {
      const fresh = this.grow(Math.max(bytes, SEGMENT));
      const last = this.segments[this.current];
      if (last && last.end === fresh.start) { last.end = fresh.end; return; }
      this.segments.push(fresh);
    }
    this.top = this.segments[++this.current].start;
  }
}

interface Scope { readonly life: Life; readonly mark: Mark; readonly free: Map<number, number[]> }

export class Memory {
  private end = HEAP_BASE;
  private readonly persistentArena = new Arena((bytes) => this.segment(bytes));
  private readonly scopeArena = new Arena((bytes) => this.segment(bytes));
  private readonly workArena = new Arena((bytes) => this.segment(bytes));
  private readonly scopes: Scope[] = [];
  private readonly root: Scope;
  private readonly released = new Map<number, number[]>();
  private recycled = 0;
  private highest = 0;

  constructor(readonly wasm: WebAssembly.Memory, readonly limit = 65536 * PAGE) {
    this.root = { life: FOREVER, mark: this.scopeArena.mark(), free: new Map() };
  }

  /** Bytes that hold something now. */
  get inUse(): number { return this.persistentArena.used + this.scopeArena.used + this.workArena.used - this.recycled; }
  /** Bytes taken from the host so far: the high-water mark of all arenas. */
  get reserved(): number { return this.end; }
  /** The largest `inUse` so far, or since `resetPeak`. */
  get peak(): number { return Math.max(this.highest, this.inUse); }
  resetPeak(): void { this.highest = this.inUse; }
  /** Lifetime of what is allocated now. */
  get life(): Life { return this.innermost.life; }

  private get innermost(): Scope { return this.scopes.at(-1) ?? this.root; }

  /** Memory that stays until `release`. */
  persistent(bytes: number): number {
    const size = rounded(bytes);
    return this.note(this.released.get(size)?.pop() ?? this.persistentArena.allocate(size));
  }

  /** Gives persistent memory back for later persistent allocations of the same size. */
  release(pointer: number, bytes: number): void { push(this.released, rounded(bytes), pointer); }

  /** Memory of the innermost scope. */
  allocate(bytes: number): number {
    const size = rounded(bytes);
    const reused = this.innermost.free.get(size)?.pop();
    if (reused !== undefined) this.recycled -= size;
    return this.note(reused ?? this.scopeArena.allocate(size));
  }

  /** Hands a block of the innermost scope back before the scope ends, for the next allocation of its size. */
  recycle(pointer: number, bytes: number): void {
    const size = rounded(bytes);
    push(this.innermost.free, size, pointer);
    this.recycled += size;
  }

  /** Memory of the op that runs now. */
  workspace(bytes: number): number { return this.note(this.workArena.allocate(rounded(bytes))); }

  /** Runs an op; what it took as workspace is free again afterwards. */
  withWorkspace<R>(run: () => R): R {
    const mark = this.workArena.mark();
    try { return run(); } finally { this.workArena.rewind(mark); }
  }

  enter(): void { this.scopes.push({ life: { ended: false }, mark: this.scopeArena.mark(), free: new Map() }); }

  leave(): void {
    const scope = this.scopes.pop();
    if (!scope) throw new Error("memory: leave() without enter()");
    scope.life.ended = true;
    for (const [size, pointers] of scope.free) this.recycled -= size * pointers.length;
    this.scopeArena.rewind(scope.mark);
  }

  private note(pointer: number): number {
    const used = this.inUse;
    if (used > this.highest) this.highest = used;
    return pointer;
  }

  private segment(bytes: number): Segment {
    const start = this.end, size = Math.ceil(bytes / PAGE) * PAGE;
    const missing = start + size - this.wasm.buffer.byteLength;
    if (missing > 0) {
      if (start + size > this.limit) throw new OutOfMemoryError(size, this.inUse, this.limit);
      try { this.wasm.grow(Math.ceil(missing / PAGE)); } catch { throw new OutOfMemoryError(size, this.inUse, this.limit); }
    }
    this.end = start + size;
    return { start, end: this.end };
  }
}

const rounded = (bytes: number): number => Math.ceil((bytes + SLACK) / ALIGNMENT) * ALIGNMENT;

function push(lists: Map<number, number[]>, key: number, value: number): void {
  const list = lists.get(key);
  if (list) list.push(value); else lists.set(key, [value]);
}
