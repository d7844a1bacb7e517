// What the bench has to show, as data, and what the rows of a run say of it.
import {
  EXACT,
  LLAMA_CPP,
  NODE_EXACT,
  NODE_OWN,
  OWN,
  PYTORCH,
  TRAINING_NODE,
  TRAINING_PAGE,
  TRANSFORMERS,
  WLLAMA,
} from './engines.ts';
import { threeDigits } from '@rapport/rlhf';
import { type Row } from './rows.ts';
import { TRAINED } from './training-names.ts';
import { FULL, METRICS, named, ROLLOUTS } from './workloads.ts';

/** Where a figure stands. */
interface Place {
  engine: string;
  workload: string;
  metric: string;
}

export interface Target {
  suite: string;
  /** What is bounded, in words. */
  what: string;
  of: Place;
  /** Its median divides that of `of`. */
  per?: Place;
  /** Which of several runs counts, where it is not the median. */
  worst?: true;
  least?: number;
  most?: number;
  unit: string;
}

const at = (engine: string, workload: string, [metric]: readonly [string, string]): Place => ({
  engine,
  workload,
  metric,
});

/** How many times as fast as `peer` we are, at least. */
const faster = (
  engine: string,
  peer: string,
  [workload, metric]: readonly [string, readonly [string, string]],
  least: number,
): Target => ({
  suite: 'inference',
  what: `${workload}: time of ${peer} over ours`,
  of: at(peer, workload, metric),
  per: at(engine, workload, metric),
  least,
  unit: 'times',
});

const [shortest, longest] = [FULL.pasts[0]!, FULL.pasts.at(-1)!];
const text = named.text(FULL.text);
const alternates = named.replies('four alternates', FULL.replyTokens);
const filled = named.fullMemory(FULL.prompts.at(-1)! * (FULL.fillings + 1));

const decodeTargets = FULL.pasts.flatMap((past) => {
  const decode = [named.decode(past), METRICS.aToken] as const;
  return [
    faster(OWN, WLLAMA, decode, 3),
    faster(OWN, EXACT, decode, 1.8),
    faster(OWN, TRANSFORMERS, decode, 2),
    faster(NODE_OWN, LLAMA_CPP, decode, 1),
  ];
});

const inference: Target[] = [
  ...decodeTargets,
  {
    suite: 'inference',
    what: `decode: speed after ${longest} tokens over that after ${shortest}`,
    of: at(OWN, named.decode(shortest), METRICS.aToken),
    per: at(OWN, named.decode(longest), METRICS.aToken),
    least: 0.7,
    unit: 'times',
  },
  ...FULL.prompts.map((count) => faster(OWN, WLLAMA, [named.read(count), METRICS.time], 8)),
  {
    suite: 'inference',
    // No growth at all could not be told from the spread.
    what: `second turn: time to first token after ${longest} tokens over that after ${shortest}`,
    of: at(OWN, named.turn(longest), METRICS.firstToken),
    per: at(OWN, named.turn(shortest), METRICS.firstToken),
    most: 1.1,
    unit: 'times',
  },
  {
    suite: 'inference',
    what: 'four alternates: time over that of one reply',
    of: at(OWN, alternates, METRICS.asLong),
    most: 1.6,
    unit: 'times',
  },
  {
    suite: 'inference',
    what: 'an adapter: time a token over that without',
    of: at(OWN, named.adapter(true), METRICS.aToken),
    per: at(OWN, named.adapter(false), METRICS.aToken),
    most: 1.1,
    unit: 'times',
  },
  ...(['rewriting', 'summarising'] as const).map((kind) => ({
    suite: 'inference',
    what: `guesses, ${kind}: speed with over without`,
    of: at(OWN, named.guesses(kind), METRICS.faster),
    least: 1.5,
    unit: 'times',
  })),
  {
    suite: 'inference',
    what: 'guesses, a free reply: speed with over without, slowest prompt',
    of: at(OWN, named.guesses('a free reply'), METRICS.faster),
    worst: true,
    least: 0.95,
    unit: 'times',
  },
  ...(['rewriting', 'summarising', 'a free reply'] as const).map((kind) => ({
    suite: 'inference',
    what: `guesses, ${kind}: every greedy reply is the same`,
    of: at(OWN, named.guesses(kind), METRICS.same),
    worst: true as const,
    least: 1,
    unit: '',
  })),
  {
    suite: 'inference',
    what: 'a later load: to the first token',
    of: at(OWN, named.laterLoad, METRICS.toFirstToken),
    most: 2000,
    unit: 'ms',
  },
  {
    suite: 'inference',
    what: 'download of the default model',
    of: at(OWN, named.download, METRICS.size),
    most: 100,
    unit: 'MB',
  },
  {
    suite: 'inference',
    what: 'page memory while chatting, cache full, beyond an empty page',
    of: at(OWN, filled, METRICS.peak),
    most: 350,
    unit: 'MB',
  },
  ...(
    [
      [OWN, EXACT],
      [NODE_OWN, NODE_EXACT],
    ] as const
  ).flatMap(([engine, exact]) => [
    {
      suite: 'inference',
      what: `KL to fp32 of ${engine}`,
      of: at(engine, text, METRICS.kl),
      most: 0.005,
      unit: 'nats',
    },
    {
      suite: 'inference',
      what: `perplexity of ${engine} over that of fp32`,
      of: at(engine, text, METRICS.perplexity),
      per: at(exact, text, METRICS.perplexity),
      most: 1.005,
      unit: 'times',
    },
  ]),
  {
    suite: 'inference',
    // Of the engine that samples for training: our own kernels are for one conversation.
    what: `rollouts in Node: speed of ${ROLLOUTS} side by side over one alone`,
    of: at(NODE_EXACT, named.rollouts(ROLLOUTS), METRICS.speed),
    per: at(NODE_EXACT, named.rollouts(1), METRICS.speed),
    least: 4,
    unit: 'times',
  },
];

