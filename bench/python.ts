// A Python with the packages a peer needs, in a virtual environment beside the downloaded models.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheFolder } from '../apps/server/model-source/cache.mjs';

const run = promisify(execFile);
const FOLDER = join(cacheFolder(), 'bench', 'python');

/** Whether it is there or not. */
function interpreter(): string {
  const inside = process.platform === 'win32' ? ['Scripts', 'python.exe'] : ['bin', 'python'];
  return process.env['RAPPORT_BENCH_PYTHON'] ?? join(FOLDER, ...inside);
}

/**
 * Path of an interpreter that can import `packages`; what is missing is installed by pip.
 * `RAPPORT_BENCH_PYTHON` names another interpreter. Rejects where there is no Python or no index.
 */
export async function pythonWith(packages: readonly string[]): Promise<string> {
  const python = interpreter();
  if (!process.env['RAPPORT_BENCH_PYTHON'] && !existsSync(python)) {
    await run(process.platform === 'win32' ? 'python' : 'python3', ['-m', 'venv', FOLDER]);
  }
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

/** The installed version of a package of that Python, undefined when it is not there. */
export async function pythonVersion(name: string): Promise<string | undefined> {
  const program = `from importlib.metadata import version; print(version('${name}'))`;
  const said = await run(interpreter(), ['-c', program]).catch(() => undefined);
  return said?.stdout.trim();
}
