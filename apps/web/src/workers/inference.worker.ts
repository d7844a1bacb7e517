// The inference worker: weights, tokenizer and ONNX Runtime live here and nowhere else in the page.
import { download } from '../model/download.ts';
import { WeightStore } from '../model/weight-store.ts';
import { serve, type Method } from './channel.ts';
import type { InferenceService } from './inference.ts';
import { Speaker } from './speaker.ts';
import { allowOwnScripts } from './trusted-scripts.ts';

allowOwnScripts();
const store = WeightStore.open();
const speaker = new Speaker();

const service: InferenceService = {
  async *isKept({ files }) {
    const kept = await Promise.all(files.map(async ({ digest }) => (await store).find(digest)));
    return kept.every((file, i) => file?.size === files[i]!.sizeBytes);
  },

  async *fetchModel({ files }, signal) {
    const totalBytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    let doneBytes = 0;
    let freshBytes = 0;
    for (const file of files) {
      let fresh = 0;
      if (!(await (await store).find(file.digest))) {
        const part = await (await store).part(file.digest);
        for await (const step of download(file, `/v1/blobs/${file.digest}`, part, around, signal)) {
          const receivedBytes = doneBytes + step.receivedBytes;
          fresh = step.freshBytes;
          yield { ...step, receivedBytes, totalBytes, freshBytes: freshBytes + fresh };
        }
      }
      doneBytes += file.sizeBytes;
      freshBytes += fresh;
    }
  },

  async *openModel({ manifest, backend }) {
    const files = await Promise.all(
      manifest.files.map(async ({ name, digest }) => {
        return [name, (await (await store).find(digest))!] as const;
      }),
    );
    return speaker.open(manifest, new Map(files), backend);
  },

  speak: (request, signal) => speaker.speak(request, signal),

  async *useAdapter(files) {
    speaker.useAdapter(files);
  },

  async *checkGolden(golden) {
    return speaker.checkGolden(golden);
  },

  async *keepOnly(digests) {
    await (await store).keepOnly(digests);
  },
};

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
