// The steps of `npm start`: install, fetch, build, serve, and a clean end. It knows no detail of them.
import { createServer } from 'node:net';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { failure } from '../apps/server/model-source/failure.mjs';
import { createMeter } from '../apps/server/model-source/meter.mjs';
import { obtainModel } from '../apps/server/model-source/obtain.mjs';
import { whenAskedToEnd } from '../apps/server/signals.mjs';
import { readArguments, usage } from './arguments.mjs';
import { clientFolder, ensureClient } from './build-client.mjs';
import { ensureInstalled } from './install.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const closeWithinMs = 8_000;

/**
 * Serves until SIGTERM or Ctrl-C, then exits with 0; with 1 after a failure, 2 after wrong usage.
 *
 * @param {string[]} args
 */
export async function start(args) {
  const stop = new AbortController();
  /** @type {(() => Promise<void>) | undefined} */
  let close;
  whenAskedToEnd(
    () => {
      stop.abort();
      setTimeout(() => process.exit(0), closeWithinMs).unref();
      // Before there is a server, what is under way stops by itself and leaves no lock behind.
      close?.().then(() => process.exit(0), fail);
    },
    () => process.exit(0),
  );
  try {
    const settings = readArguments(args, process.env);
    if (settings.help) return void process.stdout.write(usage);
    await needFreePort(settings);
    const server = await serve(settings, stop.signal);
    close = () => server.close();
    if (stop.signal.aborted) await close();
    else return void console.log(`ready ${server.url}`);
  } catch (error) {
    if (!stop.signal.aborted) fail(error);
  }
  process.exit(0);
}

/**
 * @param {import('./arguments.mjs').StartSettings} settings
 * @param {AbortSignal} signal
 */
async function serve({ port, host, dataFolder, modelSpec }, signal) {
  const report = createMeter();
  const note = (/** @type {string} */ text) => report.note(text);
  await ensureInstalled(root, { note, signal });
  const [model] = await Promise.all([
    obtainModel({ report, signal, ...(modelSpec ? { spec: modelSpec } : {}) }),
    ensureClient(root, { note, signal }),
  ]);
  report.end();
  const { register } = await import('tsx/esm/api');
  register();
  const { serve } = await import('../apps/server/main.ts');
  return serve({
    port,
    host,
    dataFolder: resolve(dataFolder),
    model,
    clientFolder: clientFolder(root),
  }).catch((/** @type {any} */ error) => {
    throw error?.code === 'EADDRINUSE' ? portTaken(port) : error;
  });
}

/**
 * Says so at once when the port is taken, not after the download.
 *
 * @param {{port: number, host: string}} address
 * @returns {Promise<void>}
 */
function needFreePort({ port, host }) {
  return new Promise((done, refuse) => {
    const probe = createServer();
    probe.once('error', (error) => {
      const { code } = /** @type {NodeJS.ErrnoException} */ (error);
      if (code === 'EADDRINUSE') refuse(portTaken(port));
      else
        refuse(
          failure(
            'start/address',
            `Cannot listen on ${host}:${port} (${code}).`,
            code === 'EACCES' ? 'Take a port above 1023.' : 'Give another address with --host.',
            error,
          ),
        );
    });
    probe.listen(port, host, () => probe.close(() => done()));
  });
}

/** @param {number} port */
const portTaken = (port) =>
  failure(
    'start/port-taken',
    `Port ${port} is already in use.`,
    'Stop the program that uses it, or start with --port N.',
  );

/**
 * Message, then remedy; a stack only for what nobody foresaw.
 *
 * @param {any} error
 * @returns {never}
 */
function fail(error) {
  if (error?.remedy) console.error(`${error.message}\n${error.remedy}`);
  else console.error(error);
  process.exit(error?.code === 'start/usage' ? 2 : 1);
}
