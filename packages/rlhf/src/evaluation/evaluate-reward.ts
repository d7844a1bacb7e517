// A reward model on preference pairs of people: trained on some, measured on others, beside "longer wins".
import { Random } from '@rapport/core';
import type { Checkpoint, Runtime } from '@rapport/core';
import { Policy } from '../train/policy.ts';
import { rewardOf, trainReward } from '../train/reward.ts';
import type { RankedScores } from '../train/reward.ts';
import type { Row } from '../train/rows.ts';
import { bootstrap } from './win-rate.ts';

/** A prompt with a better and a worse reply. */
export interface TokenPair {
  readonly prompt: readonly number[];
  readonly chosen: readonly number[];
  readonly rejected: readonly number[];
}

export interface RewardReport {
  readonly accuracy: number;
  readonly low: number;
  readonly high: number;
  readonly logLoss: number;
  /** Accuracy of "the longer reply is better" on the same pairs. */
  readonly lengthBaseline: number;
  readonly pairs: number;
  readonly readout: string;
}

/** Trains on `train`, reports on `test`; yields the number of scored pairs. */
export async function* evaluateReward(
  { train, test }: { train: readonly TokenPair[]; test: readonly TokenPair[] },
  { checkpoint, runtime }: { checkpoint: Checkpoint; runtime: Runtime },
  signal?: AbortSignal,
): AsyncGenerator<{ stage: 'score'; step: number; of: number }, RewardReport> {
  const policy = new Policy(checkpoint, runtime);
  const all = [...train, ...test];
  const scored: RankedScores[] = [];
  try {
    for (let at = 0; at < all.length; at += PAIRS_AT_ONCE) {
      const rows = all
        .slice(at, at + PAIRS_AT_ONCE)
        .flatMap(({ prompt, chosen, rejected }): Row[] => [
          { prompt, reply: chosen },
          { prompt, reply: rejected },
        ]);
      const options = signal ? { signal } : {};
      const scores = await policy.score(await policy.withTrunk(rows, signal), null, options);
      for (let i = 0; i < scores.length; i += 2) {
        scored.push({ replies: scores.slice(i, i + 2), ranks: [1, 2] });
      }
      yield { stage: 'score', step: scored.length, of: all.length };
    }
    const model = trainReward(scored.slice(0, train.length));
    const leads = scored
      .slice(train.length)
      .map(({ replies: [better, worse] }) => rewardOf(model, better!) - rewardOf(model, worse!));
    const right = leads.map((lead) => (lead > 0 ? 1 : lead === 0 ? 0.5 : 0));
    const longer = test.map(({ chosen, rejected }) =>
      chosen.length > rejected.length ? 1 : chosen.length === rejected.length ? 0.5 : 0,
    );
    return {
      accuracy: average(right),
      ...bootstrap(right, new Random(99)),
      logLoss: average(leads.map((lead) => Math.log1p(Math.exp(-lead / model.gain)))),
      lengthBaseline: average(longer),
      pairs: test.length,
      readout: model.readout,
    };
  } finally {
    await policy.dispose();
  }
}

const PAIRS_AT_ONCE = 32;
const average = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0) / x.length;
