// Judgements as the training rows that other tools read: TRL preference pairs and KTO thumbs, and back.
// Conversational format of TRL: https://huggingface.co/docs/trl/dataset_formats
import * as v from 'valibot';
import { RapportError } from '../error.ts';
import type { ChatMessage } from '../tokenizer/tokenizer.ts';
import type { Edit, Provenance, Ranking, Vote } from './events.ts';
import { rankingPairs } from './pairs.ts';

/** A judgement that can teach. */
export type Judgement =
  { type: 'vote'; body: Vote } | { type: 'ranking'; body: Ranking } | { type: 'edit'; body: Edit };

/** A preference pair of TRL (`DPOTrainer`, `RewardTrainer`). */
export interface TrlRow {
  prompt: ChatMessage[];
  chosen: ChatMessage[];
  rejected: ChatMessage[];
}

/** A thumb of TRL (`KTOTrainer`). */
export interface KtoRow {
  prompt: ChatMessage[];
  completion: ChatMessage[];
  label: boolean;
}

const said = (content: string): ChatMessage[] => [{ role: 'assistant', content }];

/**
 * Preference pairs: of a ranking every decided pair; of an edit the person's text over the reply; of
 * votes every good reply over every bad one to the same prompt.
 */
export function trlRows(judgements: readonly Judgement[]): TrlRow[] {
  const direct = judgements.flatMap((judgement) => pairsOf(judgement));
  const votes = judgements.flatMap(({ type, body }) => (type === 'vote' ? [body] : []));
  const crossed = [...byPrompt(votes).values()].flatMap((group) =>
    group.flatMap((good) =>
      group.flatMap((bad) =>
        good.value > bad.value ? [trlRow(good.prompt, good.reply.text, bad.reply.text)] : [],
      ),
    ),
  );
  return [...direct, ...crossed];
}

function pairsOf({ type, body }: Judgement): TrlRow[] {
  if (type === 'edit') return [trlRow(body.prompt, body.text, body.reply.text)];
  if (type === 'vote') return [];
  return rankingPairs(body.ranks).map(([chosen, rejected]) =>
    trlRow(body.prompt, body.replies[chosen]!.text, body.replies[rejected]!.text),
  );
}

const trlRow = (prompt: ChatMessage[], chosen: string, rejected: string): TrlRow => ({
  prompt,
  chosen: said(chosen),
  rejected: said(rejected),
});

/** Thumbs: votes as they are; of a ranking that decides anything, its best as good, its worst as bad. */
export function ktoRows(judgements: readonly Judgement[]): KtoRow[] {
  return judgements.flatMap(({ type, body }) => {
    const { prompt } = body;
    if (type === 'vote')
      return [{ prompt, completion: said(body.reply.text), label: body.value > 0 }];
    if (type === 'edit')
      return [
        { prompt, completion: said(body.text), label: true },
        { prompt, completion: said(body.reply.text), label: false },
      ];
    const [best, worst] = [Math.min(...body.ranks), Math.max(...body.ranks)];
    return body.replies.flatMap((reply, i) => {
      const rank = body.ranks[i]!;
      const decided = best !== worst && (rank === best || rank === worst);
      return decided ? [{ prompt, completion: said(reply.text), label: rank === best }] : [];
    });
  });
}

const Messages = v.pipe(
  v.array(v.object({ role: v.picklist(['system', 'user', 'assistant']), content: v.string() })),
  v.minLength(1),
);
/** TRL's standard format has bare strings, its conversational one messages. */
const Turns = (role: ChatMessage['role']) =>
  v.union([
    Messages,
    v.pipe(
      v.string(),
      v.transform((content): ChatMessage[] => [{ role, content }]),
    ),
  ]);
const TrlSchema = v.object({
  prompt: Turns('user'),
  chosen: Turns('assistant'),
  rejected: Turns('assistant'),
});
const KtoSchema = v.object({
  prompt: Turns('user'),
  completion: Turns('assistant'),
  label: v.boolean(),
});

/**
 * A TRL or KTO row as a judgement; its replies were spoken by nobody we know (`release` "imported").
 * Throws `feedback/bad-row`.
 */
export function judgementOfRow(row: unknown): Judgement {
  const pair = v.safeParse(TrlSchema, row);
  if (pair.success) {
    const { prompt, chosen, rejected } = pair.output;
    const replies = [foreign(chosen), foreign(rejected)];
    return { type: 'ranking', body: { prompt, replies, ranks: [1, 2] } };
  }
  const thumb = v.safeParse(KtoSchema, row);
  if (!thumb.success)
    throw new RapportError(
      'feedback/bad-row',
      'The row is neither a Rapport event nor a TRL or KTO row.',
      'Give {prompt, chosen, rejected}, {prompt, completion, label}, or a row of `feedback export`.',
    );
  const { prompt, completion, label } = thumb.output;
  return { type: 'vote', body: { prompt, reply: foreign(completion), value: label ? 1 : -1 } };
}

const UNKNOWN: Provenance = {
  release: 'imported',
  adapter: null,
  sampling: { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, maxTokens: 1 },
  seed: 0,
  tokens: [],
  logprobs: [],
};

const foreign = (turns: readonly ChatMessage[]) => ({
  text: turns.at(-1)!.content,
  provenance: UNKNOWN,
});

function byPrompt(votes: readonly Vote[]): Map<string, Vote[]> {
  const groups = new Map<string, Vote[]>();
  for (const vote of votes) {
    const key = JSON.stringify(vote.prompt);
    const group = groups.get(key);
    if (group) group.push(vote);
    else groups.set(key, [vote]);
  }
  return groups;
}
