// The operator API: everything behind a session, every change a JSON POST from our own page.
import { Hono } from 'hono';
import { streamSSE } from 'hono/streaming';
import * as v from 'valibot';
import { rateByRankings } from '@rapport/rlhf';
import type { Context } from '../context.ts';
import { Refusal } from '../http/answer.ts';
import { limitBody, readBody } from '../http/body.ts';
import { networkOf, RateLimit } from '../http/rate-limit.ts';
import { currentChannel, halt, offerCandidate, promote, rollback } from '../releases/channel.ts';
import { findRelease } from '../releases/registry.ts';
import { audit, auditLog } from '../store/audit.ts';
import { diffDatasets, freezeDataset, listDatasets } from '../store/datasets.ts';
import { listDevices, revokeDevice } from '../store/devices.ts';
import { eraseDevice } from '../store/erasure.ts';
import { judgementsByDay, recentJudgements } from '../store/events.ts';
import { releaseRankings } from '../store/release-rankings.ts';
import { METHODS, PUBLISH } from '../trainer/spec.ts';
import { overviewOf, releaseRows } from './overview.ts';
import {
  beginSession,
  checkPassword,
  endSession,
  isSignedIn,
  needsSetup,
  setUp,
} from './session.ts';

const ACTOR = 'operator';
const secret = v.pipe(v.string(), v.maxLength(1000));
const Setup = v.object({ token: secret, password: v.pipe(secret, v.minLength(10)) });
const Login = v.object({ password: secret });
const RunBody = v.object({
  method: v.optional(v.picklist(METHODS)),
  dataset: v.optional(v.pipe(v.string(), v.maxLength(100))),
  publish: v.optional(v.picklist(PUBLISH)),
  config: v.optional(v.record(v.string(), v.unknown())),
});
const Percent = v.object({
  percent: v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(100))),
});
const ScheduleBody = v.object({
  schedule: v.nullable(
    v.object({
      votes: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
      method: v.picklist(METHODS),
      publish: v.picklist(PUBLISH),
    }),
  ),
});

