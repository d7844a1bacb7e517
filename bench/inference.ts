// Engines on the same weights: those of a browser in one Chromium, each in a page of its own, rounds taken in turn;
// then those of Node in a process of their own.
import { stat } from 'node:fs/promises';
import { buildTokenizer, type Checkpoint } from '@rapport/core';
import { realCheckpoint } from '../tests/support/checkpoint.ts';
import { modelFiles, modelPath } from '../tests/support/model.ts';
import { EXACT, GRAPHICS, OWN, TRANSFORMERS, TRANSFORMERS_Q8, WEBLLM, WLLAMA } from './engines.ts';
import { limitRows } from './limits.ts';
import { Match, type Contestant } from './match.ts';
import { runNative } from './native.ts';
import { exportModel } from './onnx-export.ts';
import { call, openBrowser, servePage, type BenchBrowser } from './page-server.ts';
import type { Piece } from './page/engine.ts';
import type { Address } from './page/page.ts';
import { installPeers } from './peers.ts';
import { missingRow, rowOf, type Row } from './rows.ts';
import { Texts } from './text.ts';
import {
  adapters,
  branches,
  chat,
  exactness,
  FULL,
  guesses,
  METRICS,
  named,
  QUICK,
  type Sizes,
} from './workloads.ts';

interface PageEngine {
  label: string;
  address: Address;
  missing?: string | undefined;
}

const SUITE = 'inference';
/** Those that take adapters while they run and keep several conversations. */
const OURS = [OWN, EXACT, GRAPHICS];
const LIMIT_MS = 2000;

