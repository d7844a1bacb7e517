import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { aRanking, temporaryFolder } from '../store/test-store.ts';
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

describe('the arena of people', () => {
  /** A data folder with rankings, each of replies by the releases that are named, best first. */
  const folderWith = async (...rankings: string[][]) => {
    const data = await temporaryFolder();
    const rows = rankings.map((releases) => {
      const ranking = aRanking(releases.map((_, i) => i + 1));
      const { replies } = ranking.body as { replies: { provenance: object }[] };
      releases.forEach((spokenBy, i) => {
        const [release, adapter = null] = spokenBy.split('+');
        const { provenance } = replies[i]!;
        replies[i]!.provenance = { ...provenance, release, adapter };
      });
      return JSON.stringify(ranking);
    });
    await writeFile(join(data, 'rows.jsonl'), rows.join('\n'));
    expect((await rapport(data, 'feedback', 'import', join(data, 'rows.jsonl'))).code).toBe(0);
    return data;
  };
  const FROM_VOTES = ['evaluate', 'arena', '--from-votes'];

  test('rates releases by the rankings in the store, and draws the ratings', async () => {
    const newer = Array.from({ length: 9 }, () => ['new', 'base', 'base']);
    const data = await folderWith(
      ...newer,
      ['base', 'new'],
      ['new', 'new'],
      ['base', 'new+personal:1'],
    );
    const svg = join(data, 'ratings.svg');
    const { json, said, code } = await rapport(data, ...FROM_VOTES, '--json', '--svg', svg);
    expect(code, said).toBe(0);
    const { ratings, duels } = json as {
      ratings: { release: string; rating: number }[];
      duels: unknown[];
    };
    expect(ratings.map(({ release }) => release)).toEqual(['base', 'new']);
    expect(ratings[1]!.rating - ratings[0]!.rating).toBeCloseTo(400 * Math.log10(9.5 / 1.5), 3);
    expect(duels).toEqual([
      expect.objectContaining({
        releases: ['base', 'new'],
        rankings: 10,
        winRate: expect.closeTo(0.1, 12),
        lengthControlled: expect.objectContaining({ winRate: expect.any(Number) }),
      }),
    ]);
    expect(await readFile(svg, 'utf8')).toMatch(/<desc[^>]*>new: .*; base: /);
  });

  test('without a ranking of two releases says so, and what to do', async () => {
    const data = await folderWith(['base', 'base']);
    const { code, said } = await rapport(data, ...FROM_VOTES);
    expect(code).toBe(1);
    expect(said).toContain('No ranking holds replies of two releases.');
  });

  test('asked for neither way is wrong usage', async () => {
    const data = await folderWith(['base', 'base']);
    expect((await rapport(data, 'evaluate', 'arena', '--releases', 'base,new')).code).toBe(2);
  });
});
