// What scripts rely on: the names in the documents that commands print with --json.
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
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

test('simulate prints what it promises, and no more', async () => {
  const { data, printed } = await newFolder();
  const model = await tinyFolder();
  onTestFinished(() => rm(model, { recursive: true }));
  const [prompts, annotator, config, out] = ['p.jsonl', 'a.mjs', 'c.json', 'out'].map((name) =>
    join(data, name),
  ) as [string, string, string, string];
  const lines = [...'abcdef'].map((word) => JSON.stringify({ id: word, instruction: word }));
  await writeFile(prompts, lines.join('\n'));
  await writeFile(annotator, "export const score = (prompt, reply) => reply.split('a').length;\n");
  const quick = { iterations: 1, maxTokens: 8, promptsPerIteration: 2, lengthStop: 0 };
  await writeFile(config, JSON.stringify({ dpo: { minSteps: 2 }, ppo: quick }));
  const person = ['--annotator', annotator, '--prompts', prompts, '--model', model];
  const sizes = ['--votes', '16', '--max-tokens', '8', '--config', config, '--out', out];
  const report = await printed('simulate', ...person, '--method', 'ppo', ...sizes);
  const numbers = [
    ...['winRate', 'low', 'high', 'kl', 'nllChange', 'rewardModelAccuracy', 'replyLength'],
    ...['seconds', 'tokensTrained', 'trainSeconds', 'usablePairs', 'votes', 'baseReplyLength'],
    ...['ended', 'baseEnded', 'empty', 'baseEmpty', 'repeated', 'baseRepeated'],
  ];
  for (const name of numbers) expect(report[name], name).toEqual(expect.any(Number));
  const rest = ['method', 'lengthControlled', 'warmStart'];
  expect(namesOf(report)).toEqual([...numbers, ...rest].sort());
  expect(report['votes']).toBe(16);
  const written = JSON.parse(await readFile(join(out, 'report.json'), 'utf8')) as object;
  expect(written).toMatchObject(report);
  expect(await readdir(join(out, 'adapter'))).toContain('adapter_model.safetensors');
});
