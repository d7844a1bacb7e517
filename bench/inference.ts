// Engines on the same weights: those of a browser in one Chromium, each in a worker, rounds taken in turn; then
// those of Node in a process of their own.
import type { Page } from 'playwright-core';
import { buildTokenizer, type Checkpoint } from '@rapport/core';
import { realCheckpoint } from '../tests/support/checkpoint.ts';
import { modelFiles } from '../tests/support/model.ts';
import { limitRows } from './limits.ts';
import { Match, type Contestant } from './match.ts';
import { runNative } from './native.ts';
import { exportModel } from './onnx-export.ts';
import { openBrowser, servePage, type BenchBrowser } from './page-server.ts';
import type { Address, BenchPage } from './page/page.ts';
import { installPeers } from './peers.ts';
import { missingRow, type Row } from './rows.ts';
import { Texts } from './text.ts';
import { adapters, chat, exactness, FULL, QUICK, type Sizes } from './workloads.ts';

interface PageEngine {
  label: string;
  address: Address;
  missing?: string | undefined;
}

const SUITE = 'inference';
const OWN = 'own SIMD kernels';
const EXACT = 'ONNX Runtime Web fp32';
const LIMIT_MS = 2000;
const exactAddress = (threads: number): Address => ({ kind: 'own', name: `wasm ${threads}` });

export async function inference(quick: boolean, threads: number): Promise<Row[]> {
  const sizes = quick ? QUICK : FULL;
  const checkpoint = await realCheckpoint();
  const texts = new Texts(await buildTokenizer(checkpoint.tokenizer));
  const { engines, exports } = await pageEngines(checkpoint, threads);
  const server = await servePage(exports);
  engines.push(await webLlm(server.address));
  const part = async (engine: string, act: () => Promise<Row[]>): Promise<Row[]> =>
    act().catch((error) => [missingRow({ suite: SUITE, workload: 'all', engine }, error)]);
  try {
    return [
      ...(await part('each engine alone', () => loads(server.address, engines, texts, sizes))),
      ...(await part('engines side by side', () =>
        sideBySide(server.address, engines, checkpoint, texts, sizes, threads),
      )),
      ...(await runNative(quick, threads)),
    ];
  } finally {
    await server.close();
  }
}

/** Who takes part in the page; a peer that cannot be had says why. */
async function pageEngines(checkpoint: Checkpoint, threads: number) {
  const reason = (error: Error) => error.message;
  const noPeers = await installPeers().then(() => undefined, reason);
  const { digest = 'local' } = await modelFiles();
  const made = noPeers ? noPeers : await exportModel(checkpoint, digest).catch(reason);
  const noExport = typeof made === 'string' ? made : undefined;
  const noQ8 = typeof made === 'string' ? made : made.q8Missing;
  const engines: PageEngine[] = [
    { label: OWN, address: { kind: 'own', name: `simd ${threads}` } },
    { label: EXACT, address: exactAddress(threads) },
    {
      label: 'wllama, same GGUF',
      address: { kind: 'wllama', name: `${threads}` },
      missing: noPeers,
    },
    {
      label: 'transformers.js fp32 (best of equal quality)',
      address: { kind: 'transformers', name: `fp32 ${threads}` },
      missing: noExport,
    },
    {
      label: 'transformers.js q8 (default)',
      address: { kind: 'transformers', name: `q8 ${threads}` },
      missing: noQ8,
    },
  ];
  return { engines, exports: typeof made === 'string' ? undefined : made.folder };
}

/** Calls a function of the page by its name. */
function call<F extends keyof BenchPage>(
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

const contestant = (page: Page, { label, address, missing }: PageEngine): Contestant => ({
  label,
  missing,
  ask: (question) => call(page, 'ask', address, question),
  quality: (text) => call(page, 'quality', address, text),
});

/** All engines loaded in one page. */
async function sideBySide(
  address: string,
  engines: readonly PageEngine[],
  checkpoint: Checkpoint,
  texts: Texts,
  sizes: Sizes,
  threads: number,
): Promise<Row[]> {
  return withBrowser(address, async (browser) => {
    const page = await browser.open();
    const match = new Match(
      SUITE,
      engines.map((engine) => contestant(page, engine)),
    );
    await match.try({ label: 'limit of this machine' }, 'all', async () =>
      limitRows(match, checkpoint, await call(page, 'limits', threads, LIMIT_MS), sizes),
    );
    for (const one of match.playing) await match.ask(one, 'loading', { kind: 'open' });
    await chat(match, texts, sizes);
    await adapters(match, [OWN, EXACT], texts, sizes);
    const text = texts.prose(sizes.text);
    const exact = match.playing.find(({ label }) => label === EXACT);
    await match.try({ label: 'quality' }, 'all', async () => {
      if (!exact) throw new Error('there is nothing exact to compare with');
      await call(page, 'keepExact', exactAddress(threads), text);
      await exactness(match, text);
    });
    return match.rows;
  });
}

/** WebLLM computes on graphics only. */
async function webLlm(address: string): Promise<PageEngine> {
  const graphics = await withBrowser(address, async (browser) =>
    call(await browser.open(), 'hasGraphics'),
  ).catch(() => false);
  const missing = graphics ? undefined : 'it needs a WebGPU adapter, and this browser has none';
  return { label: 'WebLLM, its own fp32 build', address: { kind: 'webllm', name: '' }, missing };
}

/** Each engine alone in a browser of its own: the first load, later ones, and the page's largest memory. */
async function loads(
  address: string,
  engines: readonly PageEngine[],
  texts: Texts,
  { loads, prompts, replyTokens }: Sizes,
): Promise<Row[]> {
  const rows: Row[] = [];
  const empty = await withBrowser(address, async (browser) => {
    await browser.open();
    return browser.peakBytes();
  });
  for (const engine of engines.filter(({ missing }) => !missing)) {
    const cold: number[] = [];
    const warm: number[] = [];
    const memory: number[] = [];
    const match = await withBrowser(address, async (browser) => {
      let match!: Match;
      for (let i = 0; i <= loads; i++) {
        const page = await browser.open();
        const one = contestant(page, engine);
        match = new Match(SUITE, [one]);
        const kept = i > 0;
        (kept ? warm : cold).push(...(await match.ask(one, 'loading', { kind: 'open', kept })));
        const tokens = texts.words(prompts.at(-1)!);
        await match.ask(one, 'loading', { kind: 'read', tokens });
        await match.ask(one, 'loading', { kind: 'speak', count: replyTokens, goOn: true });
        const peak = await browser.peakBytes();
        if (peak && empty) memory.push((peak - empty) / 1e6);
        await page.close();
        if (match.playing.length === 0) break;
      }
      return match;
    });
    if (match.playing.length > 0) {
      const { label } = engine;
      match.add(label, 'first load, from this machine’s server', ['to first token', 'ms'], cold);
      match.add(label, 'later load, kept in the browser', ['to first token', 'ms'], warm);
      const workload = `memory beyond an empty page, ${prompts.at(-1)} tokens read`;
      match.add(label, workload, ['peak', 'MB'], memory.slice(0, 1));
    }
    rows.push(...match.rows);
  }
  return rows;
}

async function withBrowser<T>(
  address: string,
  act: (browser: BenchBrowser) => Promise<T>,
): Promise<T> {
  const browser = await openBrowser(address);
  try {
    return await act(browser);
  } finally {
    await browser.close();
  }
}
