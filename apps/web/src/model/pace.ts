// Speeds for people: of a transfer over its last few seconds, of a reply since its first token.

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

/** Tokens per second of one reply, or of several made together. */
export class TokenMeter {
  #firstAt = 0;
  #tokens = 0;

  /** Records a token at `now` (ms). */
  see(now: number): number {
    if (this.#tokens++ === 0) this.#firstAt = now;
    return this.#tokens < 2 ? 0 : ((this.#tokens - 1) * 1000) / Math.max(1, now - this.#firstAt);
  }
}
