import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { tinyFolder } from '../../../tests/support/tiny-folder.ts';
import { temporaryFolder } from '../store/test-store.ts';
import { contextWithVotes } from '../test-context.ts';
import { rapport } from './test-cli.ts';

async function tinyModel(name: string): Promise<string> {
  const folder = await tinyFolder(name);
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}

/** A release of a bare model; gives its id. */
async function released(data: string, model: string): Promise<string> {
  const { code, said, json } = await rapport(data, 'release', 'build', '--base', model, '--json');
  expect(code, said).toBe(0);
  return (json as { id: string }).id;
}

test('a release without an adapter is a model like any other', async () => {
  const data = await temporaryFolder();
  const id = await released(data, await tinyModel('llama-tied'));
  // Built on itself it is the same content, hence the same release.
  expect(await released(data, id.slice(0, 12))).toBe(id);
});

test('a release with an adapter is refused where a bare model is needed', async () => {
  const { dataFolder, runs } = await contextWithVotes();
  const { id } = await runs.start({ config: { steps: 1 }, publish: 'no' });
  const { release } = await runs.wait(id);
  const rows = join(dataFolder, 'rows.jsonl');
  const likes = join(dataFolder, 'likes.mjs');
  await writeFile(rows, '{}\n');
  await writeFile(likes, 'export default (prompt, reply) => reply.length;\n');
  for (const words of [
    ['train'],
    ['release', 'build', '--adapter', dataFolder],
    ['simulate', '--annotator', likes, '--prompts', rows],
    ['evaluate', 'reward', '--train', rows, '--test', rows],
    ['evaluate', 'arena', '--releases', `base,${release}`, '--annotator', likes, '--prompts', rows],
  ])
    expect(await rapport(dataFolder, ...words, '--model', release!)).toMatchObject({
      code: 1,
      said: expect.stringContaining(`${release} is a release with an adapter`),
    });
});

test('in the arena everyone speaks by their own base, whatever the data folder uses', async () => {
  const data = await temporaryFolder();
  const [ours, theirs] = [await tinyModel('llama-tied'), await tinyModel('qwen2-tied')];
  const [our, their] = [await released(data, ours), await released(data, theirs)];
  const [prompts, replies] = [join(data, 'prompts.jsonl'), join(data, 'replies.jsonl')];
  const annotator = join(data, 'listens.mjs');
  const lines = ['a', 'b'].map((word) => JSON.stringify({ id: word, instruction: `say ${word}` }));
  await writeFile(prompts, lines.join('\n'));
  await writeFile(
    annotator,
    `import { appendFileSync } from 'node:fs';
export default (prompt, reply) => {
  appendFileSync(${JSON.stringify(replies)}, JSON.stringify([prompt, reply]) + '\\n');
  return reply.length;
};
`,
  );
  const words = ['evaluate', 'arena', '--annotator', annotator, '--prompts', prompts];
  const arena = (releases: string, model: string) =>
    rapport(data, ...words, '--max-tokens', '8', '--releases', releases, '--model', model);
  const heard = async (releases: string, model: string) => {
    await writeFile(replies, '');
    const { code, said } = await arena(releases, model);
    expect(code, said).toBe(0);
    return (await readFile(replies, 'utf8')).trim().split('\n');
  };
  const first = await heard(`base,${their}`, ours);
  expect(first).toHaveLength(8);
  expect(await heard(`${our},base`, theirs)).toEqual(first);

  for (const twice of ['base,base', `${our},${our.slice(0, 8)}`])
    expect(await arena(twice, ours)).toMatchObject({ code: 2 });
});
