// Our server in a process of its own on a real SQLite: judgements in, a release out.
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { modelFiles } from '../tests/support/model.ts';
import { Child } from './child.ts';
import { missingRow, rowOf, type Row } from './rows.ts';

const suite = 'server';
const engine = 'own server, SQLite';

export async function server(quick: boolean): Promise<Row[]> {
  const child = new Child(fileURLToPath(new URL('./server-child.ts', import.meta.url)), []);
  try {
    const { url } = await child.ask<{ url: string }>('');
    return [...(await syncing(url, quick)), ...(await downloading(url, quick))];
  } catch (error) {
    return [missingRow({ suite, workload: 'all', engine }, error)];
  } finally {
    await child.ask('stop').catch(() => undefined);
    child.stop();
  }
}

/** Batches from several devices at once, then single judgements one after the other. */
async function syncing(url: string, quick: boolean): Promise<Row[]> {
  const [devices, batches, perBatch, singles] = quick ? [2, 3, 20, 20] : [8, 25, 100, 500];
  const tokens = await Promise.all(Array.from({ length: devices }, () => enrol(url)));
  const rates: number[] = [];
  const batchMs: number[] = [];
  for (let round = 0; round < batches; round++) {
    const fromMs = performance.now();
    batchMs.push(...(await Promise.all(tokens.map((token) => send(url, token, perBatch)))));
    rates.push((devices * perBatch * 1000) / (performance.now() - fromMs));
  }
  const singleMs: number[] = [];
  for (let i = 0; i < singles; i++) singleMs.push(await send(url, tokens[i % devices]!, 1));
  const many = `${devices} devices at once, batches of ${perBatch} judgements`;
  return [
    rowOf({ suite, workload: many, engine, metric: 'accepted', unit: 'events/s' }, rates),
    ...latencies(many, batchMs),
    ...latencies('one judgement at a time', singleMs),
  ];
}

/** Half and 99 of a hundred were answered within so long; low and high are of all. */
function latencies(workload: string, ms: readonly number[]): Row[] {
  return [0.5, 0.99].map((share) => ({
    ...rowOf({ suite, workload, engine, metric: `p${100 * share}`, unit: 'ms' }, ms),
    median: percentile(ms, share),
  }));
}

/** The smallest figure that at least this share of all is not above. */
export function percentile(all: readonly number[], share: number): number {
  const sorted = [...all].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!;
}

async function enrol(url: string): Promise<string> {
  const answered = await post(`${url}/v1/devices`, {});
  return ((await answered.json()) as { token: string }).token;
}

/** Sends votes nobody sent before; gives the milliseconds until they were on the disk. */
async function send(url: string, token: string, count: number): Promise<number> {
  const batch = { proto: 1, events: Array.from({ length: count }, vote) };
  const fromMs = performance.now();
  const answered = await post(`${url}/v1/events`, batch, token);
  const { results } = (await answered.json()) as { results: { status: string }[] };
  const ms = performance.now() - fromMs;
  const refused = results.find(({ status }) => status !== 'accepted');
  if (refused) throw new Error(`a vote was not accepted: ${JSON.stringify(refused)}`);
  return ms;
}

async function post(url: string, body: unknown, token?: string): Promise<Response> {
  const answered = await fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(token && { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify(body),
  });
  if (!answered.ok) throw new Error(`${url} answered ${answered.status}: ${await answered.text()}`);
  return answered;
}

/** A vote on a reply of eighty tokens. */
function vote() {
  const tokens = Array.from({ length: 80 }, (_, i) => 1000 + i);
  const sampling = {
    temperature: 0.7,
    topK: 40,
    topP: 0.95,
    minP: 0,
    repetitionPenalty: 1,
    maxTokens: 256,
  };
  const provenance = {
    release: 'base',
    adapter: null,
    sampling,
    seed: 1,
    tokens,
    logprobs: tokens.map(() => -1.5),
  };
  return {
    id: randomUUID(),
    v: 1,
    at: Date.now(),
    release: 'base',
    consent: true,
    type: 'vote',
    body: {
      prompt: [{ role: 'user', content: 'Name three fruits that keep well in winter.' }],
      reply: {
        text: 'Apples, pears and quinces keep well in a cool cellar. '.repeat(6),
        provenance,
      },
      value: 1,
    },
  };
}

async function downloading(url: string, quick: boolean): Promise<Row[]> {
  const workload = 'download of the weights, one client';
  const { digest } = await modelFiles();
  if (!digest) return [missingRow({ suite, workload, engine }, 'this model has no digest')];
  const rates: number[] = [];
  for (let i = 0; i < (quick ? 2 : 10); i++) {
    const fromMs = performance.now();
    const answered = await fetch(`${url}/v1/blobs/${digest}`);
    if (!answered.ok) throw new Error(`the weights answered ${answered.status}`);
    let bytes = 0;
    for await (const part of answered.body!) bytes += (part as Uint8Array).length;
    rates.push(bytes / 1e3 / (performance.now() - fromMs));
  }
  return [rowOf({ suite, workload, engine, metric: 'throughput', unit: 'MB/s' }, rates)];
}
