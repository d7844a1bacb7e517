// A reward model on judgements of people: trained on some, measured on others.
import type { Checkpoint, Runtime } from '@rapport/core';
import { Policy } from '../train/policy.ts';
import type { Ranking } from '../train/rankings.ts';
import { disagreement, featuresOf, rewardOf, trainReward } from '../train/reward.ts';
import type { RankedReplies, Readout, RewardOptions } from '../train/reward.ts';
import { promptKey } from '../train/rows.ts';
import { rewardReport } from './reward-report.ts';
import type { RewardReport } from './reward-report.ts';

/** A ranking and who made it. */
export interface AnnotatedRanking extends Ranking {
  readonly annotator?: string | undefined;
}

export interface RewardEvaluation extends RewardReport {
  readonly readout: Readout;
  readonly l2: number;
  readonly heads: number;
  /** Mean deviation of the heads' scores of a reply, where replies' scores have deviation 1. */
  readonly disagreement: number;
}

/** Trains on `train`, reports on `test`; yields the number of scored rankings. */
export async function* evaluateReward(
  { train, test }: { train: readonly AnnotatedRanking[]; test: readonly AnnotatedRanking[] },
  { checkpoint, runtime }: { checkpoint: Checkpoint; runtime: Runtime },
  options: RewardOptions = {},
  signal?: AbortSignal,
): AsyncGenerator<{ stage: 'score'; step: number; of: number }, RewardEvaluation> {
  const policy = new Policy(checkpoint, runtime);
  const all = [...train, ...test];
  const ranked: RankedReplies[] = [];
  try {
    for (let at = 0; at < all.length; at += AT_ONCE) {
      const some = all.slice(at, at + AT_ONCE);
      const rows = some.flatMap(({ prompt, replies }) =>
        replies.map((reply) => ({ prompt, reply })),
      );
      const withTrunk = await policy.withTrunk(rows, signal);
      const features = (await policy.statesAs(withTrunk, featuresOf, signal)).values();
      for (const ranking of some) {
        const { replies, ranks, annotator } = ranking;
        const read = replies.map(() => features.next().value!);
        ranked.push({ replies: read, ranks, annotator, prompt: promptKey(ranking) });
      }
      yield { stage: 'score', step: ranked.length, of: all.length };
    }
  } finally {
    await policy.dispose();
  }
  const model = trainReward(ranked.slice(0, train.length), [], options);
  const held = ranked.slice(train.length);
  const differences = held.flatMap(({ replies }) => replies.map((r) => disagreement(model, r)));
  const report = rewardReport(
    held.map(({ replies, ranks, annotator }) => ({
      scores: replies.map((reply) => rewardOf(model, reply) / model.gain),
      lengths: replies.map(({ tokens }) => tokens),
      ranks,
      annotator,
    })),
  );
  return {
    ...report,
    readout: model.readout,
    l2: model.l2,
    heads: model.heads.length,
    disagreement: differences.reduce((a, b) => a + b, 0) / differences.length,
  };
}

const AT_ONCE = 16;
