// The inference worker: weights, tokenizer and ONNX Runtime live here and nowhere else. It serves the page that started
// it and, by mail, every other tab of this origin that writes to the engine of its name.
import { blobSource, RapportError, readPeft } from '@rapport/core';
import { download } from '../model/download.ts';
import { keepAwake, WeightStore } from '../model/weight-store.ts';
import { Desk } from './desk.ts';
import { hold } from './hold.ts';
import type { EngineNews, FetchProgress, ModelFile } from './inference.ts';
import { ownDoors, receiveTabs, type Files } from './reception.ts';
import { Speaker } from './speaker.ts';
import { allowOwnScripts } from './trusted-scripts.ts';

const ELSEWHERE_AFTER_MS = 200;

allowOwnScripts();
keepAwake();
const store = WeightStore.open();
const personal = WeightStore.open('personal');
const speaker = new Speaker();
const say = (message: EngineNews) => postMessage(message);

const files: Files = {
  async *isKept({ files }) {
    const kept = await Promise.all(files.map(async ({ digest }) => (await store).find(digest)));
    return kept.every((file, i) => file?.size === files[i]!.sizeBytes);
  },

  fetchModel: ({ files }, signal) => fetchFiles(files, signal),
  fetchAdapter: ({ file }, signal) => fetchFiles([file], signal),

  async *keepOnly(digests) {
    await (await store).keepOnly(digests);
  },
};

const desk = new Desk({
  speaker,
  async open(request) {
    const found = request.manifest.files.map(async ({ name, digest }) => {
      return [name, (await (await store).find(digest))!] as const;
    });
    return speaker.open(request, new Map(await Promise.all(found)));
  },
  async read(adapter, part) {
    const file = await (await (part === 'release' ? store : personal)).find(adapter.file.digest);
    if (!file) throw part === 'release' ? releaseGone() : personalGone();
    return readPeft(blobSource(file), adapter);
  },
  replace: (request) => say({ kind: 'replace', request }),
});

/** Brings files here one after the other, as one progress over all of their bytes. */
async function* fetchFiles(
  files: readonly ModelFile[],
  signal: AbortSignal,
): AsyncGenerator<FetchProgress, void> {
  const totalBytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  let doneBytes = 0;
  let doneFreshBytes = 0;
  for (const file of files) {
    let fresh = 0;
    for await (const step of fetchFile(file, signal)) {
      const receivedBytes = doneBytes + step.receivedBytes;
      fresh = step.freshBytes;
      yield { ...step, receivedBytes, totalBytes, freshBytes: doneFreshBytes + fresh };
    }
    doneBytes += file.sizeBytes;
    doneFreshBytes += fresh;
  }
}

/** One tab brings a file; others wait for it and find it here. */
async function* fetchFile(file: ModelFile, signal: AbortSignal): AsyncGenerator<FetchProgress> {
  const kept = await store;
  if (await kept.find(file.digest)) return;
  const lock = hold(`rapport-file-${file.digest}`, signal);
  const here = await Promise.race([lock.then(() => true), sleep(ELSEWHERE_AFTER_MS)]);
  const { sizeBytes: totalBytes } = file;
  if (!here) yield { receivedBytes: 0, totalBytes, freshBytes: 0, elsewhere: true };
  const release = await lock;
  try {
    if (await kept.find(file.digest)) return;
    const part = await kept.part(file.digest);
    yield* download(file, `/v1/blobs/${file.digest}`, part, around, signal);
  } finally {
    release();
  }
}

const sleep = (ms: number) => new Promise<false>((resolve) => setTimeout(resolve, ms, false));

const around = {
  fetch: (...call: Parameters<typeof fetch>) => fetch(...call),
  random: Math.random,
  async wait(ms: number, signal: AbortSignal) {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      addEventListener('online', () => resolve(), { once: true });
      signal.addEventListener('abort', () => resolve(), { once: true });
      signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
    });
    signal.throwIfAborted();
  },
};

const releaseGone = () =>
  new RapportError(
    'releases/file-gone',
    'The file of this release is gone: the browser has cleared it.',
    'Wait a minute: it is fetched again.',
  );

const personalGone = () =>
  new RapportError(
    'training/adapter-lost',
    'The file of your personal adapter is gone: the browser has cleared it.',
    'Teach a new one from your votes.',
  );

receiveTabs(desk, files, ownDoors());
say({ kind: 'listening' });
