// Who is preferred among several releases: Bradley–Terry ratings with bootstrap intervals over prompts.
// Knows what was won only; who judged is the caller's business.
import { Random } from '@rapport/core';
import { lengthControlled, meanOver, winsOf } from './win-rate.ts';
import type { Comparison, Interval } from './win-rate.ts';

export interface Rating {
  readonly release: string;
  /** Elo scale: 400·log₁₀ of the odds, mean 1000. */
  readonly rating: number;
  readonly low: number;
  readonly high: number;
}

/** Scores of each contestant: per prompt, per reply; larger is better. */
export type Contestants = ReadonlyMap<string, readonly (readonly number[])[]>;

/** One contestant against another: what the first won, from 0 to 1. */
interface Game {
  readonly first: string;
  readonly second: string;
  readonly won: number;
}

const RESAMPLES = 500;

/** Ratings of all contestants, and the win rate of the first against the second. */
export function arena(
  contestants: Contestants,
  seed = 99,
): { ratings: Rating[]; winRate: Interval } {
  const names = [...contestants.keys()];
  const random = new Random(seed);
  const games: Game[][] = contestants.get(names[0]!)!.map(() => []);
  for (const [first, second] of couplesOf(names)) {
    const wins = winsOf(contestants.get(first)!, contestants.get(second)!);
    wins.forEach((won, p) => games[p]!.push({ first, second, won }));
  }
  const ratings = ratingsOf(names, games, random);
  return {
    ratings,
    winRate: meanOver(
      games.map(([game]) => game?.won ?? 0.5),
      random,
    ),
  };
}

/** A reply that somebody ranked, and which release spoke it. */
export interface RankedReply {
  readonly release: string;
  /** 1 is best, equal numbers are ties. */
  readonly rank: number;
  /** In any unit, the same for all. */
  readonly length: number;
}

/**
 * Ratings of releases by rankings that hold replies of more than one of them; those of one alone say nothing here. The
 * replies of one release to one prompt count together, however many they are. Intervals resample rankings, so they are
 * of the people who ranked. Releases that nobody compared are related by the others only.
 */
export function rateByRankings(rankings: readonly (readonly RankedReply[])[], seed = 99): Rating[] {
  const games = rankings
    .map((replies) =>
      couplesIn(replies).map(([first, second]): Game => {
        const won = wonOf(comparedIn(replies, first, second));
        return { first, second, won };
      }),
    )
    .filter((list) => list.length > 0);
  const names = [...new Set(games.flat().flatMap(({ first, second }) => [first, second]))];
  return ratingsOf(names.sort(), games, new Random(seed));
}

/** Two releases, and what people said of their replies to the same prompts. */
export interface Duel extends Interval {
  readonly releases: readonly [string, string];
  readonly rankings: number;
  /** The win rate of the first if replies of both were equally long. */
  readonly lengthControlled: Interval;
}

/** Every two releases that were compared, with the win rate of the first. */
export function duelsOf(rankings: readonly (readonly RankedReply[])[], seed = 99): Duel[] {
  const random = new Random(seed);
  const met = new Map<string, { releases: [string, string]; compared: Comparison[][] }>();
  for (const replies of rankings) {
    for (const releases of couplesIn(replies)) {
      const duel = met.get(releases.join()) ?? { releases, compared: [] };
      met.set(releases.join(), duel);
      duel.compared.push(comparedIn(replies, ...releases));
    }
  }
  return [...met.values()].map(({ releases, compared }) => ({
    releases,
    rankings: compared.length,
    ...meanOver(compared.map(wonOf), random),
    lengthControlled: lengthControlled(compared, random),
  }));
}

const couplesIn = (replies: readonly RankedReply[]): [string, string][] =>
  couplesOf([...new Set(replies.map(({ release }) => release))].sort());

function comparedIn(replies: readonly RankedReply[], first: string, second: string): Comparison[] {
  const of = (name: string) => replies.filter(({ release }) => release === name);
  return of(first).flatMap((a) =>
    of(second).map((b) => ({
      won: a.rank < b.rank ? 1 : a.rank === b.rank ? 0.5 : 0,
      longer: a.length - b.length,
    })),
  );
}

const wonOf = (comparisons: readonly Comparison[]): number =>
  comparisons.reduce((sum, { won }) => sum + won, 0) / comparisons.length;

const couplesOf = (names: readonly string[]): [string, string][] =>
  names.flatMap((a, i) => names.slice(i + 1).map((b): [string, string] => [a, b]));

/** Ratings with intervals that resample `games`, which holds a list for each prompt. */
function ratingsOf(
  names: readonly string[],
  games: readonly (readonly Game[])[],
  random: Random,
): Rating[] {
  const rating = strengthsOf(names, games);
  const resampled = Array.from({ length: RESAMPLES }, () =>
    strengthsOf(
      names,
      games.map(() => games[random.integer(games.length)]!),
    ),
  );
  const quantile = (i: number, q: number) =>
    resampled.map((r) => r[i]!).sort((a, b) => a - b)[Math.floor(q * RESAMPLES)]!;
  return names.map((release, i) => ({
    release,
    rating: rating[i]!,
    low: quantile(i, 0.025),
    high: quantile(i, 0.975),
  }));
}

/**
 * Bradley–Terry strengths on the Elo scale by Zermelo's iteration (arXiv 2207.00076), half a win added on either side
 * of every pair.
 */
function strengthsOf(names: readonly string[], games: readonly (readonly Game[])[]): number[] {
  const place = new Map(names.map((name, i) => [name, i]));
  const wins = names.map((_, a) => names.map((_, b) => (a === b ? 0 : 0.5)));
  for (const { first, second, won } of games.flat()) {
    const [a, b] = [place.get(first)!, place.get(second)!];
    wins[a]![b]! += won;
    wins[b]![a]! += 1 - won;
  }
  let strength = names.map(() => 1);
  for (let round = 0; round < 100; round++) {
    strength = strength.map((s, i) => {
      let [won, odds] = [0, 0];
      strength.forEach((other, j) => {
        if (i === j) return;
        won += wins[i]![j]!;
        odds += (wins[i]![j]! + wins[j]![i]!) / (s + other);
      });
      return odds === 0 ? s : won / odds;
    });
    const level = Math.exp(strength.reduce((sum, s) => sum + Math.log(s), 0) / strength.length);
    strength = strength.map((s) => s / level);
  }
  return strength.map((s) => 1000 + 400 * Math.log10(s));
}
