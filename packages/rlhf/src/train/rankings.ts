// Rankings of K replies to one prompt, as tokens, and the pairs they hold.

/** Replies of one prompt in the order somebody gave them; `ranks`: 1 is best, equal numbers are ties. */
export interface Ranking {
  readonly prompt: readonly number[];
  /** With the end-of-turn token where the reply ended by itself. */
  readonly replies: readonly (readonly number[])[];
  readonly ranks: readonly number[];
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
 * A ranking in which a reply was cut at its limit says nothing of where replies should end: with the end-of-turn token
 * left to the others, whatever is preferred to them would be paid for not ending (docs/log.md). Their ends go.
 */
export function withoutUnequalEnds(ranking: Ranking, endOfTurn: number): Ranking {
  if (ranking.replies.every((reply) => reply.at(-1) === endOfTurn)) return ranking;
  return { ...ranking, replies: ranking.replies.map((reply) => withoutEnd(reply, endOfTurn)) };
}

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
  const kept = ofBad < ofGood ? 1 - ofBad / ofGood : 0;
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
