// Judgements as they arrive: each once, corrections folded, erased ones gone for good. A whole batch
// is one transaction, so an answer means that everything it accepts is on the disk. An event is known
// by its id, whichever device sends it: a device that had to enrol again has a new name and old events.
import { sql } from 'kysely';
import {
  canonicalJson,
  readEvent,
  sha256Hex,
  type EventResult,
  type FeedbackEvent,
} from '@rapport/core';
import type { Database, Queries } from './database.ts';
import { eraseEvents } from './erasure.ts';

/** Takes a batch from `device`; one result per raw event, in the same order. */
export async function takeEvents(
  db: Database,
  device: string,
  raw: readonly unknown[],
): Promise<EventResult[]> {
  const read = await Promise.all(
    raw.map(async (item) => {
      const answer = readEvent(item);
      return 'event' in answer ? { ...answer, hash: await hashOf(answer.event) } : answer;
    }),
  );
  return db.transaction().execute(async (tx) => {
    const results: EventResult[] = [];
    for (const item of read)
      results.push(
        'event' in item ? await takeEvent(tx, device, item.event, item.hash) : item.result,
      );
    await tx
      .updateTable('devices')
      .set({ last_seen_at: Date.now() })
      .where('id', '=', device)
      .execute();
    return results;
  });
}

/** Consent and clock may be told again differently; what was judged may not. */
const hashOf = ({ id, type, release, supersedes, body }: FeedbackEvent): Promise<string> =>
  sha256Hex(new TextEncoder().encode(canonicalJson({ id, type, release, supersedes, body })));

async function takeEvent(
  tx: Queries,
  device: string,
  event: FeedbackEvent,
  hash: string,
): Promise<EventResult> {
  const { id, supersedes = null } = event;
  if (await isErased(tx, id)) {
    // What it corrected was meant to be forgotten with it, and may arrive only now.
    if (supersedes && event.type !== 'erase') await eraseEvents(tx, device, [supersedes]);
    return { id, status: 'tombstoned' };
  }
  const known = await tx.selectFrom('events').select('hash').where('id', '=', id).execute();
  if (known.some((row) => row.hash === hash)) return { id, status: 'duplicate' };
  if (known.length > 0) return { id, status: 'rejected', code: 'id_reuse' };
  const targets = event.type === 'erase' ? targetsOf(event) : [];
  if (event.type === 'erase' && targets.length === 0)
    return { id, status: 'rejected', code: 'invalid:supersedes' };
  await insert(tx, device, event, hash);
  if (event.type === 'erase') await eraseEvents(tx, device, targets);
  else await fold(tx, id, supersedes);
  return { id, status: 'accepted' };
}

function targetsOf(event: FeedbackEvent & { type: 'erase' }): string[] {
  const { id, ids = [] } = event.body;
  return [...(event.supersedes ? [event.supersedes] : []), ...(id ? [id] : []), ...ids];
}

async function isErased(tx: Queries, id: string): Promise<boolean> {
  const row = await tx
    .selectFrom('tombstones')
    .select('id')
    .where('id', '=', id)
    .executeTakeFirst();
  return row !== undefined;
}

async function insert(tx: Queries, device: string, event: FeedbackEvent, hash: string) {
  await tx
    .insertInto('events')
    .values({
      device,
      id: event.id,
      type: event.type,
      at: String(event.at),
      received_at: Date.now(),
      release: event.release,
      supersedes: event.supersedes ?? null,
      superseded_by: null,
      consent: String(event.consent),
      hash,
      body: JSON.stringify(event.body),
      snapshot_id: null,
    })
    .execute();
}