const trained = (
  what: string,
  bound: Pick<Target, 'least' | 'most'>,
  unit: string,
  of: Place,
  per?: Place,
): Target => ({ suite: 'training', what, of, ...(per && { per }), ...bound, unit });

const { step, dpo, speed, time, peak } = TRAINED;

const training: Target[] = [
  trained(
    'a step: speed in Node over PyTorch’s',
    { least: 1 },
    'times',
    at(TRAINING_NODE, step, speed),
    at(PYTORCH, step, speed),
  ),
  trained(
    'a step: peak memory in Node over PyTorch’s',
    { most: 1 },
    'times',
    at(TRAINING_NODE, step, peak),
    at(PYTORCH, step, peak),
  ),
  trained(
    'a step: speed in Chromium over that in Node',
    { least: 0.2 },
    'times',
    at(TRAINING_PAGE, step, speed),
    at(TRAINING_NODE, step, speed),
  ),
  trained('a step: peak memory in Chromium', { most: 1800 }, 'MB', at(TRAINING_PAGE, step, peak)),
  trained(
    'DPO: time in Node over PyTorch’s without the trunk’s cache',
    { most: 0.5 },
    'times',
    at(TRAINING_NODE, dpo(), time),
    at(PYTORCH, dpo(), time),
  ),
  trained('DPO: time in Node', { most: 60 }, 's', at(TRAINING_NODE, dpo(), time)),
  trained('DPO: time in Chromium', { most: 360 }, 's', at(TRAINING_PAGE, dpo(), time)),
  trained(
    `rollouts: speed of ${ROLLOUTS} side by side over one at a time`,
    { least: 3 },
    'times',
    at(TRAINING_NODE, named.rollouts(ROLLOUTS), speed),
    at(TRAINING_NODE, named.rollouts(1), speed),
  ),
];

export const TARGETS: readonly Target[] = [...inference, ...training];

export interface Verdict {
  target: Target;
  measured?: number;
  met?: boolean;
  /** Why it was not measured. */
  reason?: string;
}

/** What the rows say of the targets of their suites. */
export function verdicts(
  rows: readonly Row[],
  suite: string,
  targets: readonly Target[] = TARGETS,
): Verdict[] {
  return targets.filter((target) => target.suite === suite).map((target) => verdict(rows, target));
}

function verdict(rows: readonly Row[], target: Target): Verdict {
  const { of, per, worst, least = -Infinity, most = Infinity } = target;
  const above = find(rows, of);
  const below = per ? find(rows, per) : undefined;
  if (typeof above === 'string') return { target, reason: above };
  if (typeof below === 'string') return { target, reason: below };
  const side = !worst ? 'median' : target.least === undefined ? 'high' : 'low';
  const measured = above[side]! / (below?.median ?? 1);
  return { target, measured, met: measured >= least && measured <= most };
}

/** The row that has a figure, or why there is none. */
function find(rows: readonly Row[], { engine, workload, metric }: Place): Row | string {
  const mine = rows.filter((row) => row.engine === engine);
  const found = mine.find((row) => row.workload === workload && row.metric === metric);
  if (found && found.median !== null) return found;
  const note = mine.find((row) => row.note)?.note ?? 'no such row in this run';
  return `${engine}: ${note}`;
}

/** Targets, what was measured of each, and whether it is met, as Markdown; empty where there are none. */
export function verdictTable(all: readonly Verdict[]): string {
  if (all.length === 0) return '';
  const count = (met: boolean | undefined) => all.filter((one) => one.met === met).length;
  const lines = all.map(({ target, measured, met, reason }) => {
    const { what, least, most, unit } = target;
    const bound = least === undefined ? `at most ${most}` : `at least ${least}`;
    const found = measured === undefined ? `not measured: ${reason}` : threeDigits(measured);
    const verdict = met === undefined ? '' : met ? 'yes' : '**no**';
    return `| ${[what, `${bound} ${unit}`.trim(), found, verdict].join(' | ')} |`;
  });
  return [
    `Targets: ${count(true)} met, ${count(false)} not met, ${count(undefined)} not measured.`,
    ['| target | bound | measured | met |', '|---|---|---|---|', ...lines].join('\n'),
  ].join('\n\n');
}
