// Engines in one Chromium on the same weights: each in a worker, all loaded, rounds taken in turn.
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { createServer } from 'vite';
import { kernels, webConfig } from '../apps/web/vite.ts';
import { chromiumArguments, findChromium } from '../tests/support/chromium.mjs';
import { serveModel } from '../tests/support/serve-model.ts';
import { rowOf, type Row } from './rows.ts';
import type { Ask, Told } from './page/engine.worker.ts';

const ENGINES = { simd: 'own SIMD kernels', wasm: 'ONNX Runtime Web fp32' } as const;
/** What the packages import, bundled before the page opens. */
const DEPENDENCIES = ['@xenova/transformers', '@noble/ed25519', 'valibot'];
type Engine = keyof typeof ENGINES;

/** Workloads of a chat: reading prompts, speaking after so many tokens, and how far from fp32. */
export async function inference(quick: boolean): Promise<Row[]> {
  const server = await createServer({
    root: fileURLToPath(new URL('..', import.meta.url)),
    configFile: false,
    logLevel: 'error',
    plugins: [kernels(), serveModel()],
    resolve: webConfig.resolve,
    worker: webConfig.worker,
    optimizeDeps: { ...webConfig.optimizeDeps, noDiscovery: true, include: DEPENDENCIES },
    // A reload in the middle would throw the engines away.
    server: { ...webConfig.server, port: 0, hmr: false },
  });
  await server.listen();
  const browser = await chromium.launch({
    executablePath: findChromium(),
    args: [...chromiumArguments],
  });
  try {
    const page = await browser.newPage();
    await page.goto(`${server.resolvedUrls!.local[0]}bench/page/index.html`);
    const ask = (question: Ask & { engine: Engine }) =>
      page.evaluate(
        (q) => (globalThis as unknown as { ask(q: unknown): Promise<Told> }).ask(q),
        question,
      );
    const divergence = () =>
      page.evaluate(() =>
        (
          globalThis as unknown as { divergence(p: string, q: string): Promise<number[]> }
        ).divergence('wasm', 'simd'),
      );
    return await measure(ask, divergence, quick);
  } finally {
    await browser.close();
    await server.close();
  }
}

type Asking = (question: Ask & { engine: Engine }) => Promise<Told>;

async function measure(
  ask: Asking,
  divergence: () => Promise<number[]>,
  quick: boolean,
): Promise<Row[]> {
  const rows: Row[] = [];
  const row = (engine: Engine, workload: string, metric: string, unit: string, runs: number[]) =>
    rows.push(rowOf({ suite: 'inference', workload, engine: ENGINES[engine], metric, unit }, runs));
  const engines = Object.keys(ENGINES) as Engine[];
  for (const engine of engines) {
    const { ms, bytes } = await ask({ engine, kind: 'open' });
    row(engine, 'load from a local file', 'time', 'ms', ms);
    if (bytes) row(engine, 'load from a local file', 'memory', 'MB', [bytes / 1e6]);
  }
  const inTurn = async (rounds: number, question: Ask) => {
    const all = new Map<Engine, number[]>(engines.map((engine) => [engine, []]));
    for (let i = 0; i < rounds; i++) {
      for (const engine of engines)
        all.get(engine)!.push(...(await ask({ engine, ...question })).ms);
    }
    return all;
  };
  for (const tokens of quick ? [32, 256] : [32, 256, 1024]) {
    const all = await inTurn(quick ? 3 : 5, { kind: 'read', tokens });
    for (const [engine, ms] of all) row(engine, `read ${tokens} tokens`, 'time', 'ms', ms);
  }
  for (const past of quick ? [64, 512] : [64, 512, 1536]) {
    for (const engine of engines) await ask({ engine, kind: 'fill', tokens: past });
    const all = await inTurn(quick ? 5 : 15, { kind: 'speak', tokens: 4 });
    for (const [engine, ms] of all)
      row(engine, `speak after ${past} tokens`, 'time a token', 'ms', ms);
  }
  row('simd', 'a text of 64 tokens', 'KL to fp32', 'nats', await divergence());
  return rows;
}
