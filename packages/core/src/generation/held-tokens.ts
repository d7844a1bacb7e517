// Holds tokens back while their text may be the beginning of a stop sequence, and ends before one.

export interface TextToken {
  readonly id: number;
  readonly logprob: number;
  readonly text: string;
}

export class HeldTokens {
  readonly #stops: readonly string[];
  #tokens: TextToken[] = [];
  /** The text of the tokens held back. */
  #text = '';

  /** `stops`: texts to end before; empty ones are none. */
  constructor(stops: readonly string[] = []) {
    this.#stops = stops.filter((stop) => stop !== '');
  }

  /** Takes a token; gives those whose text is now certain, and whether a stop sequence came. */
  push(token: TextToken): { certain: TextToken[]; stopped: boolean } {
    this.#tokens.push(token);
    this.#text += token.text;
    const found = this.#stops.map((stop) => this.#text.indexOf(stop)).filter((at) => at >= 0);
    if (found.length > 0) return { certain: this.#cut(Math.min(...found)), stopped: true };
    return { certain: this.#release(this.#text.length - this.#uncertain()), stopped: false };
  }

  /** Gives what is still held: no stop sequence came. */
  flush(): TextToken[] {
    return this.#release(this.#text.length);
  }

  /** Length of the longest end of the text with which a stop sequence begins. */
  #uncertain(): number {
    let most = 0;
    for (const stop of this.#stops) {
      let length = Math.min(stop.length - 1, this.#text.length);
      while (length > most && !stop.startsWith(this.#text.slice(-length))) length--;
      most = Math.max(most, length);
    }
    return most;
  }

  /** Tokens that lie within the first `length` letters. */
  #release(length: number): TextToken[] {
    let end = 0;
    let count = 0;
    for (const { text } of this.#tokens) {
      if (end + text.length > length) break;
      end += text.length;
      count++;
    }
    this.#text = this.#text.slice(end);
    return this.#tokens.splice(0, count);
  }

  /** Tokens that begin before `length`, the last one with its text cut there; the rest is forgotten. */
  #cut(length: number): TextToken[] {
    const certain = this.#release(length);
    const left = length - certain.reduce((sum, { text }) => sum + text.length, 0);
    if (left > 0) certain.push({ ...this.#tokens[0]!, text: this.#tokens[0]!.text.slice(0, left) });
    this.#tokens = [];
    this.#text = '';
    return certain;
  }
}
