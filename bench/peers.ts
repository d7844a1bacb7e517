// The packages we compare with: installed into bench/peers when they are needed, never into the product.
import { execFile } from 'node:child_process';
import { createReadStream, existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Plugin } from 'vite';

const FOLDER = fileURLToPath(new URL('./peers', import.meta.url));
const TYPES: Record<string, string> = {
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
  '.json': 'application/json',
};

export const peerPath = (name: string): string => join(FOLDER, 'node_modules', name);

/** Installs what bench/peers/package.json names, unless it is there. Rejects where it cannot be had. */
export async function installPeers(): Promise<void> {
  const wanted = JSON.parse(await readFile(join(FOLDER, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  const names = Object.entries(wanted.dependencies);
  const versions = await Promise.all(names.map(([name]) => peerVersion(name)));
  if (names.every(([, version], i) => versions[i] === version)) return;
  console.error('Installing the engines to compare with into bench/peers (once).');
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
  // Scripts of packages would build or fetch more than is wanted here.
  const quietly = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock'];
  await promisify(execFile)(npm, ['install', ...quietly], {
    cwd: FOLDER,
    shell: process.platform === 'win32',
  });
}

/** The installed version of a peer, undefined when it is not there. */
export async function peerVersion(name: string): Promise<string | undefined> {
  const file = join(peerPath(name), 'package.json');
  if (!existsSync(file)) return undefined;
  return (JSON.parse(await readFile(file, 'utf8')) as { version: string }).version;
}

/** Gives a page the files of a folder under a path, as they are, with what a worker with threads needs. */
export function serveFolder(path: string, folder: string): Plugin {
  return {
    name: `rapport-bench-${path}`,
    configureServer({ middlewares }) {
      middlewares.use(path, (request, response, next) => {
        void (async () => {
          const name = decodeURIComponent(new URL(request.url ?? '/', 'http://bench').pathname);
          const file = join(folder, normalize(name));
          const found = await stat(file).catch(() => undefined);
          // Not vite's answer, which is a page: a missing file is a missing file.
          if (!found?.isFile()) return void response.writeHead(404).end();
          response.writeHead(200, {
            'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
            'content-length': found.size,
            'cross-origin-embedder-policy': 'require-corp',
            'cross-origin-resource-policy': 'same-origin',
          });
          if (request.method === 'HEAD') response.end();
          else createReadStream(file).pipe(response);
        })().catch(next);
      });
    },
  };
}
