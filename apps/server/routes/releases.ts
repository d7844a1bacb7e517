// What clients follow: the model to load, the signed channel, releases and roots.
import { Hono } from 'hono';
import type { Context } from '../context.ts';
import { notFound } from '../http/answer.ts';
import { networkOf, RateLimit } from '../http/rate-limit.ts';
import { currentChannel } from '../releases/channel.ts';
import { newestRoot, rootVersion } from '../releases/keys.ts';
import { modelOfClients } from '../releases/model.ts';
import { findRelease, learnedFrom } from '../releases/registry.ts';
import { deviceOfRequest } from './bearer.ts';

export function releaseRoutes({ db, dataFolder }: Context) {
  // Files are not counted: one model is hundreds of pieces.
  const perNetwork = new RateLimit({ burst: 600, perMinute: 600 });
  return new Hono()
    .use(async (c, next) => {
      perNetwork.take(networkOf(c));
      await next();
      if (!c.res.headers.has('Cache-Control')) c.header('Cache-Control', 'no-cache');
    })
    .get('/model', async (c) => c.json(await modelOfClients(db, dataFolder), 200))
    .get('/channel', async (c) => {
      const [root, channel] = [await newestRoot(db), await currentChannel(db, dataFolder)];
      return c.json({ root: root!, channel }, 200);
    })
    .get('/root', async (c) => c.json((await newestRoot(db))!, 200))
    .get('/root/:version{[0-9]{1,9}}', async (c) => {
      const root = await rootVersion(db, Number(c.req.param('version')));
      if (!root) throw notFound(`root ${c.req.param('version')}`);
      return c.json(root, 200);
    })
    .get('/releases/:id{[0-9a-f]{64}}', async (c) => {
      const { envelope } = await findRelease(db, c.req.param('id'));
      return c.json(envelope, 200, { 'Cache-Control': 'public, max-age=31536000, immutable' });
    })
    .get('/releases/:id{[0-9a-f]{64}}/mine', async (c) => {
      const device = await deviceOfRequest(c, db);
      const { id } = await findRelease(db, c.req.param('id'));
      return c.json({ votes: await learnedFrom(db, id, device) }, 200);
    });
}
