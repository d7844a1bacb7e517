// One ranking while it is being made: the order, and the way back.
import { flat, fromRanks, inOrder, isTied, ranksOf, type Tiers } from './order.ts';

export class Ranking {
  #tiers = $state.raw<Tiers>([]);
  #before = $state.raw<readonly Tiers[]>([]);
  readonly shown = $derived.by(() => flat(this.#tiers));
  readonly #ids: readonly string[];

  constructor(ids: readonly string[], ranks?: readonly number[]) {
    this.#ids = ids;
    this.#tiers = ranks ? fromRanks(ids, ranks) : inOrder(ids);
  }

  /** Ranks in the order of the ids it was made with. */
  get ranks(): number[] {
    return ranksOf(this.#tiers, this.#ids);
  }

  get canUndo(): boolean {
    return this.#before.length > 0;
  }

  rankOf(id: string): number {
    return ranksOf(this.#tiers, [id])[0]!;
  }

  tied(id: string): boolean {
    return isTied(this.#tiers, id);
  }

  /** Applies one of the moves of `order.ts`. */
  change(move: (tiers: Tiers) => Tiers): void {
    this.#before = [...this.#before, this.#tiers];
    this.#tiers = move(this.#tiers);
  }

  undo(): void {
    const last = this.#before.at(-1);
    if (!last) return;
    this.#tiers = last;
    this.#before = this.#before.slice(0, -1);
  }
}
