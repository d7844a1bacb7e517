// A Dexie query as a rune: the value follows the tables, in this tab and others.
import { liveQuery, type Subscription } from 'dexie';

export class Live<T> {
  #value = $state.raw() as T;
  readonly #subscription: Subscription;

  constructor(query: () => Promise<T>, initial: T) {
    this.#value = initial;
    this.#subscription = liveQuery(query).subscribe({
      next: (value) => (this.#value = value),
      error: (error) => console.error('live query', error),
    });
  }

  get value(): T {
    return this.#value;
  }

  close(): void {
    this.#subscription.unsubscribe();
  }
}
