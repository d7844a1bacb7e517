// The page of the bench, its server and its browser: cross-origin isolated, as the product's page is.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium, type Page } from 'playwright-core';
import { createServer } from 'vite';
import { kernels, webConfig } from '../apps/web/vite.ts';
import { chromiumArguments, findChromium } from '../tests/support/chromium.mjs';
import { serveModel } from '../tests/support/serve-model.ts';
import type { BenchPage } from './page/page.ts';
import { peerPath, serveFolder } from './peers.ts';
import { rest } from './rest.ts';

/** What the packages import, bundled before the page opens. */
const DEPENDENCIES = ['@xenova/transformers', '@noble/ed25519', 'valibot'];

export interface PageServer {
  address: string;
  close(): Promise<void>;
}

/** Serves bench/page, the model, the peers and, where given, a folder of exports. */
export async function servePage(exports?: string): Promise<PageServer> {
  const server = await createServer({
    root: fileURLToPath(new URL('..', import.meta.url)),
    configFile: false,
    logLevel: 'error',
    plugins: [
      kernels(),
      serveModel(),
      serveFolder('/peers', peerPath('')),
      ...(exports ? [serveFolder('/exports', exports)] : []),
    ],
    resolve: webConfig.resolve,
    worker: webConfig.worker,
    optimizeDeps: { ...webConfig.optimizeDeps, noDiscovery: true, include: DEPENDENCIES },
    // A reload in the middle would throw the engines away.
    server: { ...webConfig.server, port: 0, hmr: false, watch: null },
  });
  await server.listen();
  return {
    address: `${server.resolvedUrls!.local[0]}bench/page/index.html`,
    close: () => server.close(),
  };
}

export interface BenchBrowser {
  version: string;
  /** A new page of the bench. */
  open(): Promise<Page>;
  /** Highest resident memory of the process that shows a page, in bytes; undefined where it cannot be read. */
  peakBytes(): Promise<number | undefined>;
  /** Resolves when no page is at work. */
  rest(): Promise<void>;
  close(): Promise<void>;
}

/** Calls a function of the page by its name; rejects when the page's process ends. */
export function call<F extends keyof BenchPage>(
  page: Page,
  name: F,
  ...parameters: Parameters<BenchPage[F]>
): Promise<Awaited<ReturnType<BenchPage[F]>>> {
  return page.evaluate(
    ([name, parameters]) => {
      const { bench } = globalThis as unknown as { bench: Record<string, CallableFunction> };
      return bench[name]!(...parameters) as never;
    },
    [name as string, parameters as unknown[]] as const,
  );
}

/** A Chromium with a profile of its own on disk, which is thrown away at the end. */
export async function openBrowser(address: string): Promise<BenchBrowser> {
  const profile = await mkdtemp(join(tmpdir(), 'rapport-bench-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: findChromium(),
    // Graphics in software would pass for a WebGPU adapter.
    args: chromiumArguments.filter((argument) => !argument.includes('swiftshader')),
  });
  const session = await context.browser()?.newBrowserCDPSession();
  const renderers = async () => {
    const told = await session?.send('SystemInfo.getProcessInfo');
    return told?.processInfo.filter(({ type }) => type === 'renderer') ?? [];
  };
  return {
    version: context.browser()?.version() ?? '',
    async open() {
      const page = await context.newPage();
      await page.goto(address);
      await page.waitForFunction(() => 'bench' in globalThis);
      return page;
    },
    rest: () =>
      rest(async () => {
        const seconds = (await renderers()).map(({ cpuTime }) => cpuTime);
        return 1000 * seconds.reduce((a, b) => a + b, 0);
      }),
    async peakBytes() {
      const peaks = await Promise.all((await renderers()).map(({ id }) => peakOf(id)));
      const largest = Math.max(...peaks);
      return Number.isFinite(largest) ? largest : undefined;
    },
    async close() {
      await context.close();
      await rm(profile, { recursive: true, force: true });
    },
  };
}

/** `VmHWM` of a process on Linux, in bytes; NaN elsewhere. */
export async function peakOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? NaN) * 1024;
}
