// A simulated person: a function that scores replies. Who wrote a reply it never knows.
import { RapportError } from '@rapport/core';

/** Larger is better. */
export type Annotator = (prompt: string, reply: string) => number;

/** What the person thinks of a reply. Throws `simulate/bad-score` when that is no finite number. */
export function scoreOf(annotator: Annotator, prompt: string, reply: string): number {
  const score: unknown = annotator(prompt, reply);
  if (typeof score === 'number' && Number.isFinite(score)) return score;
  throw new RapportError(
    'simulate/bad-score',
    `The annotator answered ${String(score)} to the reply "${reply.slice(0, 60)}".`,
    'Return a finite number for every reply, an empty one too; an async function returns a promise.',
  );
}

/** Which scores are thumbs up: those above the median, or not below it, whichever divides them more evenly. */
export function thumbsUp(scores: readonly number[]): (score: number) => boolean {
  const median = scores.toSorted((a, b) => a - b)[Math.floor(scores.length / 2)]!;
  const above = (score: number) => score > median;
  const notBelow = (score: number) => score >= median;
  const unevenness = (up: (score: number) => boolean) =>
    Math.abs(2 * scores.filter(up).length - scores.length);
  return unevenness(notBelow) < unevenness(above) ? notBelow : above;
}