export async function inference(quick: boolean, threads: number): Promise<Row[]> {
  const sizes = quick ? QUICK : FULL;
  const checkpoint = await realCheckpoint();
  const texts = new Texts(await buildTokenizer(checkpoint.tokenizer));
  const { engines, exports } = await pageEngines(checkpoint, threads);
  const server = await servePage(exports);
  engines.push(...(await onGraphics(server.address, threads)));
  const part = async (engine: string, act: () => Promise<Row[]>): Promise<Row[]> =>
    act().catch((error) => [missingRow({ suite: SUITE, workload: 'all', engine }, error)]);
  try {
    return [
      await downloadRow(),
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
    { label: EXACT, address: { kind: 'own', name: `wasm ${threads}` } },
    {
      label: WLLAMA,
      address: { kind: 'wllama', name: `${threads}` },
      missing: noPeers,
    },
    {
      label: TRANSFORMERS,
      address: { kind: 'transformers', name: `fp32 ${threads}` },
      missing: noExport,
    },
    {
      label: TRANSFORMERS_Q8,
      address: { kind: 'transformers', name: `q8 ${threads}` },
      missing: noQ8,
    },
  ];
  return { engines, exports: typeof made === 'string' ? undefined : made.folder };
}

interface PageContestant extends Contestant {
  /** Its log-probs of a text become those that others are compared with. */
  keepExact(text: Piece): Promise<void>;
}

/** An engine in a page, so in a process, of its own: when that one ends or hangs, no other engine is lost. */
async function contestant(
  browser: BenchBrowser,
  { label, address, missing }: PageEngine,
): Promise<PageContestant> {
  const never = () => Promise.reject(new Error('it takes no part'));
  if (missing) return { label, missing, ask: never, quality: never, keepExact: never };
  const page = await browser.open();
  return {
    label,
    async ask(question) {
      const told = await call(page, 'ask', address, question);
      await browser.rest();
      return told;
    },
    quality: (text) => call(page, 'quality', address, text),
    keepExact: (text) => call(page, 'keepExact', address, text),
    stop: () => page.close(),
  };
}

/** All engines loaded, rounds in turn. */
async function sideBySide(
  address: string,
  engines: readonly PageEngine[],
  checkpoint: Checkpoint,
  texts: Texts,
  sizes: Sizes,
  threads: number,
): Promise<Row[]> {
  return withBrowser(address, async (browser) => {
    const all: PageContestant[] = [];
    for (const engine of engines) all.push(await contestant(browser, engine));
    const match = new Match(SUITE, all);
    await match.try({ label: 'limit of this machine' }, 'all', async () => {
      const page = await browser.open();
      const limits = await call(page, 'limits', threads, LIMIT_MS);
      await page.close();
      await limitRows(match, checkpoint, limits, sizes);
    });
    for (const one of match.playing) await match.ask(one, 'loading', { kind: 'open' });
    await chat(match, texts, sizes);
    await branches(match, OURS, texts, sizes);
    await adapters(match, OURS, texts, sizes);
    await guesses(match, OWN, texts, sizes);
    const text = texts.prose(sizes.text);
    await match.try({ label: 'quality' }, 'all', async () => {
      const exact = all.find((one) => one.label === EXACT && match.playing.includes(one));
      if (!exact) throw new Error('there is nothing exact to compare with');
      await exact.keepExact(text);
      await exactness(match, text);
    });
    return match.rows;
  });
}

/** Who computes on graphics only. */
async function onGraphics(address: string, threads: number): Promise<PageEngine[]> {
  const graphics = await withBrowser(address, async (browser) =>
    call(await browser.open(), 'hasGraphics'),
  ).catch(() => false);
  const missing = graphics ? undefined : 'it needs a WebGPU adapter, and this browser has none';
  return [
    { label: GRAPHICS, address: { kind: 'own', name: `webgpu ${threads}` }, missing },
    { label: WEBLLM, address: { kind: 'webllm', name: '' }, missing },
  ];
}

/** What a person downloads before the first reply. */
async function downloadRow(): Promise<Row> {
  const { size } = await stat(await modelPath());
  const what = { suite: SUITE, workload: named.download, engine: OWN };
  return rowOf({ ...what, metric: METRICS.size[0], unit: METRICS.size[1] }, [size / 1e6]);
}

/** Each engine alone in a browser of its own: the first load, later ones, and the page's largest memory. */
async function loads(
  address: string,
  engines: readonly PageEngine[],
  texts: Texts,
  sizes: Sizes,
): Promise<Row[]> {
  const rows: Row[] = [];
  const empty = await withBrowser(address, async (browser) => {
    await browser.open();
    return browser.peakBytes();
  });
  for (const engine of engines.filter(({ missing }) => !missing)) {
    rows.push(
      ...(await withBrowser(address, (browser) => load(browser, engine, texts, sizes, empty))),
    );
  }
  return rows;
}

/** `empty`: bytes of a page without an engine. */
async function load(
  browser: BenchBrowser,
  engine: PageEngine,
  texts: Texts,
  { loads, prompts, replyTokens, fillings }: Sizes,
  empty: number | undefined,
): Promise<Row[]> {
  const { label } = engine;
  const longest = prompts.at(-1)!;
  const rows: Row[] = [];
  const warm: number[] = [];
  for (let i = 0; i <= loads; i++) {
    const one = await contestant(browser, engine);
    const match = new Match(SUITE, [one]);
    const took = await match.ask(one, named.firstLoad, { kind: 'open', kept: i > 0 });
    if (i > 0) warm.push(...took);
    else {
      match.add(label, named.firstLoad, METRICS.toFirstToken, took);
      const peak = async (workload: string) => {
        const bytes = match.playing.length > 0 && empty && (await browser.peakBytes());
        if (bytes) match.add(label, workload, METRICS.peak, [(bytes - empty) / 1e6]);
      };
      const speak = async () => {
        await match.ask(one, 'memory', { kind: 'read', tokens: texts.words(longest) });
        await match.ask(one, 'memory', { kind: 'speak', count: replyTokens, goOn: true });
      };
      await speak();
      await peak(named.memory(longest));
      if (label === OWN) {
        for (let more = 1; more < fillings; more++) await speak();
        const tokens = texts.words(longest);
        await match.ask(one, 'memory', { kind: 'replies', tokens, count: replyTokens, replies: 4 });
        await peak(named.fullMemory(longest * (fillings + 1)));
      }
    }
    rows.push(...match.rows);
    await one.stop?.();
    if (match.playing.length === 0) return rows;
  }
  const match = new Match(SUITE, []);
  match.add(label, named.laterLoad, METRICS.toFirstToken, warm);
  return [...rows, ...match.rows];
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
