// A reward model beside its adapter: numbers in JSON, since its heads are a few kilobytes.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { RapportError } from '@rapport/core';
import type { RewardModel } from '@rapport/rlhf';

const FILE = 'reward_model.json';

const number = v.pipe(v.number(), v.finite());
const numbers = v.pipe(
  v.array(v.number()),
  v.nonEmpty(),
  v.transform((list) => Float32Array.from(list)),
  v.check((list) => list.every(Number.isFinite), 'Not all of its numbers are finite'),
);

/** As wide as the states that were read; older files are narrower than those of a model are now. */
const Reward = v.pipe(
  v.object({
    readout: v.picklist(['mean', 'last']),
    mean: numbers,
    deviation: v.pipe(
      numbers,
      v.check((list) => list.every((x) => x > 0), 'Not all of its numbers are above 0'),
    ),
    heads: v.pipe(v.array(numbers), v.nonEmpty()),
    bias: number,
    gain: number,
    l2: number,
    // For people: nothing is computed from it.
    heldOut: v.custom<RewardModel['heldOut']>(
      (value) => typeof value === 'object' && value !== null,
      'It is not an object',
    ),
  }),
  v.check(
    ({ mean, deviation, heads }) =>
      [deviation, ...heads].every(({ length }) => length === mean.length),
    'mean, deviation and heads differ in length',
  ),
);

/** Writes the reward model into the folder of an adapter. */
export async function writeReward(folder: string, reward: RewardModel): Promise<void> {
  const text = JSON.stringify(reward, (_key, value: unknown) =>
    value instanceof Float32Array ? Array.from(value) : value,
  );
  await writeFile(join(folder, FILE), text);
}

/** Reads what a training run left beside its adapter. Throws `reward/unreadable`. */
export async function readReward(folder: string): Promise<RewardModel> {
  const file = join(folder, FILE);
  let json: unknown;
  try {
    json = JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    throw unreadable(file, (cause as Error).message, cause);
  }
  const read = v.safeParse(Reward, json, { abortEarly: true });
  if (read.success) return read.output;
  const [issue] = read.issues;
  const at = v.getDotPath(issue);
  throw unreadable(file, at === null ? issue.message : `${at}: ${issue.message}`);
}

const unreadable = (file: string, why: string, cause?: unknown) =>
  new RapportError(
    'reward/unreadable',
    `${file} is no reward model that can be read: ${why}.`,
    'Give the folder of an adapter that rapport train made.',
    { cause },
  );
