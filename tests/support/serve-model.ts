// Gives browser tests the real model at /model.gguf, from the cache of this machine.
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Plugin } from 'vite';
import { modelPath } from './model.ts';

export function serveModel(): Plugin {
  return {
    name: 'rapport-serve-model',
    configureServer({ middlewares }) {
      middlewares.use('/model.gguf', (_request, response, next) => {
        void (async () => {
          const path = await modelPath();
          response.setHeader('content-length', (await stat(path)).size);
          createReadStream(path).pipe(response);
        })().catch(next);
      });
    },
  };
}
