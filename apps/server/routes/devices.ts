// POST /v1/devices: a device gets its token.
import { Hono } from 'hono';
import * as v from 'valibot';
import type { Context } from '../context.ts';
import { limitBody, readBody } from '../http/body.ts';
import { networkOf, RateLimit } from '../http/rate-limit.ts';
import { enrol } from '../store/devices.ts';

const Enrolment = v.object({ invite: v.optional(v.pipe(v.string(), v.maxLength(200))) });

export function deviceRoutes({ db }: Context) {
  const perNetwork = new RateLimit({ burst: 300, perMinute: 60 });
  return new Hono().post('/', limitBody(4096), async (c) => {
    perNetwork.take(networkOf(c));
    await readBody(c, Enrolment);
    return c.json(await enrol(db), 201);
  });
}
