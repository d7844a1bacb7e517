// Canaries: a few fixed questions, each answered several times. An adapter may change how they are answered,
// not whether the answer is one: what the base does right must stay right.
import type { Adapter } from '@rapport/core';
import type { Speaker } from '../rollout/speaker.ts';

export interface Canary {
  readonly prompt: readonly number[];
  /** A right answer contains one of these, in any case. */
  readonly expect: readonly string[];
}

export interface Answer {
  readonly text: string;
  readonly tokens: readonly number[];
  readonly ended: boolean;
}

export type Flaw = 'empty' | 'endless' | 'loop' | 'wrong';

/** How many canaries have flaws that the base's answer has not: broken (no answer any more), or just wrong. */
export interface CanaryResult {
  readonly canariesBroken: number;
  readonly canariesWrong: number;
  readonly canaries: number;
}

/** How each canary is asked: several times, as people's chats speak. The likeliest tokens of a small model loop by chance. */
const ASKED = { replies: 5, temperature: 0.6, seed: 0 };

/** What the base (`null`) or an adapter answers to each canary, several times. `decode` gives the text of tokens. */
export async function askCanaries(
  speaker: Speaker,
  canaries: readonly Canary[],
  adapter: Adapter | null,
  { decode, maxTokens }: { decode: (tokens: readonly number[]) => string; maxTokens: number },
  signal?: AbortSignal,
): Promise<Answer[][]> {
  const prompts = canaries.map(({ prompt }) => prompt);
  const run = speaker.sample(prompts, { ...ASKED, maxTokens, adapter, ...(signal && { signal }) });
  for (;;) {
    const next = await run.next();
    if (next.done) {
      return next.value.map((replies) =>
        replies.map((reply) => ({ ...reply, text: decode(reply.tokens) })),
      );
    }
  }
}

/** Counts the canaries with flaws in most of the answers of `now` that most of `before` have not. */
export function compareAnswers(
  canaries: readonly Pick<Canary, 'expect'>[],
  before: readonly (readonly Answer[])[],
  now: readonly (readonly Answer[])[],
): CanaryResult {
  const gained = canaries.map(({ expect }, i) => {
    const known = usualFlaws(before[i]!, expect);
    return usualFlaws(now[i]!, expect).filter((flaw) => !known.includes(flaw));
  });
  return {
    canariesBroken: gained.filter((flaws) => flaws.includes('broken')).length,
    canariesWrong: gained.filter((flaws) => flaws.join() === 'wrong').length,
    canaries: canaries.length,
  };
}

/** Whether most answers are no answers, and whether most are wrong. */
function usualFlaws(answers: readonly Answer[], expect: readonly string[]) {
  const flaws = answers.map((answer) => flawsOf(answer, expect));
  const most = (has: (one: readonly Flaw[]) => boolean) =>
    flaws.filter(has).length > answers.length / 2;
  return [
    ...(most((one) => one.some((flaw) => flaw !== 'wrong')) ? ['broken'] : []),
    ...(most((one) => one.includes('wrong')) ? ['wrong'] : []),
  ];
}

/** What is wrong with an answer. */
export function flawsOf({ text, tokens, ended }: Answer, expect: readonly string[]): Flaw[] {
  const said = text.toLowerCase();
  const flaws: Record<Flaw, boolean> = {
    empty: text.trim() === '',
    endless: !ended,
    loop: loops(tokens),
    wrong: !expect.some((word) => said.includes(word.toLowerCase())),
  };
  return (Object.keys(flaws) as Flaw[]).filter((flaw) => flaws[flaw]);
}

/** Three times the same in a row, … */
const LOOP_REPEATS = 3;
/** … over so many tokens at least: "Ha ha ha!" is no loop, nor is "!!!". */
const LOOP_TOKENS = 24;

/** Whether some stretch of the tokens is said again and again. */
export function loops(tokens: readonly number[]): boolean {
  for (let period = 1; period * LOOP_REPEATS <= tokens.length; period++) {
    const needed = Math.max(LOOP_TOKENS, LOOP_REPEATS * period) - period;
    let same = 0;
    for (let t = period; t < tokens.length; t++) {
      same = tokens[t] === tokens[t - period] ? same + 1 : 0;
      if (same >= needed) return true;
    }
  }
  return false;
}
