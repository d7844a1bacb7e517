// Guesses what a reply says next from what the conversation has said already, and when guessing pays.
// Prompt lookup decoding (https://github.com/apoorvumang/prompt-lookup-decoding): the tokens that followed an
// earlier occurrence of the last few are read in one pass with the token just drawn. The engine draws from the
// scores of each place as it always does and keeps guesses only as far as they are what it drew, so a reply is
// the same with and without them. Nothing here knows a model.

/** Tokens that have to occur earlier for a guess. */
const LEAST_MATCH = 2;
/** Longer matches are no better. */
const MOST_MATCH = 16;
/** Guesses read at once. With the token drawn they are a tile of four rows; more rows cost as much as they bring (docs/log.md). */
const GUESSES = 3;
/** What guessing may cost: this share of the time without it, after half a step to try. */
const SHARE = 0.015;
const FIRST_STEPS = 0.5;
/**
 * What a plain step takes is the median of so many, at least and at most, the newest. Now and then one takes several times as long
 * (an engine's first, one that makes room): a mean would make guesses look cheap after it, and no plain step would set that
 * right while guesses alone are made.
 */
const [LEAST_TIMED, MOST_TIMED] = [3, 9];

export class PromptLookup {
  /** Milliseconds of the newest steps of one token, and their median; 0 before there are enough. */
  readonly #timed: number[] = [];
  #plainMs = 0;
  /** What the tokens of this reply would have taken one by one, and how much less they took. */
  #withoutMs = 0;
  #savedMs = 0;

  /** A reply begins: what others have saved is not spent on it. */
  begin(): void {
    this.#withoutMs = 0;
    this.#savedMs = 0;
  }

  /** Tokens to read after `context`, whose last one was just drawn: three, or none where there is not `room` for them. */
  propose(context: readonly number[], room: number): number[] {
    if (GUESSES > room || !this.#pays()) return [];
    const from = continuation(context);
    if (from < 0) return [];
    // A repetition that reaches the end goes on with itself.
    const tokens = [...context];
    for (let i = 0; i < GUESSES; i++) tokens.push(tokens[from + i]!);
    return tokens.slice(context.length);
  }

  /** A step has read `guesses` guesses beside its token, of which the first `right` were drawn, in `ms`. */
  observe(guesses: number, right: number, ms: number): void {
    if (guesses === 0) this.#time(ms);
    const withoutMs = this.#plainMs * (1 + right);
    this.#withoutMs += withoutMs;
    if (guesses > 0) this.#savedMs += withoutMs - ms;
  }

  #time(ms: number): void {
    this.#timed.push(ms);
    if (this.#timed.length < LEAST_TIMED) return;
    if (this.#timed.length > MOST_TIMED) this.#timed.shift();
    const inOrder = this.#timed.toSorted((a, b) => a - b);
    this.#plainMs = inOrder[(inOrder.length - 1) >> 1]!;
  }

  /** Nothing is guessed before plain steps have been timed, nor once misses have cost too much. */
  #pays(): boolean {
    const credit = SHARE * this.#withoutMs + FIRST_STEPS * this.#plainMs;
    return this.#plainMs > 0 && this.#savedMs + credit > 0;
  }
}

/** Where the text goes on after the latest of the longest earlier occurrences of its end; −1 without any. */
function continuation(context: readonly number[]): number {
  const end = context.length;
  let best = LEAST_MATCH - 1;
  let found = -1;
  for (let at = end - 1; at >= LEAST_MATCH && best < MOST_MATCH; at--) {
    let length = 0;
    while (
      length < MOST_MATCH &&
      length < at &&
      context[at - 1 - length] === context[end - 1 - length]
    ) {
      length++;
    }
    if (length > best) [best, found] = [length, at];
  }
  return found;
}
