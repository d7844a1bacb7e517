// The rows of bench/learning.ts: which there are to be, what they are made with, and how they are shown.
import { meanOver } from '@rapport/rlhf';
import type { SimulationSpec } from '@rapport/rlhf';
import { Random } from '@rapport/core';

/** One person, one method, one number of votes, one seed. */
export interface LearningCase {
  readonly person: string;
  readonly method: SimulationSpec['method'];
  /** Pairs for 'dpo', thumbs for 'kto', ranked replies for the others, four to a prompt. */
  readonly votes: number;
  readonly seed: number;
}

export interface LearningRow extends LearningCase {
  readonly winRate: number;
  /** Of the warm start alone, for the same rankings and within the same NLL. */
  readonly warmStart?: { readonly winRate: number };
  /** What was won at each judged prompt. */
  readonly wins: readonly number[];
  readonly kl: number;
  readonly nllChange: number;
  readonly ended: number;
  readonly replyLength: number;
  readonly rewardModelAccuracy: number;
}

const PEOPLE = ['cheerful', 'lists', 'concise'];
/** People that nothing was tuned for: they have the rows of `GOALS` alone. */
const STRANGERS = ['addressed', 'figures', 'formal'];
/** Methods and votes that a goal was set for. */
const GOALS: ReadonlySet<string> = new Set(['dpo 60', 'ppo 200', 'kto 200', 'kto 60']);
/** Methods with their votes, those first that goals were set for. */
const METHODS: readonly (readonly [LearningCase['method'], readonly number[]])[] = [
  ['dpo', [60, 200, 20]],
  ['ppo', [200, 60, 20]],
  ['kto', [200, 60, 20]],
  ['rloo', [200, 60, 20]],
  ['sft', [200, 60, 20]],
  ['bestofn', [200, 60, 20]],
];
const SEEDS = [0, 1, 2];
const REPLIES = 4;
/** Prompts that the base answers for every case of a seed: the most that any of them asks. */
const PROMPTS = 60;

/** Every case that has no row yet, the most telling first: all people and methods with one seed, then the next. */
export function missingRows(rows: readonly LearningCase[]): LearningCase[] {
  const known = new Set(rows.map(keyOf));
  const depth = Math.max(...METHODS.map(([, votes]) => votes.length));
  return Array.from({ length: depth }, (_, i) => i)
    .flatMap((i) =>
      SEEDS.flatMap((seed) =>
        METHODS.flatMap(([method, votes]) =>
          votes
            .slice(i, i + 1)
            .flatMap((count) =>
              peopleOf(method, count).map((person) => ({ person, method, votes: count, seed })),
            ),
        ),
      ),
    )
    .filter((one) => !known.has(keyOf(one)));
}

const peopleOf = (method: string, votes: number): readonly string[] =>
  GOALS.has(`${method} ${votes}`) ? [...PEOPLE, ...STRANGERS] : PEOPLE;

/** What bench/simulate.ts is told. */
export function settingsOf({ person, method, votes, seed }: LearningCase) {
  return {
    annotator: person,
    method,
    seed,
    noise: 0,
    votes: method === 'dpo' ? PROMPTS * REPLIES : votes,
    ...(method === 'dpo' && { pairs: votes }),
    sampledPrompts: PROMPTS,
    sampledJudged: 4,
    judgedSamples: 2,
  };
}

/** Markdown: seeds pooled, since all are judged at the same prompts. `prompts`: the file they are from, where not the usual. */
export function learningTable(rows: readonly LearningRow[], prompts = ''): string {
  const groups = new Map<string, LearningRow[]>();
  const inOrder = missingRows([]).map(groupOf);
  for (const row of rows) groups.set(groupOf(row), [...(groups.get(groupOf(row)) ?? []), row]);
  const judged = rows[0]?.wins.length ?? 0;
  const lines = [...new Set(inOrder)].flatMap((key) => {
    const group = groups.get(key);
    return group ? [lineOf(group)] : [];
  });
  return `${headOf(prompts, judged)}${lines.join('\n')}\n`;
}

const headOf = (
  prompts: string,
  judged: number,
) => `# Learning, measured${prompts && `: prompts of ${prompts}.jsonl`}

Made by \`npx tsx bench/learning.ts${prompts && ` --prompts ${prompts}`}\`, which adds the rows that are missing. A simulated person votes on replies of the base
and judges the result on ${judged} other prompts, 2 replies each against 4 of the base: a win counts 1, a tie one half. Votes are
pairs for DPO, thumbs for KTO, ranked replies for the others, four to a prompt; none is mistaken. Intervals are 95 %
bootstrap over prompts, seeds pooled. NLL is that of answers by people that nothing was learned from; held to +3 %.

| method | votes | person | seeds | win rate [95 %] | warm start alone | KL per token | NLL | replies that end | words |
| ------ | ----- | ------ | ----- | --------------- | ---------------- | ------------ | --- | ---------------- | ----- |
`;

function lineOf(group: readonly LearningRow[]): string {
  const { method, votes, person } = group[0]!;
  const mean = (of: (row: LearningRow) => number) =>
    group.reduce((sum, row) => sum + of(row), 0) / group.length;
  const wins = group[0]!.wins.map((_, p) => mean((row) => row.wins[p]!));
  const { winRate, low, high } = meanOver(wins, new Random(99));
  const cells = [
    method,
    votes,
    person,
    group
      .map(({ seed }) => seed)
      .sort((a, b) => a - b)
      .join(', '),
    `${winRate.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`,
    group.every(({ warmStart }) => warmStart)
      ? mean(({ warmStart }) => warmStart!.winRate).toFixed(3)
      : '',
    mean(({ kl }) => kl).toFixed(3),
    `${(100 * mean(({ nllChange }) => nllChange)).toFixed(1)} %`,
    mean(({ ended }) => ended).toFixed(2),
    mean(({ replyLength }) => replyLength).toFixed(0),
  ];
  return `| ${cells.join(' | ')} |`;
}

const groupOf = ({ person, method, votes }: LearningCase) => `${method} ${votes} ${person}`;
/** 'method votes person seed' */
export const keyOf = (one: LearningCase) => `${groupOf(one)} ${one.seed}`;
