// From a page load to the first reply in a real browser; the server and the model's port are scripted.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { RapportError } from '@rapport/core';
import { startSpeaking } from '../app.ts';
import { openDatabase, recall, remember, type Database } from '../db/database.ts';
import type { TrainingRun } from '../training/rows.ts';
import { Personal } from '../training/personal.svelte.ts';
import type {
  AdapterRef,
  Inference,
  ModelManifest,
  OpenedModel,
  OpenRequest,
} from '../workers/inference.ts';
import { Model, type Speaker } from './model.svelte.ts';
import { Releases, type ReleaseFacts } from './releases.svelte.ts';

const baseOf = (digit: string): ModelManifest => {
  const chunks = { size: 1 << 20, sha256: [digit.repeat(64)] };
  const file = { name: 'weights.gguf', digest: digit.repeat(64), sizeBytes: 4, chunks };
  return { name: `base ${digit}`, format: 'gguf', digest: digit.repeat(64), files: [file] };
};
const [OLD, NEW] = [baseOf('a'), baseOf('b')];
const R1 = '1'.repeat(64);

const adapterOf = (digest: string): AdapterRef => ({
  file: { name: 'adapter', digest, sizeBytes: 4 },
  rank: 8,
  alpha: 16,
  targets: [],
});

/** Stands at the model's port. */
class Port {
  files = new Set<string>();
  requests: OpenRequest[] = [];
  /** What opening waits for, and what comes of it. */
  opening: Promise<unknown> = Promise.resolve();
  opened: Partial<OpenedModel> = { reason: 'fastest' };
  /** Thrown in place of opening this base. */
  refused: { digest: string; error: Error } | undefined;
  voice: [release: string | null, personal: string | null] = [null, null];

  async *isKept({ files }: ModelManifest) {
    return files.every(({ digest }) => this.files.has(digest));
  }
  async *fetchModel({ files }: ModelManifest) {
    if (!online) throw new RapportError('model/unreachable', 'It stopped arriving.', 'Resume.');
    for (const { digest } of files) this.files.add(digest);
  }
  async *openModel(request: OpenRequest) {
    await this.opening;
    this.requests.push(request);
    if (this.refused?.digest === request.manifest.digest) throw this.refused.error;
    this.voice = [null, null];
    return this.opened;
  }
  async *useAdapter(adapter: AdapterRef | null) {
    this.voice = [adapter?.file.digest ?? null, null];
  }
  async *usePersonal(adapter: AdapterRef | null) {
    this.voice[1] = adapter?.file.digest ?? null;
  }
  async *keepOnly(digests: string[]) {
    for (const digest of this.files) if (!digests.includes(digest)) this.files.delete(digest);
  }
}

/** Never answers: nothing but what is here speaks. */
const silence = () => new Promise<never>(() => undefined);
const feed = { channel: silence, release: silence, bucket: silence, mine: silence };
const { signal } = new AbortController();

let db: Database;
let port: Port;
let model: Model;
let personal: Personal;
let told: string[];
/** What the server names as its base, when it can be reached. */
let named: ModelManifest;
let online: boolean;

beforeEach(() => {
  db = openDatabase(`model-${Math.random()}`);
  port = new Port();
  told = [];
  named = OLD;
  online = true;
  const { fetch } = globalThis;
  vi.stubGlobal('fetch', async (...call: Parameters<typeof fetch>) => {
    if (call[0] !== '/v1/model') return fetch(...call);
    if (!online) throw new TypeError('no network');
    return Response.json(named);
  });
});
afterEach(async () => {
  personal?.close();
  vi.unstubAllGlobals();
  await db.delete();
});

/** A page load, as main.ts makes it. */
function load(): Promise<void> {
  personal?.close();
  model = new Model(db, port as unknown as Inference);
  const releases = new Releases(db, model, feed, (what) => told.push(what));
  personal = new Personal(db, model, (what) => told.push(what));
  return startSpeaking({ model, releases, personal });
}

/** Who makes the next reply, and with what in fact. */
async function whoSpeaks(): Promise<{ speaker: Speaker; voice: Port['voice'] }> {
  let found!: { speaker: Speaker; voice: Port['voice'] };
  await model.speakWith(signal, async (speaker) => {
    found = { speaker, voice: [...port.voice] };
    return [];
  });
  return found;
}

/** A release is installed and what was taught on it is kept. */
async function install(release: string): Promise<void> {
  const adapter = adapterOf(`of-${release}`);
  const facts: ReleaseFacts = { id: release, adapter, golden: null, votes: 2, mine: 1 };
  await keepTaughtOn(release);
  await remember(db, 'release', facts);
}

