// The inference worker: weights, tokenizer and ONNX Runtime live here and nowhere else in the page.
import { RapportError } from '@rapport/core';
import { download } from '../model/download.ts';
import { WeightStore } from '../model/weight-store.ts';
import { serve, type Method } from './channel.ts';
import type { FetchProgress, InferenceService, ModelFile } from './inference.ts';
import { Speaker } from './speaker.ts';
import { allowOwnScripts } from './trusted-scripts.ts';

allowOwnScripts();
const store = WeightStore.open();
const personal = WeightStore.open('personal');
const speaker = new Speaker();

const service: InferenceService = {
  async *isKept({ files }) {
    const kept = await Promise.all(files.map(async ({ digest }) => (await store).find(digest)));
    return kept.every((file, i) => file?.size === files[i]!.sizeBytes);
  },

  fetchModel: ({ files }, signal) => fetchFiles(files, signal),
  fetchAdapter: ({ file }, signal) => fetchFiles([file], signal),

  async *openModel({ manifest, backend }) {
    const files = await Promise.all(
      manifest.files.map(async ({ name, digest }) => {
        return [name, (await (await store).find(digest))!] as const;
      }),
    );
    return speaker.open(manifest, new Map(files), backend);
  },

  speak: (request, signal) => speaker.speak(request, signal),

  async *useAdapter(adapter) {
    const file = adapter && (await (await store).find(adapter.file.digest));
    await speaker.useAdapter(adapter && file ? { ...adapter, blob: file } : null);
  },

  async *usePersonal(adapter) {
    const file = adapter && (await (await personal).find(adapter.file.digest));
    if (adapter && !file) {
      throw new RapportError(
        'training/adapter-lost',
        'The file of your personal adapter is gone: the browser has cleared it.',
        'Teach a new one from your votes.',
      );
    }
    await speaker.usePersonal(adapter && file ? { ...adapter, blob: file } : null);
  },

  async *checkGolden(golden) {
    return speaker.checkGolden(golden);
  },

  async *keepOnly(digests) {
    await (await store).keepOnly(digests);
  },
};

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
    if (!(await (await store).find(file.digest))) {
      const part = await (await store).part(file.digest);
      for await (const step of download(file, `/v1/blobs/${file.digest}`, part, around, signal)) {
        const receivedBytes = doneBytes + step.receivedBytes;
        fresh = step.freshBytes;
        yield { ...step, receivedBytes, totalBytes, freshBytes: doneFreshBytes + fresh };
      }
    }
    doneBytes += file.sizeBytes;
    doneFreshBytes += fresh;
  }
}

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

serve(self as never, service as unknown as Record<string, Method>);
