import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { RewardModel } from '@rapport/rlhf';
import { temporaryFolder } from '../store/test-store.ts';
import { readReward, writeReward } from './reward-file.ts';

const right = { accuracy: 0.75, low: 0.5, high: 1, pairs: 4 };
const heldOut: RewardModel['heldOut'] = {
  ...right,
  logLoss: 0.5,
  kendallTau: 0.4,
  calibrationError: 0.1,
  lengthBaseline: 0.5,
  lengthMatched: right,
  annotators: [],
};
const plain = {
  readout: 'last' as const,
  mean: [0, 1.5],
  deviation: [1, 0.1],
  heads: [
    [0.25, -2],
    [0.3, 3],
  ],
  bias: -0.5,
  gain: 2,
  l2: 0.3,
  heldOut,
};

test('a reward model survives the disk', async () => {
  const folder = await temporaryFolder();
  const reward: RewardModel = {
    ...plain,
    mean: Float32Array.from(plain.mean),
    deviation: Float32Array.from(plain.deviation),
    heads: plain.heads.map((head) => Float32Array.from(head)),
  };
  await writeReward(folder, reward);
  expect(await readReward(folder)).toEqual(reward);
});

/** The file with some of its values changed; undefined takes one out. */
const text = (change: Record<string, unknown> = {}) => JSON.stringify({ ...plain, ...change });

test.each([
  ['Unexpected token', 'no JSON'],
  ['Invalid type', '5'],
  ['readout: ', text({ readout: 'first' })],
  ['mean: ', text({ mean: undefined })],
  ['mean: ', text({ mean: [] })],
  ['mean.1: ', text({ mean: [0, null] })],
  ['deviation: Not all of its numbers are finite', text({ deviation: [1, 1e39] })],
  ['heads: ', text({ heads: [] })],
  ['heads.1.0: ', text({ heads: [[1, 2], ['one']] })],
  ['bias: ', text({ bias: undefined })],
  ['gain: ', text().replace('"gain":2', '"gain":1e999')],
  ['heldOut: ', text({ heldOut: null })],
  ['mean, deviation and heads differ in length', text({ deviation: [1] })],
  ['mean, deviation and heads differ in length', text({ heads: [[1, 2], [1]] })],
])('a damaged file is refused: %s', async (why, damaged) => {
  const folder = await temporaryFolder();
  const file = join(folder, 'reward_model.json');
  await writeFile(file, damaged);
  await expect(readReward(folder)).rejects.toMatchObject({
    code: 'reward/unreadable',
    message: expect.stringContaining(`${file} is no reward model that can be read: ${why}`),
    remedy: expect.stringContaining('rapport train'),
  });
});

test('a folder without one is refused the same way', async () => {
  await expect(readReward(await temporaryFolder())).rejects.toMatchObject({
    code: 'reward/unreadable',
    message: expect.stringContaining('ENOENT'),
  });
});
