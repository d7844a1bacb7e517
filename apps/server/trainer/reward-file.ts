// A reward model beside its adapter: numbers in JSON, since a head is a few kilobytes.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RewardModel } from '@rapport/rlhf';

const FILE = 'reward_model.json';
const ARRAYS = ['mean', 'deviation', 'weights'] as const;

/** Writes the reward model into the folder of an adapter. */
export async function writeReward(folder: string, reward: RewardModel): Promise<void> {
  const text = JSON.stringify(reward, (_key, value: unknown) =>
    value instanceof Float32Array ? Array.from(value) : value,
  );
  await writeFile(join(folder, FILE), text);
}

/** Reads it back. Throws when it is not there, or is no reward model. */
export async function readReward(folder: string): Promise<RewardModel> {
  const raw = JSON.parse(await readFile(join(folder, FILE), 'utf8')) as Record<string, unknown>;
  const arrays = ARRAYS.map((name) => [name, Float32Array.from(raw[name] as number[])] as const);
  if (arrays.some(([, { length }]) => length === 0 || length !== arrays[0]![1].length))
    throw new Error('its arrays do not fit together');
  return { ...raw, ...Object.fromEntries(arrays) } as unknown as RewardModel;
}
