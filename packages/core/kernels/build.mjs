// Compiles the kernels to ../dist/ when their sources are newer, once for every engine and once for those
// with relaxed SIMD. Also a command: `npm run build:kernels`.
import { execFile } from 'node:child_process';
import { mkdir, readdir, rename, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const folder = new URL('.', import.meta.url);
const targets = {
  plain: new URL('../dist/kernels.wasm', import.meta.url),
  relaxed: new URL('../dist/kernels-relaxed.wasm', import.meta.url),
};

/** @typedef {{ plain: string; relaxed: string }} KernelPaths */
/** @type {Promise<KernelPaths> | undefined} */
let underWay;

/**
 * Paths of the compiled kernels, made now if they are missing or old: `relaxed` for engines that accept
 * it, `plain` for the others. Those who ask at the same time, as the workers of one build do, get one
 * compilation.
 *
 * @returns {Promise<KernelPaths>}
 */
export function buildKernels() {
  underWay ??= compileBoth().finally(() => (underWay = undefined));
  return underWay;
}

async function compileBoth() {
  const names = await readdir(folder);
  const changedMs = await Promise.all(
    names.map(async (name) => (await stat(new URL(name, folder))).mtimeMs),
  );
  const newest = Math.max(...changedMs);
  const [plain, relaxed] = await Promise.all([
    compile(targets.plain, [], newest),
    compile(targets.relaxed, ['--enable', 'relaxed-simd'], newest),
  ]);
  return { plain, relaxed };
}

/**
 * @param {URL} target
 * @param {string[]} features
 * @param {number} changedMs
 */
async function compile(target, features, changedMs) {
  const path = fileURLToPath(target);
  const builtMs = (await stat(target).catch(() => null))?.mtimeMs ?? 0;
  if (builtMs > changedMs) return path;
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
      ...features,
    ],
    { cwd: fileURLToPath(folder) },
  );
  await rename(part, path);
  return path;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(await buildKernels());
