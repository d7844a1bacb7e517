import { expect, test } from 'vitest';
import { NODE_EXACT, NODE_OWN, OWN } from './engines.ts';
import { Match, type Contestant } from './match.ts';
import type { Piece } from './page/engine.ts';
import { missingRow, rowOf, type Row } from './rows.ts';
import { TARGETS, verdicts, verdictTable, type Target } from './targets.ts';
import {
  adapters,
  branches,
  chat,
  exactness,
  FULL,
  guesses,
  rollouts,
  type Sizes,
} from './workloads.ts';

const row = (engine: string, workload: string, runs: number[]) =>
  rowOf({ suite: 's', workload, engine, metric: 'm', unit: 'ms' }, runs);
const place = (engine: string, workload = 'w') => ({ engine, workload, metric: 'm' });
const target = (bound: Partial<Target>): Target => ({
  suite: 's',
  what: 'x',
  of: place('peer'),
  unit: 'times',
  ...bound,
});
const judged = (rows: Row[], bound: Partial<Target>) => verdicts(rows, 's', [target(bound)])[0]!;

test('a ratio of medians is met at its bound, and not beside it', () => {
  const rows = [row('peer', 'w', [30, 60, 90]), row('own', 'w', [20])];
  const per = place('own');
  expect(judged(rows, { per, least: 3 })).toMatchObject({ measured: 3, met: true });
  expect(judged(rows, { per, least: 3.01 })).toMatchObject({ measured: 3, met: false });
  expect(judged(rows, { per, most: 3 }).met).toBe(true);
  expect(judged(rows, { per, most: 2.99 }).met).toBe(false);
});

test('the two figures of a ratio may be of different workloads', () => {
  const rows = [row('own', 'after 64', [20]), row('own', 'after 1536', [40])];
  const of = place('own', 'after 64');
  const per = place('own', 'after 1536');
  expect(judged(rows, { of, per, least: 0.7 })).toMatchObject({ measured: 0.5, met: false });
});

test('where the worst run counts, it is the lowest against a lower bound and else the highest', () => {
  const rows = [row('peer', 'w', [0.9, 1, 1.2])];
  expect(judged(rows, { worst: true, least: 0.95 })).toMatchObject({ measured: 0.9, met: false });
  expect(judged(rows, { worst: true, most: 1.1 })).toMatchObject({ measured: 1.2, met: false });
  expect(judged(rows, { least: 0.95 }).met).toBe(true);
});

test('what was not measured is neither met nor missed, and says why', () => {
  const missing = missingRow(
    { suite: 's', workload: 'all', engine: 'peer' },
    'it is not installed',
  );
  const rows = [row('own', 'w', [1]), missing];
  const bound = { per: place('own'), least: 1 };
  expect(judged(rows, bound)).toMatchObject({ reason: 'peer: it is not installed' });
  expect(judged(rows, bound).met).toBeUndefined();
  expect(judged([row('peer', 'w', [1])], bound).reason).toContain('own: no such row');
  const table = verdictTable(
    verdicts(rows, 's', [target(bound), target({ of: place('own'), most: 1 })]),
  );
  expect(table).toContain('Targets: 1 met, 0 not met, 1 not measured.');
  expect(table).toContain('| x | at least 1 times | not measured: peer: it is not installed |  |');
});

test('targets are judged in the section that has their rows', () => {
  const rows = [row('peer', 'w', [1])];
  expect(verdicts(rows, 'other', [target({ least: 1 })])).toEqual([]);
  expect(verdictTable([])).toBe('');
});

/** An engine that answers everything at once. */
const engine = (label: string): Contestant => ({
  label,
  ask: async ({ kind, count = 1 }) =>
    kind === 'reply'
      ? { ms: [], reply: { ids: [1], tokensPerSecond: 10 } }
      : { ms: new Array<number>(count).fill(1) },
  quality: async () => ({ kl: [0], nll: [1], agreement: [1], partial: false }),
});

test('a full run measures the figures that targets of engines are about', async () => {
  const piece = (count: number): Piece => ({ ids: new Array<number>(count).fill(1), texts: [] });
  const texts = { words: piece, prompt: () => piece(8) };
  const sizes: Sizes = { ...FULL, rounds: 1, reads: 1, longReads: 1 };
  const wanted = TARGETS.filter(({ suite }) => suite === 'inference');
  const labels = [...new Set(wanted.flatMap(({ of, per }) => [of, ...(per ? [per] : [])]))].map(
    (one) => one.engine,
  );
  const match = new Match('inference', [...new Set(labels)].map(engine));
  await chat(match, texts, sizes);
  await branches(match, labels, texts, sizes);
  await adapters(match, labels, texts, sizes);
  await guesses(match, OWN, texts, sizes);
  const speeds = new Map([NODE_OWN, NODE_EXACT].map((label) => [label, async () => 1]));
  await rollouts(match, speeds, texts, sizes);
  await exactness(match, piece(FULL.text));
  const found = verdicts(match.rows, 'inference');
  // Loading, memory and the download are measured with an engine alone.
  expect(found.filter(({ met }) => met === undefined).map(({ target }) => target.what)).toEqual([
    'a later load: to the first token',
    'download of the default model',
    'page memory while chatting, cache full, beyond an empty page',
  ]);
});
