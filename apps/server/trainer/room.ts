// How much a training run takes on at once, and judgements cut to that: conversations of any length may be judged, and
// attention grows with the square of theirs.
import { totalmem } from 'node:os';
import type { Judgement, Tokenizer } from '@rapport/core';
import { cutTo, fitted, loneVotes, rankingsOf, shortened, thumbsOf } from '@rapport/rlhf';
import type { Ranking, Room, Thumb } from '@rapport/rlhf';

const ROOM: Room = { budgetTokens: 4096, longestRow: 1024, longestPrompt: 640 };

/**
 * What layers may keep for the backward pass: half of the memory of the machine or container, by an estimate that is
 * too high. It stays the same when a run is resumed.
 */
export const activationBytes = (): number =>
  Math.min(totalmem(), process.constrainedMemory() || Infinity) / 2;

/** What judgements compare, cut and where need be taken apart. */
export const rankingsIn = (rows: readonly Judgement[], tokenizer: Tokenizer): Ranking[] =>
  rankingsOf(short(rows, tokenizer), tokenizer).flatMap((ranking) => fitted(ranking, ROOM));

/** Votes that are part of no comparison, cut. */
export const thumbsIn = (rows: readonly Judgement[], tokenizer: Tokenizer): Thumb[] =>
  thumbsOf(loneVotes(short(rows, tokenizer)), tokenizer).map(cutTo(ROOM));

const short = (rows: readonly Judgement[], tokenizer: Tokenizer): Judgement[] =>
  rows.map((row) => shortened(row, ROOM, tokenizer));
