// What scripts rely on: the names in the documents that commands print with --json.
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { tinyFolder } from '../../../tests/support/tiny-folder.ts';
import { aRanking, temporaryFolder } from '../store/test-store.ts';
import { rapport } from './test-cli.ts';

/** A new data folder: what commands print on it, and how files get there. */
async function newFolder() {
  const data = await temporaryFolder();
  const printed = async (...words: string[]) => {
    const { code, said, json } = await rapport(data, ...words, '--json');
    expect(code, said).toBe(0);
    return json as Record<string, unknown>;
  };
  const write = async (name: string, content: unknown) => {
    const file = join(data, name);
    await writeFile(file, JSON.stringify(content));
    return file;
  };
  return { data, printed, write };
}

const namesOf = (document: Record<string, unknown>) => Object.keys(document).sort();

test('generate and score print what they promise, and no more', async () => {
  const { data, printed, write } = await newFolder();
  const model = await tinyFolder();
  onTestFinished(() => rm(model, { recursive: true }));
  const asked = [{ role: 'user', content: 'hi' }];
  const question = ['--model', model, '--messages', await write('asked.json', asked)];
  const reply = await printed('generate', ...question, '--greedy', '--max-tokens', '4');
  const promised = ['finishReason', 'logprobs', 'promptTokens', 'text', 'timing', 'tokens'];
  expect(namesOf(reply)).toEqual(promised);

  const answered = [...asked, { role: 'assistant', content: 'ok' }];
  const answer = ['--model', model, '--messages', await write('answered.json', answered)];
  expect(namesOf(await printed('score', ...answer))).toEqual(['logprobs', 'tokens']);

  // A reward model may be narrower than the states it reads: older ones are.
  const narrow = { readout: 'mean', mean: [0], deviation: [1], heads: [[1]], heldOut: {} };
  await write('reward_model.json', { ...narrow, bias: 0, gain: 1, l2: 1 });
  const scored = await printed('score', ...answer, '--reward', data);
  expect(namesOf(scored)).toEqual(['logprobs', 'reward', 'tokens']);
  expect(scored['reward']).toEqual(expect.any(Number));
});

test('dataset freeze prints what it promises, and no more; diff and keys show print JSON', async () => {
  const { printed, write } = await newFolder();
  await printed('feedback', 'import', await write('rows.jsonl', aRanking()));
  const dataset = await printed('dataset', 'freeze');
  expect(namesOf(dataset)).toEqual(['devices', 'digest', 'id', 'rankings', 'votes']);
  const id = dataset['id'] as string;
  expect(await printed('dataset', 'diff', id, id)).toMatchObject({ onlyA: [], onlyB: [], both: 1 });
  expect(await printed('keys', 'show')).toMatchObject({ version: 1, roles: { release: {} } });
});