export function operatorRoutes(context: Context) {
  const { db, dataFolder, runs } = context;
  const guesses = new RateLimit({ burst: 10, perMinute: 5 });
  const door = new Hono()
    .use(limitBody(64 * 1024))
    .use(sameOrigin)
    .get('/session', async (c) =>
      c.json({ signedIn: await isSignedIn(c, db), needsSetup: await needsSetup(db) }, 200),
    )
    .post('/setup', async (c) => {
      guesses.take(networkOf(c));
      const { token, password } = await readBody(c, Setup);
      await setUp(db, token, password);
      await beginSession(c, db);
      return c.json({ signedIn: true }, 200);
    })
    .post('/login', async (c) => {
      guesses.take(networkOf(c));
      await checkPassword(db, (await readBody(c, Login)).password, networkOf(c));
      await beginSession(c, db);
      return c.json({ signedIn: true }, 200);
    })
    .post('/logout', async (c) => {
      await endSession(c, db);
      return c.json({ signedIn: false }, 200);
    });

  const inside = new Hono()
    .use(async (c, next) => {
      if (await isSignedIn(c, db)) return next();
      throw new Refusal(401, 'operator/signed-out', 'You are not signed in.', 'Sign in first.');
    })
    .get('/overview', async (c) => c.json(await overviewOf(context), 200))
    .get('/votes', async (c) => c.json(await recentJudgements(db), 200))
    .get('/votes/by-day', async (c) => c.json(await judgementsByDay(db), 200))
    .get('/audit', async (c) => c.json(await auditLog(db), 200))
    .get('/devices', async (c) => c.json(await listDevices(db), 200))
    .post('/devices/:id/revoke', async (c) => {
      await revokeDevice(db, c.req.param('id'));
      await audit(db, ACTOR, 'device.revoke', { device: c.req.param('id') });
      return c.json({ revoked: true }, 200);
    })
    .post('/devices/:id/erase', async (c) => {
      const receipt = await eraseDevice(db, c.req.param('id'));
      await audit(db, ACTOR, 'device.erase', { receipt: receipt.receipt });
      return c.json(receipt, 200);
    })
    .get('/datasets', async (c) => c.json(await listDatasets(db), 200))
    .post('/datasets', async (c) => {
      const dataset = await freezeDataset(db);
      await audit(db, ACTOR, 'dataset.freeze', { dataset: dataset.id });
      return c.json(dataset, 201);
    })
    .get('/datasets/:a/diff/:b', async (c) =>
      c.json(await diffDatasets(db, c.req.param('a'), c.req.param('b')), 200),
    )
    .get('/runs', async (c) => c.json(await runs.list(), 200))
    .post('/runs', async (c) => c.json(await runs.start(await readBody(c, RunBody), ACTOR), 201))
    .get('/runs/:id', async (c) => c.json(await runs.show(c.req.param('id')), 200))
    .post('/runs/:id/cancel', async (c) => c.json(await runs.cancel(c.req.param('id'), ACTOR), 200))
    .post('/runs/:id/resume', async (c) => c.json(await runs.resume(c.req.param('id'), ACTOR), 200))
    .get('/runs/:id/progress', async (c) => {
      const { id } = await runs.show(c.req.param('id'));
      return streamSSE(c, async (stream) => {
        const gone = new AbortController();
        stream.onAbort(() => gone.abort());
        for await (const record of runs.progress(id, gone.signal))
          await stream.writeSSE({ event: 'progress', data: JSON.stringify(record) });
        const { status } = await runs.show(id);
        await stream.writeSSE({ event: 'end', data: JSON.stringify({ status }) });
      });
    })
    .get('/schedule', async (c) => c.json({ schedule: await runs.schedule() }, 200))
    .post('/schedule', async (c) => {
      const { schedule } = await readBody(c, ScheduleBody);
      await runs.setSchedule(schedule, ACTOR);
      return c.json({ schedule }, 200);
    })
    .get('/releases', async (c) => c.json(await releaseRows(context), 200))
    .get('/ratings', async (c) => c.json(rateByRankings(await releaseRankings(db)), 200))
    .get('/releases/:id', async (c) => {
      const { id, envelope, createdAt, flagged } = await findRelease(db, c.req.param('id'));
      return c.json({ id, createdAt, flagged, release: envelope.signed }, 200);
    })
    .post('/releases/:id/publish', async (c) => {
      const { percent } = await readBody(c, Percent);
      const channel = await offerCandidate(db, dataFolder, c.req.param('id'), percent);
      await audit(db, ACTOR, 'release.publish', { release: c.req.param('id'), percent });
      return c.json(channel.signed, 200);
    })
    .post('/releases/:id/promote', async (c) => {
      const { percent } = await readBody(c, Percent);
      const channel = await promote(db, dataFolder, c.req.param('id'), percent);
      await audit(db, ACTOR, 'release.promote', { release: c.req.param('id'), percent });
      return c.json(channel.signed, 200);
    })
    .get('/channel', async (c) => c.json((await currentChannel(db, dataFolder)).signed, 200))
    .post('/channel/halt', async (c) => {
      const channel = await halt(db, dataFolder);
      await audit(db, ACTOR, 'channel.halt');
      return c.json(channel.signed, 200);
    })
    .post('/channel/rollback', async (c) => {
      const channel = await rollback(db, dataFolder);
      await audit(db, ACTOR, 'channel.rollback');
      return c.json(channel.signed, 200);
    });
  return door.route('/', inside);
}

/**
 * A change must come from our own page: browsers say where a request comes from, and a form of
 * another site cannot send JSON. Programs without a browser send neither header.
 */
async function sameOrigin(c: Parameters<typeof isSignedIn>[0], next: () => Promise<void>) {
  c.header('Cache-Control', 'no-store');
  if (c.req.method === 'GET' || c.req.method === 'HEAD') return next();
  const site = c.req.header('sec-fetch-site');
  const origin = c.req.header('origin');
  const host = c.req.header('x-forwarded-host') ?? c.req.header('host');
  const foreign =
    (site !== undefined && site !== 'same-origin' && site !== 'none') ||
    (origin !== undefined && host !== undefined && hostOf(origin) !== host);
  if (!foreign) return next();
  throw new Refusal(
    403,
    'operator/cross-site',
    'The request came from another site.',
    'Use the console page of this server.',
  );
}

function hostOf(origin: string): string | null {
  return URL.canParse(origin) ? new URL(origin).host : null;
}
