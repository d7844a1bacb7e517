// Where intermediate results lie while a program runs: addresses handed out and taken back as the
// plan is made, so that results that are never alive together share bytes.

const LINE = 64;

export class Arena {
  readonly #base: number;
  #free: { at: number; size: number }[] = [];
  #end = 0;
  #highest = 0;

  constructor(base: number) {
    this.#base = base;
  }

  /** Bytes the plan needs. */
  get size(): number {
    return this.#highest;
  }

  allocate(bytes: number): number {
    const size = Math.max(LINE, Math.ceil(bytes / LINE) * LINE);
    const hole = this.#free.find((range) => range.size >= size);
    if (hole) {
      const { at } = hole;
      hole.at += size;
      hole.size -= size;
      return this.#base + at;
    }
    const at = this.#end;
    this.#end += size;
    this.#highest = Math.max(this.#highest, this.#end);
    return this.#base + at;
  }

  free(address: number, bytes: number): void {
    const size = Math.max(LINE, Math.ceil(bytes / LINE) * LINE);
    this.#free.push({ at: address - this.#base, size });
    this.#free.sort((a, b) => a.at - b.at);
    const merged: { at: number; size: number }[] = [];
    for (const range of this.#free) {
      const last = merged.at(-1);
      if (range.size === 0) continue;
      if (last && last.at + last.size === range.at) last.size += range.size;
      else merged.push(range);
    }
    const last = merged.at(-1);
    if (last && last.at + last.size === this.#end) {
      this.#end = last.at;
      merged.pop();
    }
    this.#free = merged;
  }
}
