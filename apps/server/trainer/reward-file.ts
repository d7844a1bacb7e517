// A reward model beside its adapter: numbers in JSON, since its heads are a few kilobytes.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RewardModel } from '@rapport/rlhf';

const FILE = 'reward_model.json';

/** Writes the reward model into the folder of an adapter. */
export async function writeReward(folder: string, reward: RewardModel): Promise<void> {
  const text = JSON.stringify(reward, (_key, value: unknown) =>
    value instanceof Float32Array ? Array.from(value) : value,
  );
  await writeFile(join(folder, FILE), text);
}

/** Reads it back. Throws when it is not there, or is no reward model. */
export async function readReward(folder: string): Promise<RewardModel> {
  const raw = JSON.parse(await readFile(join(folder, FILE), 'utf8')) as RewardModel;
  const mean = Float32Array.from(raw.mean);
  const deviation = Float32Array.from(raw.deviation);
  const heads = raw.heads.map((head) => Float32Array.from(head));
  if (mean.length === 0 || [deviation, ...heads].some(({ length }) => length !== mean.length))
    throw new Error('its arrays do not fit together');
  return { ...raw, mean, deviation, heads };
}
