// Compiles the kernels to ../dist/kernels.wasm when their sources are newer. Also a command:
// `npm run build:kernels`.
import { execFile } from 'node:child_process';
import { mkdir, readdir, rename, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const folder = new URL('.', import.meta.url);
const target = new URL('../dist/kernels.wasm', import.meta.url);

/** @type {Promise<string> | undefined} */
let underWay;

/**
 * Path of the compiled kernels, made now if they are missing or old. Those who ask at the same time, as
 * the workers of one build do, get one compilation.
 *
 * @returns {Promise<string>}
 */
export function buildKernels() {
  underWay ??= compile().finally(() => (underWay = undefined));
  return underWay;
}

async function compile() {
  const path = fileURLToPath(target);
  const builtMs = (await stat(target).catch(() => null))?.mtimeMs ?? 0;
  const names = await readdir(folder);
  const changedMs = await Promise.all(
    names.map(async (name) => (await stat(new URL(name, folder))).mtimeMs),
  );
  if (builtMs > Math.max(...changedMs)) return path;
  await mkdir(new URL('.', target), { recursive: true });
  const part = `${path}.${process.pid}`;
  const compiler = fileURLToPath(
    new URL('../bin/asc.js', import.meta.resolve('assemblyscript/asc')),
  );
  await promisify(execFile)(
    process.execPath,
    [
      compiler,
      'index.ts',
      ...['--outFile', part, '-O3', '--noAssert', '--runtime', 'stub', '--noExportMemory'],
      // Shared memory of up to 4 GiB, given by the runtime; one module serves one thread and many.
      ...['--importMemory', '--sharedMemory', '--initialMemory', '16', '--maximumMemory', '65536'],
      ...['--enable', 'simd', '--enable', 'threads'],
    ],
    { cwd: fileURLToPath(folder) },
  );
  await rename(part, path);
  return path;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(await buildKernels());