/** Marks what is corrected, in whichever order the two arrived. */
async function fold(tx: Queries, id: string, supersedes: string | null) {
  if (supersedes)
    await tx
      .updateTable('events')
      .set({ superseded_by: id })
      .where('id', '=', supersedes)
      .execute();
  const newer = await tx
    .selectFrom('events')
    .select('id')
    .where('supersedes', '=', id)
    .where('type', '!=', 'erase')
    .executeTakeFirst();
  if (newer)
    await tx.updateTable('events').set({ superseded_by: newer.id }).where('id', '=', id).execute();
}

/** How many current judgements there are, and how many no dataset has taken. */
export async function countJudgements(db: Queries) {
  const rows = await db
    .selectFrom('events')
    .select(({ fn, eb }) => [
      'type',
      fn.countAll<number>().as('all'),
      fn.sum<number>(eb.case().when('snapshot_id', 'is', null).then(1).else(0).end()).as('unused'),
    ])
    .where('superseded_by', 'is', null)
    .where('type', 'in', ['vote', 'ranking', 'edit'])
    .groupBy('type')
    .execute();
  const of = (type: string) => rows.find((row) => row.type === type)?.all ?? 0;
  return {
    votes: of('vote'),
    rankings: of('ranking'),
    edits: of('edit'),
    unused: rows.reduce((sum, { unused }) => sum + Number(unused), 0),
  };
}

/** What devices made of a release: thumbs that stand, and devices that could not load it. */
export interface Reception {
  thumbsUp: number;
  thumbsDown: number;
  loadFailures: number;
}

/** The reception of every release that somebody judged or reported, the bare "base" among them. */
export async function receptions(db: Queries): Promise<Map<string, Reception>> {
  const rows = await db
    .selectFrom('events')
    .select(({ fn }) => [
      'release',
      'type',
      sql<number | null>`json_extract(body, '$.value')`.as('value'),
      fn.countAll<number>().as('events'),
      fn.count<number>('device').distinct().as('devices'),
    ])
    .where('superseded_by', 'is', null)
    .where('type', 'in', ['vote', 'release_report'])
    .groupBy(['release', 'type', 'value'])
    .execute();
  const all = new Map<string, Reception>();
  for (const { release, type, value, events, devices } of rows) {
    const mine = all.get(release) ?? { thumbsUp: 0, thumbsDown: 0, loadFailures: 0 };
    if (type === 'release_report') mine.loadFailures = devices;
    else if (value === 1) mine.thumbsUp = events;
    else mine.thumbsDown = events;
    all.set(release, mine);
  }
  return all;
}

/** Judgements that arrived last, newest first, with the last line of their prompt. */
export async function recentJudgements(db: Queries, limit = 100) {
  const rows = await db
    .selectFrom('events')
    .select(['id', 'type', 'device', 'release', 'body', 'received_at as receivedAt'])
    .where('type', 'in', ['vote', 'ranking', 'edit'])
    .where('superseded_by', 'is', null)
    .orderBy('received_at', 'desc')
    .orderBy('id', 'desc')
    .limit(limit)
    .execute();
  return rows.map(({ body, ...row }) => {
    const { prompt, value } = JSON.parse(body) as {
      prompt: { content: string }[];
      value?: number;
    };
    const thumb = value === undefined ? '' : value > 0 ? '+1 ' : '-1 ';
    return { ...row, summary: thumb + (prompt.at(-1)?.content ?? '').slice(0, 160) };
  });
}

/** Judgements that arrived per day (UTC), oldest first. */
export async function judgementsByDay(db: Queries, days = 30) {
  const since = Date.now() - days * 86_400_000;
  const rows = await db
    .selectFrom('events')
    .select(['received_at as at', 'type'])
    .where('received_at', '>=', since)
    .where('type', 'in', ['vote', 'ranking', 'edit'])
    .orderBy('received_at')
    .execute();
  const counts = new Map<string, number>();
  for (const { at } of rows) {
    const day = new Date(at).toISOString().slice(0, 10);
    counts.set(day, (counts.get(day) ?? 0) + 1);
  }
  return [...counts].map(([day, count]) => ({ day, count }));
}
