// The real thing for stories: the server as `npm start` runs it, in a data folder of its own, the command
// line on the same data, and a Chromium to look at it.
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium, type Browser, type BrowserContext } from 'playwright-core';
import { chromiumArguments, findChromium } from './chromium.mjs';
import { modelFiles } from './model.ts';

const script = fileURLToPath(new URL('../../start.mjs', import.meta.url));
const command = fileURLToPath(new URL('../../apps/server/cli/rapport.mjs', import.meta.url));

export interface Rapport {
  readonly url: string;
  readonly dataFolder: string;
  /** Everything it has printed. */
  output(): string;
  /** SIGTERM; gives the exit code. */
  stop(): Promise<number | null>;
  /** kill -9, as a power cut would. */
  kill(): Promise<void>;
}

/**
 * Starts a server on a free port. Without `dataFolder` it gets a new, empty one, removed by `stop`;
 * without `model` it speaks by the real one. Throws with its output when it ends before it is ready.
 */
export async function startRapport(
  options: {
    dataFolder?: string;
    model?: string;
    env?: Record<string, string>;
  } = {},
): Promise<Rapport> {
  const dataFolder = options.dataFolder ?? (await mkdtemp(join(tmpdir(), 'rapport-data-')));
  const model = options.model ?? (await modelFiles()).path;
  const child = spawnServer(['--port', '0', '--data', dataFolder, '--model', model], options.env);
  let output = '';
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const url = await new Promise<string>((ready, failed) => {
    const listen = (bytes: Buffer) => {
      output += String(bytes);
      const found = /^ready (http:\/\/localhost:\d+)$/m.exec(output);
      if (found?.[1]) ready(found[1]);
    };
    child.stdout.on('data', listen);
    child.stderr.on('data', listen);
    void ended.then((code) => failed(new Error(`The server ended with ${code}:\n${output}`)));
  });
  return {
    url,
    dataFolder,
    output: () => output,
    stop: async () => {
      child.kill('SIGTERM');
      const code = await ended;
      if (!options.dataFolder) await rm(dataFolder, { recursive: true, force: true });
      return code;
    },
    kill: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** The process behind `npm start`, with these flags and environment variables. */
export const spawnServer = (args: readonly string[], env: Record<string, string> = {}) =>
  spawn(process.execPath, [script, ...args], { env: { ...process.env, ...env } });

/** Runs `npx rapport` on the data of a server; gives its standard output. Throws with what it said on failure. */
export async function runCommand(rapport: Rapport, ...args: string[]): Promise<string> {
  const child = spawn(process.execPath, [command, ...args, '--data', rapport.dataFolder]);
  const [output, said] = [child.stdout, child.stderr].map((stream) => {
    const parts: Buffer[] = [];
    stream.on('data', (part: Buffer) => parts.push(part));
    return () => Buffer.concat(parts).toString();
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  if (code !== 0) throw new Error(`rapport ${args.join(' ')} ended with ${code}:\n${said!()}`);
  return output!();
}

/** A headless Chromium with the switches every browser test uses. */
export function openBrowser(): Promise<Browser> {
  return chromium.launch(launchOptions());
}

/** The same with a profile that outlives it: what a person finds again after a crash. */
export function openProfile(folder: string): Promise<BrowserContext> {
  return chromium.launchPersistentContext(folder, launchOptions());
}

function launchOptions() {
  const executablePath = findChromium();
  return { args: chromiumArguments, ...(executablePath ? { executablePath } : {}) };
}
