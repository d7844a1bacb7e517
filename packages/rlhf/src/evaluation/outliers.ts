// Outliers: people whose rankings a reward model learned from everybody else gets wrong far more often than chance
// would. Whoever merely has a taste of their own, or errs, agrees about half the time. It needs three people.
import { pairsOf } from '../train/rankings.ts';
import { rewardOf, trainReward } from '../train/reward.ts';
import type { RankedReplies } from '../train/reward.ts';

/** A ranking of somebody known. */
export type SignedRanking = RankedReplies & { readonly annotator: string };

/** Models that are trained, each without a share of the people. */
const FOLDS = 10;

/**
 * Those who agree with the rest less than chance by `deviations` standard errors: the mean over somebody's n rankings of
 * the share of pairs in the model's order lies below ½ − deviations/(2√n). Everybody has the same say in a model, by as
 * many rankings as the median person gave: who votes most must not decide who is strange.
 */
export function outliers(rankings: readonly SignedRanking[], deviations: number): string[] {
  const byPerson = new Map<string, SignedRanking[]>();
  for (const ranking of rankings) {
    if (pairsOf(ranking.ranks).length === 0) continue;
    const { annotator } = ranking;
    byPerson.set(annotator, [...(byPerson.get(annotator) ?? []), ranking]);
  }
  const people = [...byPerson.keys()];
  if (people.length < 3) return [];
  const counts = [...byPerson.values()].map(({ length }) => length).sort((a, b) => a - b);
  const say = counts[Math.floor(counts.length / 2)]!;
  const folds = Math.min(FOLDS, people.length);
  // With fewer rankings even total disagreement is not far enough from chance.
  const telling = people.filter((name) => byPerson.get(name)!.length > deviations ** 2);
  return Array.from({ length: folds }).flatMap((_, fold) => {
    const apart = telling.filter((_, i) => i % folds === fold);
    if (apart.length === 0) return [];
    const rest = people.filter((name) => !apart.includes(name));
    const model = trainReward(rest.flatMap((name) => byPerson.get(name)!.slice(-say)));
    return apart.filter((name) => {
      const shares = byPerson.get(name)!.map(({ replies, ranks }) => {
        const scores = replies.map((reply) => rewardOf(model, reply));
        return average(
          pairsOf(ranks).map(({ better, worse }) => Number(scores[better]! > scores[worse]!)),
        );
      });
      return average(shares) < 0.5 - deviations / (2 * Math.sqrt(shares.length));
    });
  });
}

const average = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0) / x.length;
