import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { aRanking, temporaryFolder } from '../store/test-store.ts';
import { rapport } from './test-cli.ts';

const script = fileURLToPath(new URL('./rapport.mjs', import.meta.url));
const ROWS = 600;

/** `rapport feedback export …` for a shell, on a data folder with more rankings than a pipe holds. */
async function exporting(...flags: string[]): Promise<string> {
  const folder = await temporaryFolder();
  const file = join(folder, 'rows.jsonl');
  await writeFile(file, Array.from({ length: ROWS }, () => JSON.stringify(aRanking())).join('\n'));
  const { json } = await rapport(folder, 'feedback', 'import', file, '--json');
  expect(json).toMatchObject({ accepted: ROWS });
  const words = [process.execPath, script, 'feedback', 'export', ...flags, '--data', folder];
  return words.map((word) => `'${word}'`).join(' ');
}

const inShell = (words: string) => promisify(execFile)('sh', ['-c', words], { maxBuffer: 1 << 26 });

test('what is longer than a pipe holds arrives whole, however late it is read', async () => {
  const late = '{ dd bs=1 count=1 2>/dev/null; sleep 0.5; cat; }';
  const { stdout } = await inShell(`${await exporting('--json')} | ${late}`);
  expect(stdout.length).toBeGreaterThan(200_000);
  expect(JSON.parse(stdout)).toHaveLength(ROWS);
});

test('a reader that has read enough ends nothing with an error', async () => {
  const { stdout, stderr } = await inShell(
    `{ ${await exporting()}; echo "code $?" >&2; } | head -1`,
  );
  expect(JSON.parse(stdout)).toMatchObject({ type: 'ranking' });
  expect(stderr).toBe('code 0\n');
});
