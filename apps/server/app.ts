// The server as one Hono app: sub-apps per resource. It knows requests; what they work on is passed in.
import { Hono } from 'hono';
import { sql } from 'kysely';
import type { Context } from './context.ts';
import { answerError, notFound } from './http/answer.ts';
import { protect } from './http/headers.ts';
import { logRequests, type Log } from './http/log.ts';
import { noteNetwork, proxiesOf } from './http/rate-limit.ts';
import { operatorRoutes } from './operator/routes.ts';
import { blobRoutes } from './routes/blobs.ts';
import { clientRoutes } from './routes/client.ts';
import { deviceRoutes } from './routes/devices.ts';
import { eventRoutes } from './routes/events.ts';
import { releaseRoutes } from './routes/releases.ts';

export interface AppSettings {
  /** The built client; without it only the API is served. */
  clientFolder?: string | undefined;
  /** Reverse proxies on other machines: see `proxiesOf`. */
  proxies?: string | undefined;
  log: Log;
}

/** Makes the app over an opened data folder. Throws `server/bad-proxy`. */
export function createApp(context: Context, { clientFolder, proxies, log }: AppSettings) {
  const app = new Hono()
    .use(logRequests(log))
    .use(protect)
    .use(noteNetwork(proxiesOf(proxies)))
    .get('/livez', (c) => c.json({ status: 'live' }, 200))
    .get('/readyz', async (c) => {
      await sql`select 1 from settings`.execute(context.db);
      return c.json({ status: 'ready' }, 200);
    })
    .route('/v1/devices', deviceRoutes(context))
    .route('/v1/events', eventRoutes(context))
    .route('/v1/blobs', blobRoutes(context))
    .route('/v1/operator', operatorRoutes(context))
    .route('/v1', releaseRoutes(context));
  app.all('/v1/*', (c) => {
    throw notFound(`${c.req.method} ${c.req.path}`);
  });
  if (clientFolder) app.route('/', clientRoutes(clientFolder));
  app.notFound((c) => answerError(notFound(`page ${c.req.path}`), c));
  app.onError(answerError);
  return app;
}

/** For typed clients: `hc<AppType>`. */
export type AppType = ReturnType<typeof createApp>;
