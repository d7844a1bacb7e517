// Gets a Chromium for the tests: an installed one, else the system's, else Playwright's own.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { runTool, tail } from '../../setup/child.mjs';
import { findChromium } from './chromium.mjs';

/**
 * @param {string} root of the repository
 * @param {(text: string) => void} note
 * @returns {Promise<string | undefined>} path of the browser, undefined for Playwright's own
 */
export async function ensureBrowser(root, note) {
  const installed = findChromium();
  if (installed && starts(installed)) return installed;
  const tried = [`installed: ${installed ? `${installed} does not start` : 'none found'}`];
  for (const install of [bySystem, byPlaywright]) {
    const problem = await install(root, note);
    if (problem) {
      tried.push(problem);
      continue;
    }
    const found = findChromium();
    if (install === byPlaywright || (found && starts(found)))
      return install === byPlaywright ? undefined : found;
    tried.push('the package manager installed no Chromium that starts');
  }
  throw Object.assign(new Error(`No browser for the tests. Tried:\n  ${tried.join('\n  ')}`), {
    remedy: 'Install Chromium or Chrome, or set RAPPORT_CHROMIUM to its path.',
  });
}

/** @param {string} path */
const starts = (path) => spawnSync(path, ['--version'], { timeout: 20_000 }).status === 0;

/**
 * @param {string} root
 * @param {(text: string) => void} note
 * @returns {Promise<string | undefined>} what went wrong
 */
async function bySystem(root, note) {
  if (process.platform !== 'linux') return 'package manager: only on Linux';
  if (spawnSync('apt-get', ['--version']).status !== 0) return 'apt-get: not here';
  const asRoot = process.getuid?.() === 0;
  if (!asRoot && spawnSync('sudo', ['-n', 'true']).status !== 0) return 'apt-get: needs root';
  note('installing Chromium with apt-get');
  for (const args of [['update'], ['install', '-y', '--no-install-recommends', 'chromium']]) {
    const [command = 'apt-get', ...rest] = asRoot
      ? ['apt-get', ...args]
      : ['sudo', '-n', 'apt-get', ...args];
    const env = { DEBIAN_FRONTEND: 'noninteractive' };
    const { code, output } = await runTool(command, rest, { cwd: root, env });
    if (code !== 0 && args[0] === 'install') return `apt-get: ${tail(output, 3)}`;
  }
  return undefined;
}

/**
 * @param {string} root
 * @param {(text: string) => void} note
 * @returns {Promise<string | undefined>} what went wrong
 */
async function byPlaywright(root, note) {
  note('installing Chromium with Playwright');
  const cli = join(root, 'node_modules', 'playwright', 'cli.js');
  const args = [cli, 'install', 'chromium'];
  const { code, output } = await runTool(process.execPath, args, { cwd: root });
  if (code === 0) {
    const { chromium } = await import('playwright');
    if (starts(chromium.executablePath())) return undefined;
    return 'Playwright: its Chromium does not start (npx playwright install-deps chromium, as root)';
  }
  // The reason stands above a long stack.
  const reason = output.split('\n').find((line) => /error/i.test(line));
  return `Playwright: ${reason ?? tail(output, 3)}`;
}
