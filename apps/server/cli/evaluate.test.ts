import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { temporaryFolder } from '../store/test-store.ts';
import { annotatorOf } from './commands/evaluate.ts';
import { rapport } from './test-cli.ts';

describe('simulate', () => {
  test.each([
    [['--replies', '0']],
    [['--replies', '1']],
    [['--votes', '0']],
    [['--max-tokens', '0']],
    [['--noise', '1.5']],
  ])('with %j is wrong usage', async (flags) => {
    const files = ['--annotator', 'nobody.mjs', '--prompts', 'none.jsonl'];
    const { code } = await rapport(await temporaryFolder(), 'simulate', ...files, ...flags);
    expect(code).toBe(2);
  });
});

describe('an annotator', () => {
  const moduleOf = async (text: string) => {
    const file = join(await temporaryFolder(), 'annotator.mjs');
    await writeFile(file, text);
    return annotatorOf(file);
  };

  test.each(['export default (_, reply) => reply.length;', 'export const score = () => 2;'])(
    'is found: %s',
    async (text) => {
      expect((await moduleOf(text))('ask', 'hi')).toBe(2);
    },
  );

  test('that is no function is refused', async () => {
    await expect(moduleOf('export default 3;')).rejects.toThrow(
      expect.objectContaining({ code: 'simulate/no-annotator' }),
    );
  });
});
