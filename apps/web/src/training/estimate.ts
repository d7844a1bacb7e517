// How long a run will take, from the speed that was measured and from what there is to learn: an estimate in tokens,
// since the page has no tokenizer.
import type { Judgement } from '@rapport/core';
import { comparedIn, partsOf, stepsOver } from '@rapport/rlhf';
import { total } from '../workers/compare.ts';
import { course, TEXT_MEASURED } from '../workers/course.ts';
import { roomFor, type Plan } from '../workers/plan.ts';
import type { TrainingMethod } from '../workers/training.ts';

/** UTF-8 bytes of a token, and tokens that the chat's template adds to a turn. */
const [TOKEN_BYTES, TURN_TOKENS] = [4, 8];
/** Rows of ordinary text that are mixed in, and tokens of one. */
const [TEXT_ROWS, TEXT_TOKENS] = [15, 100];
/** What a token costs beside one that is trained: read by half of the model once, or spoken. */
const [FORWARD, SPOKEN] = [0.5, 2];
/** Times that ordinary text is scored to find the scale. */
const SCALINGS = 3;
/** Graphs that are opened: to read, to score, to learn, to compare; a full round needs as many again. */
const GRAPHS = 4;
/** Padding, optimiser steps, saving. */
const REST = 1.15;

/** A prompt and what was said to it. */
type Judged = Pick<ReturnType<typeof comparedIn>[number], 'prompt' | 'replies'>;

/** Seconds of a run, waiting for the chat left out; undefined where no speed was measured. */
export function estimateSeconds(
  { speed, budgetTokens }: Plan,
  method: TrainingMethod,
  { lessons, heldOut }: { lessons: readonly Judgement[]; heldOut: readonly Judgement[] },
): number | undefined {
  if (!speed) return undefined;
  const rows = (judgements: readonly Judgement[]) =>
    judgements.flatMap((judgement) => lengthsOf(judgedIn(judgement), budgetTokens));
  const [learned, apart] = [rows(lessons), rows(heldOut)];
  const text = (method === 'ppo' ? TEXT_ROWS : 0) + TEXT_MEASURED;
  const read = total(learned) + total(apart) + text * TEXT_TOKENS;
  const compared = total(apart) + (1 + SCALINGS) * TEXT_MEASURED * TEXT_TOKENS;
  const learning = method === 'kto' ? ktoTokens(learned) : dpoTokens(lessons, budgetTokens);
  const practising = method === 'ppo' ? practiceTokens(learned, lessons) : 0;
  const tokens = 2 * FORWARD * read + learning + practising + FORWARD * compared;
  const graphs = method === 'ppo' ? 2 * GRAPHS : GRAPHS;
  return (REST * (tokens * speed.tokenMs + graphs * speed.loadMs)) / 1000;
}

/** A step takes some of the rankings, or of their parts. */
function dpoTokens(lessons: readonly Judgement[], budgetTokens: number): number {
  const tasks = comparedIn(lessons).flatMap((compared) => {
    const lengths = lengthsOf(compared, budgetTokens);
    const parts = partsOf(lengths, compared.ranks, budgetTokens);
    return parts.map((part) => total(part.map((i) => lengths[i]!)));
  });
  const { promptsPerStep } = course.dpo;
  const steps = stepsOver(tasks.length, promptsPerStep, course.dpo);
  const taken = Math.min(promptsPerStep, tasks.length);
  return (steps * taken * total(tasks)) / Math.max(1, tasks.length);
}

/** Some replies are also read after another's prompt, for four steps in turn, and scored there. */
function ktoTokens(rows: readonly number[]): number {
  const { batch, mismatched } = course.kto;
  const steps = stepsOver(rows.length, batch, course.kto);
  const each = total(rows) / Math.max(1, rows.length);
  const others = FORWARD * Math.min(mismatched, rows.length) * each;
  const step = Math.min(batch, rows.length) * each + others;
  return 2 * FORWARD * total(rows) + 4 * 2 * others + steps * step;
}

/** Replies are spoken, read, scored by both policies, and learned from beside ordinary text. */
function practiceTokens(rows: readonly number[], lessons: readonly Judgement[]): number {
  const { iterations, promptsPerIteration, repliesPerPrompt, maxTokens, ...rest } = course.ppo;
  const replies = Math.min(promptsPerIteration, promptsIn(lessons)) * repliesPerPrompt;
  const prompt = total(rows) / Math.max(1, rows.length) / 2;
  const each = SPOKEN * maxTokens + (3 * FORWARD + 1) * (prompt + maxTokens);
  return iterations * (replies * each + rest.minibatches * rest.ptxRows * TEXT_TOKENS);
}

/** About how many tokens each row has, cut to the room there is. */
function lengthsOf({ prompt, replies }: Judged, budgetTokens: number): number[] {
  const { longestPrompt, longestRow } = roomFor(budgetTokens);
  const turns = prompt.map(({ content }) => TURN_TOKENS + tokensOf(content));
  const read = Math.min(longestPrompt, TURN_TOKENS + total(turns));
  return replies.map(({ text, provenance }) =>
    Math.min(longestRow, read + (provenance?.tokens?.length || tokensOf(text))),
  );
}

/** The replies of a judgement: of an edit the person's text, too. */
function judgedIn({ body }: Judgement): Judged {
  const { prompt } = body;
  if ('replies' in body) return { prompt, replies: body.replies };
  return { prompt, replies: 'text' in body ? [{ text: body.text }, body.reply] : [body.reply] };
}

const tokensOf = (text: string): number => new TextEncoder().encode(text).length / TOKEN_BYTES;

const promptsIn = (judgements: readonly Judgement[]): number =>
  new Set(judgements.map(({ body }) => JSON.stringify(body.prompt))).size;
