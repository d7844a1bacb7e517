// How the client is built: entries, the isolation headers threads need, and the list of files that
// the service worker keeps for offline use. The root vite.config.ts spreads this in.
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import type { Plugin, UserConfig } from 'vite';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { buildKernels } from '../../packages/core/kernels/build.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));

/** Cross-origin isolation: without these two, no SharedArrayBuffer and so one thread only. */
const isolation = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};

/** `virtual:kernels` has the addresses of the WASM kernels, compiled when their sources are newer. */
export function kernels(): Plugin {
  return {
    name: 'rapport-kernels',
    resolveId: (id) => (id === 'virtual:kernels' ? `\0${id}` : undefined),
    async load(id) {
      if (id !== '\0virtual:kernels') return undefined;
      const lines = Object.entries(await buildKernels()).map(([name, path]) => {
        const file = JSON.stringify(`${path.replaceAll('\\', '/')}?url`);
        return `export { default as ${name} } from ${file};`;
      });
      return lines.join('\n');
    },
  };
}

/**
 * Writes `shell.json`: every file of the build that the page needs to open without a network. Its hash is in the
 * service worker, which a browser installs anew only when its bytes have changed.
 */
export function shellList(): Plugin {
  return {
    name: 'rapport-shell-list',
    apply: 'build',
    generateBundle(_options, bundle) {
      const files = Object.keys(bundle)
        .filter((name) => neededOffline(name))
        .sort();
      const source = JSON.stringify(['/', ...files.map((name) => `/${name}`)]);
      this.emitFile({ type: 'asset', fileName: 'shell.json', source });
      const worker = bundle['service-worker.js'];
      const hash = createHash('sha256').update(source).digest('hex');
      if (worker?.type === 'chunk') worker.code += `\n// Shell ${hash}\n`;
    },
  };
}

// The console needs its server anyway, and the WebGPU build of the runtime is kept once it is used.
const neededOffline = (name: string) =>
  /\.(js|mjs|css|wasm)$/.test(name) &&
  !/^operator|^assets\/operator|asyncify|^service-worker/.test(name);

/** The Vite settings of apps/web, with its folder as root. */
export const webConfig = {
  root: here,
  plugins: [svelte(), kernels(), shellList()],
  resolve: {
    conditions: ['onnxruntime-web-use-extern-wasm', 'module', 'browser', 'development|production'],
  },
  worker: { format: 'es', plugins: () => [kernels()] },
  optimizeDeps: { exclude: ['onnxruntime-web'] },
  server: { headers: isolation },
  preview: { headers: isolation },
  build: {
    target: 'es2022',
    outDir: `${here}dist`,
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: {
        index: `${here}index.html`,
        operator: `${here}operator.html`,
        'service-worker': `${here}src/service-worker.ts`,
      },
      output: {
        entryFileNames: (chunk) =>
          chunk.name === 'service-worker' ? 'service-worker.js' : 'assets/[name]-[hash].js',
      },
    },
  },
} satisfies UserConfig;
