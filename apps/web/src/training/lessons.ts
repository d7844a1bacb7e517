// What a person's judgements come to as lessons: how many, by which method, which are kept apart.
import { ktoRows, trlRows, type Judgement } from '@rapport/core';
import type { Database } from '../db/database.ts';
import type { TrainingMethod } from '../workers/training.ts';

/** Fewer comparisons, or fewer judgements, teach nothing that holds on other prompts. */
export const NEEDED = 20;
/** One in five prompts is kept apart, to compare before and after. */
const APART = 5;

/** What votes alone decide; a round of PPO is the person's wish. */
export type LessonMethod = Exclude<TrainingMethod, 'ppo'>;

export interface Lessons {
  /** DPO where comparisons suffice, else KTO where judgements of both kinds do; null: too few of either. */
  method: LessonMethod | null;
  /** Judgements that call anything good or bad. */
  judgements: number;
  /** Pairs of replies to one prompt of which one is better. */
  comparisons: number;
  /** How many more are needed; 0 when there are enough. */
  missing: number;
  lessons: Judgement[];
  heldOut: Judgement[];
}

/** The judgements as they would be sent: what redaction takes out is not learned either. */
export async function judgementsOf(db: Database): Promise<Judgement[]> {
  const rows = await db.feedback.toArray();
  const events = await db.outbox.bulkGet(rows.map(({ eventId }) => eventId));
  return events.flatMap((row) => {
    if (!row || (row.event.type !== 'vote' && row.event.type !== 'ranking')) return [];
    return [{ type: row.event.type, body: row.event.body } as Judgement];
  });
}

export function lessonsOf(judgements: readonly Judgement[]): Lessons {
  const comparisons = trlRows(judgements).length;
  const labels = ktoRows(judgements).map(({ label }) => label);
  const bothKinds = labels.includes(true) && labels.includes(false);
  const clear = judgements.filter((judgement) => ktoRows([judgement]).length > 0).length;
  const method = methodFor(comparisons, bothKinds ? clear : 0);
  return {
    method,
    judgements: clear,
    comparisons,
    missing: method ? 0 : Math.max(1, NEEDED - Math.max(comparisons, clear)),
    ...split(judgements, method),
  };
}

function methodFor(comparisons: number, judgements: number): LessonMethod | null {
  if (comparisons >= NEEDED) return 'dpo';
  return judgements >= NEEDED ? 'kto' : null;
}

/** Whole prompts are kept apart, always the same ones, so that no run has seen what measures it. */
function split(
  judgements: readonly Judgement[],
  method: LessonMethod | null,
): { lessons: Judgement[]; heldOut: Judgement[] } {
  const groups = new Map<string, Judgement[]>();
  for (const judgement of judgements) {
    const key = JSON.stringify(judgement.body.prompt);
    groups.set(key, [...(groups.get(key) ?? []), judgement]);
  }
  const teaches = (group: Judgement[]) => method !== 'dpo' || trlRows(group).length > 0;
  const ordered = [...groups]
    .filter(([, group]) => teaches(group))
    .sort(([a], [b]) => hash(a) - hash(b));
  const apart = Math.round(ordered.length / APART);
  const rows = (some: typeof ordered) => some.flatMap(([, group]) => group);
  return { heldOut: rows(ordered.slice(0, apart)), lessons: rows(ordered.slice(apart)) };
}

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}
