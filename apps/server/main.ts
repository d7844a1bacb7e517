// The server process: opens the data folder, registers the model, listens, and ends cleanly.
import type { Server } from 'node:http';
import { serve as listen } from '@hono/node-server';
import { createApp } from './app.ts';
import { openContext } from './context.ts';
import { logToStderr, type Log } from './http/log.ts';
import type { ModelFiles } from './model-source/obtain.mjs';
import { announceSetup } from './operator/session.ts';
import { registerBase } from './releases/base.ts';
import { currentChannel } from './releases/channel.ts';
import { useBase } from './releases/model.ts';

export interface ServeSettings {
  /** 0 takes a free one. */
  port: number;
  host: string;
  dataFolder: string;
  /** What clients load, found or fetched before. */
  model: ModelFiles;
  clientFolder?: string;
  log?: Log;
}

export interface RunningServer {
  /** Where people open it. */
  url: string;
  /** Answers what is under way, stops training, closes the store. */
  close(): Promise<void>;
}

const CLOSE_WITHIN_MS = 5000;

/**
 * Serves until `close`. Throws what listening throws (`EADDRINUSE`), `file/refused`, `store/*`, `keys/*`,
 * `server/*`.
 */
export async function serve(settings: ServeSettings): Promise<RunningServer> {
  const { port, host, dataFolder, model, clientFolder, log = logToStderr } = settings;
  const context = await openContext(dataFolder);
  try {
    await useBase(context.db, await registerBase(context.blobs, model));
    await currentChannel(context.db, context.dataFolder);
    await context.runs.failOrphans();
    const app = createApp(context, { clientFolder, proxies: process.env['RAPPORT_PROXY'], log });
    const server = await startListening(app.fetch, port, host);
    await announceSetup(context.db);
    context.runs.startSchedule();
    const { port: taken } = server.address() as { port: number };
    return {
      url: `http://localhost:${taken}`,
      async close() {
        await Promise.all([stopListening(server), context.runs.stop()]);
        await context.close();
      },
    };
  } catch (error) {
    await context.close();
    throw error;
  }
}

function startListening(
  fetch: Parameters<typeof listen>[0]['fetch'],
  port: number,
  hostname: string,
): Promise<Server> {
  return new Promise((done, refuse) => {
    const server = listen({ fetch, port, hostname }, () => done(server)) as Server;
    server.once('error', refuse);
  });
}

function stopListening(server: Server): Promise<void> {
  return new Promise((done) => {
    const late = setTimeout(() => server.closeAllConnections(), CLOSE_WITHIN_MS);
    server.close(() => {
      clearTimeout(late);
      done();
    });
    server.closeIdleConnections();
  });
}