async function keepTaughtOn(release: string): Promise<void> {
  const run = { id: 'run', state: 'kept', release, startedAt: 0, stage: 'comparing' };
  const rest = { order: { manifest: OLD }, steps: [], sideBySide: [] };
  const outcome = { adapter: adapterOf('taught') };
  await db.trainings.add({ ...run, ...rest, outcome } as unknown as TrainingRun);
}

test('a reply asked for while the model opens is made by what spoke last time', async () => {
  await install(R1);
  let open!: () => void;
  port.opening = new Promise<void>((resolve) => (open = resolve));
  const loaded = load();
  const first = whoSpeaks();
  open();
  expect(await first).toEqual({
    speaker: { id: R1, adapter: 'personal:taught' },
    voice: [`of-${R1}`, 'taught'],
  });
  await loaded;
  expect(told).toEqual([]);
  expect((await db.trainings.get('run'))!.state).toBe('kept');
});

test('what was taught on the bare base makes the first reply too', async () => {
  await keepTaughtOn('base');
  const loaded = load();
  expect((await whoSpeaks()).speaker).toEqual({ id: 'base', adapter: 'personal:taught' });
  await loaded;
  expect(told).toEqual([]);
});

test('where opening fails at first, what spoke last time speaks after it was tried again', async () => {
  await install(R1);
  const error = new RapportError('runtime/memory', 'No memory.', 'Close other tabs.');
  port.refused = { digest: OLD.digest, error };
  await load();
  expect(model.phase).toBe('failed');
  expect(personal.started).toBe(false);
  port.refused = undefined;
  await model.start();
  expect((await whoSpeaks()).voice).toEqual([`of-${R1}`, 'taught']);
  expect(personal.started).toBe(true);
  expect(told).toEqual([]);
});

test('a base that the server has newly named does not keep the one that is here from opening', async () => {
  await load();
  named = NEW;
  await load();
  expect(model.manifest).toEqual(OLD);
  await expect.poll(() => recall(db, 'model-manifest-newer')).toEqual(NEW);
  online = false;
  await load();
  expect(model.phase).toBe('ready');
  expect(model.manifest).toEqual(OLD);

  online = true;
  await load();
  expect(model.manifest).toEqual(NEW);
  online = false;
  await load();
  expect(model.phase).toBe('ready');
  expect(model.manifest).toEqual(NEW);
});

test('a newer base that does not open leaves the word to the one that is here', async () => {
  await load();
  named = NEW;
  await load();
  await expect.poll(() => recall(db, 'model-manifest-newer')).toEqual(NEW);
  const error = new RapportError('weights/truncated', 'It ends early.', 'Fetch it again.');
  port.refused = { digest: NEW.digest, error };
  await load();
  expect(model.phase).toBe('ready');
  expect(model.manifest).toEqual(OLD);
  expect(await model.files()).toEqual(expect.arrayContaining([OLD.digest, NEW.digest]));
  port.refused = undefined;
  await load();
  expect(model.manifest).toEqual(NEW);
});

test('an engine that could not load the model is not begun with next time', async () => {
  const measured = { ms: { webgpu: 1 }, wrong: [], calm: true, whole: true, tookMs: 300 };
  const verdict = { engine: 'webgpu', ...measured } as const;
  port.opened = { reason: 'fastest', verdict };
  await load();
  await load();
  expect(port.requests.map((request) => request.verdict)).toEqual([undefined, verdict]);
  port.opened = { reason: 'fell-back' };
  await load();
  await load();
  expect(port.requests.at(-1)!.verdict).toBeUndefined();
});

test('after a worker that died while it opened the model, starts are careful until another way is chosen', async () => {
  const error = new RapportError('workers/crashed', 'The worker stopped.', 'Try again.');
  port.refused = { digest: OLD.digest, error };
  await load();
  expect(model.phase).toBe('failed');
  port.refused = undefined;
  await model.start();
  await load();
  expect(model.phase).toBe('ready');
  await model.chooseBackend('auto');
  await load();
  expect(port.requests.map(({ afterCrash }) => afterCrash)).toEqual([false, true, true, false]);
});

test('an engine that says why it does not open the model has not crashed', async () => {
  const error = new RapportError('runtime/memory', 'No memory.', 'Close other tabs.');
  port.refused = { digest: OLD.digest, error };
  await load();
  port.refused = undefined;
  await model.start();
  expect(port.requests.map(({ afterCrash }) => afterCrash)).toEqual([false, false]);
});
