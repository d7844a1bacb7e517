// A Python with the packages a peer needs, in a virtual environment beside the downloaded models.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheFolder } from '../apps/server/model-source/cache.mjs';

const run = promisify(execFile);

/**
 * Path of an interpreter that can import `packages`; what is missing is installed by pip.
 * `RAPPORT_BENCH_PYTHON` names another interpreter. Rejects where there is no Python or no index.
 */
export async function pythonWith(packages: readonly string[]): Promise<string> {
  const python = process.env['RAPPORT_BENCH_PYTHON'] ?? (await environment());
  const imports = packages.map((name) => `import ${name}`).join('; ');
  try {
    await run(python, ['-c', imports]);
  } catch {
    console.error(`Installing ${packages.join(', ')} for Python (once).`);
    await run(python, ['-m', 'pip', 'install', '--quiet', ...packages]);
    await run(python, ['-c', imports]);
  }
  return python;
}

async function environment(): Promise<string> {
  const folder = join(cacheFolder(), 'bench', 'python');
  const windows = process.platform === 'win32';
  const python = join(folder, ...(windows ? ['Scripts', 'python.exe'] : ['bin', 'python']));
  if (!existsSync(python)) await run(windows ? 'python' : 'python3', ['-m', 'venv', folder]);
  return python;
}
