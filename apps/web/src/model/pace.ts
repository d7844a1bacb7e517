// The speed of a transfer over its last few seconds: quick to follow, too calm to flicker.

const WINDOW_MS = 4000;

export class Pace {
  #seen: { amount: number; at: number }[] = [];

  /** Records that `amount` had arrived at `now` (ms) and gives the amount per second. */
  see(amount: number, now: number): number {
    this.#seen.push({ amount, at: now });
    while (this.#seen.length > 2 && now - this.#seen[0]!.at > WINDOW_MS) this.#seen.shift();
    const first = this.#seen[0]!;
    const seconds = (now - first.at) / 1000;
    return seconds > 0.1 ? (amount - first.amount) / seconds : 0;
  }
}
