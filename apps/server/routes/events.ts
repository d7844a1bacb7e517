// POST /v1/events: batches of judgements, answered one by one after they are on the disk.
import { Hono } from 'hono';
import { FEEDBACK_LIMITS, type BatchAnswer } from '@rapport/core';
import type { Context } from '../context.ts';
import { Refusal } from '../http/answer.ts';
import { limitBody, readJson } from '../http/body.ts';
import { networkOf, RateLimit } from '../http/rate-limit.ts';
import { heedReports } from '../releases/reports.ts';
import { readReceipt } from '../store/erasure.ts';
import { takeEvents } from '../store/events.ts';
import { deviceOfRequest } from './bearer.ts';

const PROTO = 1;
const MIN_INTERVAL_MS = 1000;

export function eventRoutes(context: Context) {
  const { db, runs } = context;
  const perNetwork = new RateLimit({ burst: 5000, perMinute: 3000 });
  const perDevice = new RateLimit({ burst: 1000, perMinute: 600 });
  return new Hono()
    .post('/', limitBody(FEEDBACK_LIMITS.batchBytes), async (c) => {
      perNetwork.take(networkOf(c));
      const device = await deviceOfRequest(c, db);
      perDevice.take(device);
      const batch = (await readJson(c, Infinity)) as { proto?: unknown; events?: unknown } | null;
      const events = Array.isArray(batch?.events) ? (batch.events as unknown[]) : [];
      if (events.length > FEEDBACK_LIMITS.eventsPerBatch)
        throw new Refusal(
          413,
          'request/too-many-events',
          `A batch holds ${FEEDBACK_LIMITS.eventsPerBatch} events at most, not ${events.length}.`,
          'Halve the batch.',
        );
      const newer = typeof batch?.proto === 'number' && batch.proto > PROTO;
      const results = newer ? deferAll(events) : await takeEvents(db, device, events);
      if (results.some(({ status }) => status === 'accepted')) runs.noticeEvents();
      if (events.some(isReport)) await heedReports(context);
      return c.json({ results, minIntervalMs: MIN_INTERVAL_MS } satisfies BatchAnswer, 200);
    })
    .get('/receipts/:id', async (c) => {
      const device = await deviceOfRequest(c, db);
      const receipt = await readReceipt(db, c.req.param('id'));
      if (receipt.device === device) return c.json(receipt, 200);
      throw new Refusal(404, 'erasure/unknown', 'There is no such receipt.', 'Check the id.');
    });
}

const isReport = (event: unknown): boolean =>
  (event as { type?: unknown } | null)?.type === 'release_report';

/** A client of a later protocol keeps its events until this server is newer. */
function deferAll(events: readonly unknown[]): BatchAnswer['results'] {
  return events.map((event) => {
    const id = (event as { id?: unknown } | null)?.id;
    return {
      id: typeof id === 'string' ? id.slice(0, 64) : null,
      status: 'deferred',
      code: 'newer_client',
    };
  });
}
