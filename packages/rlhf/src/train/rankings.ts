// Rankings of K replies to one prompt, as tokens, and the pairs they hold.

/** Replies of one prompt in the order somebody gave them; `ranks`: 1 is best, equal numbers are ties. */
export interface Ranking {
  readonly prompt: readonly number[];
  /** With the end-of-turn token where the reply ended by itself. */
  readonly replies: readonly (readonly number[])[];
  readonly ranks: readonly number[];
  /** One per reply; 1 and 1 where none are given. */
  readonly ends?: readonly EndWeights[];
}

/** What the last token of a reply weighs where it is the better one of a pair, and where it is the worse. */
export interface EndWeights {
  readonly better: number;
  readonly worse: number;
}

/** Numbers of two replies of a ranking. */
export interface Pair {
  readonly better: number;
  readonly worse: number;
}

/** All ordered pairs of a ranking; ties give none. */
export function pairsOf(ranks: readonly number[]): Pair[] {
  return ranks.flatMap((a, better) =>
    ranks.flatMap((b, worse) => (a < b ? [{ better, worse }] : [])),
  );
}

/**
 * Where a reply of a ranking was cut at its limit, the end-of-turn token stands in some of its replies only, and whatever is
 * preferred to those would be paid for not ending (docs/log.md). Such ends go, unless better replies end more often than worse
 * ones: that says where replies should end. Then they count for the better reply, by the share of it that worse ones have not,
 * and not against the worse.
 */
export function withFairEnds(rankings: readonly Ranking[], endOfTurn: number): Ranking[] {
  const ended = (reply: readonly number[]) => reply.at(-1) === endOfTurn;
  let [ofBetter, ofWorse] = [0, 0];
  for (const { replies, ranks } of rankings) {
    const pairs = pairsOf(ranks);
    for (const { better, worse } of pairs) {
      ofBetter += Number(ended(replies[better]!)) / pairs.length;
      ofWorse += Number(ended(replies[worse]!)) / pairs.length;
    }
  }
  const kept = shareKept(ofBetter, ofWorse);
  return rankings.map((ranking) => {
    const { replies } = ranking;
    if (replies.every(ended)) return ranking;
    if (kept === 0) {
      return { ...ranking, replies: replies.map((reply) => withoutEnd(reply, endOfTurn)) };
    }
    const ends = replies.map((reply) =>
      ended(reply) ? { better: kept, worse: 0 } : { better: 1, worse: 1 },
    );
    return { ...ranking, ends };
  });
}

/** Of the ends that good replies have, the share that bad ones have not. */
const shareKept = (ofGood: number, ofBad: number): number =>
  ofBad < ofGood ? 1 - ofBad / ofGood : 0;

/**
 * Ends that good and bad replies have alike say nothing: only as many stay as good ones have more, spread evenly. Punished
 * ends would teach not to end, and ends of both would teach to end, since what is good is strengthened for longer.
 */
export function withoutCommonEnds<T extends Judged>(
  thumbs: readonly T[],
  endOfTurn: number,
): readonly T[] {
  const ended = ({ reply }: T) => reply.at(-1) === endOfTurn;
  const shareOf = (kind: readonly T[]) => kind.filter(ended).length / Math.max(1, kind.length);
  const ofGood = shareOf(thumbs.filter(({ good }) => good));
  const ofBad = shareOf(thumbs.filter(({ good }) => !good));
  const kept = shareKept(ofGood, ofBad);
  let seen = 0;
  return thumbs.map((thumb) => {
    if (!ended(thumb)) return thumb;
    const isKept = thumb.good && Math.floor((seen + 1) * kept) > Math.floor(seen * kept);
    if (thumb.good) seen++;
    return isKept ? thumb : { ...thumb, reply: withoutEnd(thumb.reply, endOfTurn) };
  });
}

interface Judged {
  readonly reply: readonly number[];
  readonly good: boolean;
}

/** A reply that is nothing else keeps its end. */
const withoutEnd = (reply: readonly number[], endOfTurn: number): readonly number[] =>
  reply.at(-1) === endOfTurn && reply.length > 1 ? reply.slice(0, -1) : reply;
