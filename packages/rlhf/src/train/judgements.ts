// Judgements as the token ids that training reads: rankings and single thumbs. Votes become a ranking where one
// prompt got both thumbs; an edit ranks the person's text above the reply.
import type { ChatMessage, Judgement, Provenance, Tokenizer } from '@rapport/core';
import type { Thumb } from './kto.ts';
import type { PipelineMethod } from './pipeline.ts';
import type { Ranking } from './rankings.ts';

interface Judged {
  prompt: ChatMessage[];
  replies: { text: string; provenance?: Provenance }[];
  ranks: number[];
}

/** What judgements prefer to what: rankings, edits above what was edited, opposite votes on one prompt. */
export const comparedIn = (judgements: readonly Judgement[]): Judged[] =>
  [...judgements.flatMap(judgedOf), ...votedOn(judgements)].filter(({ ranks }) => decides(ranks));

/** Rankings of all judgements that prefer anything to anything. */
export function rankingsOf(judgements: readonly Judgement[], tokenizer: Tokenizer): Ranking[] {
  return comparedIn(judgements).map(({ prompt, replies, ranks }) => ({
    prompt: tokenizer.encodeChat(prompt, { addGenerationPrompt: true }),
    replies: replies.map((reply) => tokensOf(reply, tokenizer)),
    ranks,
  }));
}

/**
 * The judgements that a method reads. Rankings must prefer something to something. A thumb whose prompt got no
 * opposite thumb says nothing by comparison: 'ppo', 'rloo' and 'kto' read such thumbs where both kinds are at hand.
 */
export function readBy<J extends Judgement>(method: PipelineMethod, judgements: readonly J[]): J[] {
  const alone = new Set<Judgement>(loneVotes(judgements));
  const rest = judgements.filter((judgement) => !alone.has(judgement) && prefers(judgement));
  const kinds = new Set([...alone].map(({ body }) => 'value' in body && body.value > 0));
  const readsThumbs = method === 'kto' || method === 'ppo' || method === 'rloo';
  const bothKinds = kinds.size === 2 || (method === 'kto' && rest.length > 0);
  return judgements.filter(
    (judgement) => rest.includes(judgement) || (alone.has(judgement) && readsThumbs && bothKinds),
  );
}

/** Votes on prompts that got no opposite vote: `rankingsOf` makes nothing of them. */
export function loneVotes<J extends Judgement>(judgements: readonly J[]): J[] {
  const compared = new Set(
    votedOn(judgements).flatMap(({ prompt, ranks }) => (decides(ranks) ? [keyOf(prompt)] : [])),
  );
  return judgements.filter(
    ({ type, body }: Judgement) => type === 'vote' && !compared.has(keyOf(body.prompt)),
  );
}

/** Every vote as a thumb of its own. */
export function thumbsOf(judgements: readonly Judgement[], tokenizer: Tokenizer): Thumb[] {
  return judgements.flatMap(({ type, body }) =>
    type === 'vote'
      ? [
          {
            prompt: tokenizer.encodeChat(body.prompt, { addGenerationPrompt: true }),
            reply: tokensOf(body.reply, tokenizer),
            good: body.value > 0,
          },
        ]
      : [],
  );
}

function judgedOf({ type, body }: Judgement): Judged[] {
  if (type === 'ranking') return [body];
  if (type === 'edit')
    return [{ prompt: body.prompt, replies: [{ text: body.text }, body.reply], ranks: [1, 2] }];
  return [];
}

function votedOn(judgements: readonly Judgement[]): Judged[] {
  const groups = new Map<string, Judged>();
  for (const { type, body } of judgements) {
    if (type !== 'vote') continue;
    const key = keyOf(body.prompt);
    const group = groups.get(key) ?? { prompt: body.prompt, replies: [], ranks: [] };
    group.replies.push(body.reply);
    group.ranks.push(body.value > 0 ? 1 : 2);
    groups.set(key, group);
  }
  return [...groups.values()];
}

const prefers = ({ type, body }: Judgement): boolean => type !== 'ranking' || decides(body.ranks);

const keyOf = (prompt: readonly ChatMessage[]): string => JSON.stringify(prompt);

const decides = (ranks: readonly number[]): boolean => ranks.some((rank) => rank !== ranks[0]);

/**
 * The ids the model sampled, when they really spell the text that was judged: they end with the end-of-turn token
 * if the model ended the reply, and not if it was cut at its limit or stopped by the person. Else the text's own
 * ids, ended.
 */
function tokensOf({ text, provenance }: Judged['replies'][number], tokenizer: Tokenizer): number[] {
  const { endOfTurn, vocabSize } = tokenizer;
  const sampled = provenance?.tokens.filter((id) => id !== endOfTurn) ?? [];
  const spelt =
    sampled.length > 0 &&
    sampled.every((id) => id < vocabSize) &&
    tokenizer.decode(sampled, { skipSpecial: true }).trim() === text.trim();
  if (!spelt) return [...tokenizer.encode(text), endOfTurn];
  return provenance!.tokens.at(-1) === endOfTurn ? [...sampled, endOfTurn] : sampled;
}
