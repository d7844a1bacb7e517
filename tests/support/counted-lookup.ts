// Prompt lookup as chats have it, which tells how much of what it guessed was right.
import { PromptLookup } from '../../packages/core/src/generation/prompt-lookup.ts';

export class CountedLookup extends PromptLookup {
  right = 0;

  override observe(guesses: number, right: number, ms: number): void {
    this.right += right;
    super.observe(guesses, right, ms);
  }
}

/** What it guesses well: a text that is to be said once more. */
export const REPEATING =
  'Repeat this text word for word: The old lighthouse keeper counted seventeen grey ships on the ' +
  'horizon, wrote their names into his leather notebook, and lit the lamp before the storm came.';
