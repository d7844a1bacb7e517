import { beforeAll, describe, expect, test } from 'vitest';
import { buildTokenizer, type Tokenizer } from '@rapport/core';
import { loneVotes, rankingsOf, readBy, thumbsOf } from '@rapport/rlhf';
import { tinyTokenizer } from '../../../tests/support/tiny-tokenizer.ts';
import { aRanking, aVote } from '../store/test-store.ts';
import type { DatasetRow } from '../store/datasets.ts';
import { rankingsIn, thumbsIn } from './room.ts';

let tokenizer: Tokenizer;

beforeAll(async () => {
  tokenizer = await buildTokenizer(tinyTokenizer);
});

const rowOf = ({ id, type, body }: ReturnType<typeof aVote>) =>
  ({ id, device: 'd', type, body }) as DatasetRow;
const prompt = () =>
  tokenizer.encodeChat([{ role: 'user', content: 'Hello' }], { addGenerationPrompt: true });
const said = (text: string) => [...tokenizer.encode(text), tokenizer.endOfTurn];

test('a ranking keeps its ranks, ties included, and its replies end their turn', () => {
  expect(rankingsOf([rowOf(aRanking([1, 2, 2]))], tokenizer)).toEqual([
    { prompt: prompt(), replies: [said('1/0'), said('2/1'), said('2/2')], ranks: [1, 2, 2] },
  ]);
});

test('a ranking that prefers nothing teaches nothing', () => {
  expect(rankingsOf([rowOf(aRanking([1, 1, 1]))], tokenizer)).toEqual([]);
});

test('opposite thumbs on one prompt are a ranking; a thumb alone is none', () => {
  const [up, down] = [rowOf(aVote(1)), rowOf(aVote(-1))];
  expect(rankingsOf([up, down], tokenizer)).toEqual([
    { prompt: prompt(), replies: [said('Hi'), said('No')], ranks: [1, 2] },
  ]);
  expect(rankingsOf([up], tokenizer)).toEqual([]);
});

test('every vote is a thumb of its own, and rankings are none', () => {
  const rows = [rowOf(aVote(1)), rowOf(aRanking()), rowOf(aVote(-1))];
  expect(thumbsOf(rows, tokenizer)).toEqual([
    { prompt: prompt(), reply: said('Hi'), good: true },
    { prompt: prompt(), reply: said('No'), good: false },
  ]);
});

test('sampled ids end their turn if the model ended it, not where it was cut or stopped', () => {
  const ids = tokenizer.encode('Hi');
  const vote = (tokens: number[]) => {
    const row = rowOf(aVote(1));
    if (row.type === 'vote') {
      row.body.reply.provenance = {
        ...row.body.reply.provenance,
        tokens,
        logprobs: tokens.map(() => -1),
      };
    }
    return thumbsOf([row], tokenizer)[0]!.reply;
  };
  expect(vote([...ids, tokenizer.endOfTurn])).toEqual(said('Hi'));
  expect(vote(ids)).toEqual(ids);
  // Ids that spell something else are not believed.
  expect(vote(tokenizer.encode('No'))).toEqual(said('Hi'));
});

const votesOn = (question: string, ...values: (1 | -1)[]) =>
  values.map((value) => {
    const vote = aVote(value);
    const prompt = [{ role: 'user', content: question }];
    return rowOf({ ...vote, body: { ...(vote.body as object), prompt } });
  });

test('what a method cannot read does not count as learned from', () => {
  const [tie, ranking] = [rowOf(aRanking([1, 1])), rowOf(aRanking())];
  const compared = votesOn('Something else', 1, -1);
  const [alone] = votesOn('A third thing', 1);
  const all = [tie, ranking, alone!, ...compared];
  expect(readBy('dpo', all)).toEqual([ranking, ...compared]);
  // A good thumb without a bad one: the reward model has nothing to compare it with, KTO has.
  expect(readBy('ppo', all)).toEqual([ranking, ...compared]);
  expect(readBy('kto', all)).toEqual([ranking, alone, ...compared]);
  expect(readBy('kto', [tie, ranking])).toEqual([ranking]);
  expect(readBy('kto', [alone!])).toEqual([]);
});

test('good and bad thumbs on prompts of their own are read by methods that can compare across prompts', () => {
  const [up, down] = [...votesOn('One', 1, 1), ...votesOn('Two', -1)].slice(1);
  expect(readBy('ppo', [up!, down!])).toEqual([up, down]);
  expect(readBy('rloo', [up!, down!])).toEqual([up, down]);
  expect(readBy('dpo', [up!, down!])).toEqual([]);
});

test('votes that made a ranking are not single thumbs as well', () => {
  const compared = votesOn('Something else', 1, -1);
  const [alone] = votesOn('A third thing', 1);
  expect(loneVotes([rowOf(aRanking()), ...compared, alone!])).toEqual([alone]);
});

describe('a judgement of a conversation of any length', () => {
  const turn = (i: number) => ({
    role: i % 2 ? ('assistant' as const) : ('user' as const),
    content: `turn ${i} `.repeat(40),
  });
  const endless = Array.from({ length: 61 }, (_, i) => turn(i));
  const text = 'and so on '.repeat(2000);

  test('is learned from with its latest turns and the beginnings of its replies', () => {
    const row = rowOf(aRanking([1, 2, 3, 4]));
    const body = { ...row.body, prompt: endless } as DatasetRow['body'] & { replies: unknown[] };
    body.replies = [{ text }, ...body.replies.slice(1)];
    const [ranking, ...others] = rankingsIn([{ ...row, body } as DatasetRow], tokenizer);
    expect(others).toEqual([]);
    const { prompt, replies, ranks } = ranking!;
    expect(ranks).toEqual([1, 2, 3, 4]);
    expect(prompt.length).toBeLessThanOrEqual(640);
    const last = tokenizer.encodeChat([turn(60)], { addGenerationPrompt: true });
    expect(prompt.slice(-20)).toEqual(last.slice(-20));
    expect(replies[0]).toEqual(tokenizer.encode(text).slice(0, 1024 - prompt.length));
    expect(replies[1]).toEqual(said('2/1'));
  });

  test('is a thumb like any other', () => {
    const row = rowOf(aVote(1));
    const body = { ...row.body, prompt: endless, reply: { text } };
    const [thumb] = thumbsIn([{ ...row, body } as DatasetRow], tokenizer);
    expect(thumb!.prompt.length + thumb!.reply.length).toBe(1024);
  });
});
