// A reply on a real graphics device (here an adapter in software) that is taken away in the middle of it: the tab, its
// election, the desk and the speaker are those of the page, in one realm.
import { expect, test } from 'vitest';
import type { SpeakRequest, SpokenReply } from '@rapport/core';
import { tinyTokenizer } from '../../../../tests/support/tiny-tokenizer.ts';
import { connect, finish, serve, type Method } from './channel.ts';
import { Desk } from './desk.ts';
import { Election, type EngineEvents, type StartedEngine } from './election.ts';
import type { InferenceService, ModelManifest } from './inference.ts';
import { OneEngine, type Whereabouts } from './one-engine.ts';
import { Speaker } from './speaker.ts';
import { surroundings } from './start-inference.ts';

const manifest: ModelManifest = { name: 'tiny', format: 'safetensors', digest: 'tiny', files: [] };

/** The files of a tiny model. */
async function tinyFiles(): Promise<Map<string, File>> {
  const folder = '/tests/reference/checkpoints/llama-tied';
  const read = async (name: string) => (await fetch(`${folder}/${name}`)).blob();
  const json = (value: unknown) => new Blob([JSON.stringify(value)]);
  const config: object = JSON.parse(await (await read('config.json')).text());
  const blobs = {
    'config.json': json({ ...config, max_position_embeddings: 256 }),
    'model.safetensors': await read('model.safetensors'),
    'tokenizer.json': json(tinyTokenizer.tokenizerJson),
    'tokenizer_config.json': json(tinyTokenizer.tokenizerConfig),
  };
  return new Map(Object.entries(blobs).map(([name, blob]) => [name, new File([blob], name)]));
}

const files = await tinyFiles();

/** What the worker of the page does, without a worker: there the device is out of reach of a test. */
function startEngine(events: EngineEvents): StartedEngine {
  const speaker = new Speaker();
  const desk = new Desk({
    speaker,
    open: (request) => speaker.open(request, files),
    read: () => Promise.reject(new Error('There are no adapters here.')),
    replace: events.replace,
  });
  const { port1, port2 } = new MessageChannel();
  serve(port1, desk.seat({ own: true }).service as unknown as Record<string, Method>);
  let fail!: (error: Error) => void;
  const inference = connect<InferenceService>(port2, (told) => (fail = told));
  port1.start();
  port2.start();
  const end = (error: Error) => fail(error);
  return { name: crypto.randomUUID(), inference, end };
}

function openTab() {
  let now: Whereabouts = { elsewhere: false };
  const election = new Election(crypto.randomUUID(), surroundings(window, startEngine));
  const engine = new OneEngine(election, (where) => (now = { ...now, ...where }));
  return { engine, now: () => now };
}

async function takeDeviceAway(): Promise<void> {
  const { env } = await import('onnxruntime-web/webgpu');
  ((await env.webgpu.device) as { destroy(): void }).destroy();
}

const sampling = { topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, maxTokens: 24 };
const LONG = 12;

/** A reply that is long enough to be cut off, as the processor says it, and how it is asked for. */
async function longReply(): Promise<{ request: SpeakRequest; whole: SpokenReply }> {
  const speaker = new Speaker();
  await speaker.open({ manifest, backend: 'wasm' }, files);
  for (let seed = 1; ; seed++) {
    const request: SpeakRequest = {
      messages: [{ role: 'user', content: 'Hi there' }],
      samplings: [{ ...sampling, temperature: 1, seed }],
    };
    const [whole] = await finish(speaker.speak(request, new AbortController().signal));
    if (whole!.tokens.length > LONG) return { request, whole: whole! };
  }
}

test('a reply on a real device that is lost in the middle goes on without losing a token', async () => {
  const { request, whole } = await longReply();
  const { engine, now } = openTab();
  const opened = await finish(engine.openModel({ manifest, backend: 'webgpu' }));
  expect(opened).toMatchObject({ backend: 'WebGPU', reason: 'chosen' });
  const said: number[] = [];
  const [reply] = await finish(engine.speak(request), ({ id }) => {
    said.push(id);
    if (said.length === LONG / 2) void takeDeviceAway();
  });
  expect(said).toEqual(whole.tokens);
  expect(reply!.tokens).toEqual(said);
  expect(reply!.text).toBe(whole.text);
  expect(now()).toMatchObject({
    elsewhere: false,
    opened: { backend: 'WASM fp32', reason: 'device-lost' },
  });
});
