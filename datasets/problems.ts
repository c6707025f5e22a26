/** What was found wrong in files: sentences, each once, in the order they came, the first few thousand of them. */
import { printable } from "./printable.ts";

export class ProblemList {
  private readonly sentences = new Set<string>();
  private more = 0;
  /** `most` keeps a file of nothing but faults from filling the memory with talk about them. */
  constructor(private readonly most = 5000) {}

  add(sentence: string): void {
    if (this.sentences.size < this.most) this.sentences.add(printable(sentence));
    else this.more++;
  }

  get list(): string[] {
    return this.more > 0 ? [...this.sentences, `and ${this.more} more problems like these`] : [...this.sentences];
  }
}
