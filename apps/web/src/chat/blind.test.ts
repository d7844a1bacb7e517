import { expect, test } from 'vitest';
import { Random } from '@rapport/core';
import type { Rival, Speaker } from '../model/model.svelte.ts';
import { speakByTwo } from './blind.ts';
import type { Voice } from './speak.ts';

const now: Speaker = { id: 'now', adapter: 'of-now' };
const before: Speaker = { id: 'before', adapter: null };
const voices = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ message: { id: `${i}` } }) as Voice);

/** Who spoke which alternates, in the order in which they spoke. */
async function shared(
  count: number,
  model: { rival: Rival | null; personal: string | null },
  seed = 1,
) {
  const said: [string, string[]][] = [];
  const speakAs = async ({ id }: Speaker, some: Voice[]) => {
    said.push([id, some.map(({ message }) => message.id)]);
    return [];
  };
  await speakByTwo(voices(count), model, now, speakAs, new Random(seed));
  return said;
}

const rival: Rival = (act) => act(before);

test('half of the alternates are of the release before, each spoken once', async () => {
  const said = await shared(5, { rival, personal: null });
  expect(said.map(([id, some]) => [id, some.length]).sort()).toEqual([
    ['before', 2],
    ['now', 3],
  ]);
  expect(said.flatMap(([, some]) => some).sort()).toEqual(['0', '1', '2', '3', '4']);
});

test('neither the place nor the time of a reply tells whose it is', async () => {
  const runs = await Promise.all(
    Array.from({ length: 200 }, (_, seed) => shared(2, { rival, personal: null }, seed)),
  );
  const first = runs.filter((said) => said[0]![0] === 'before').length;
  const above = runs.filter((said) => said.find(([id]) => id === 'before')![1][0] === '0').length;
  for (const count of [first, above]) {
    expect(count).toBeGreaterThan(70);
    expect(count).toBeLessThan(130);
  }
});

test('nothing is shared with nobody, beside a personal adapter, or of a single reply', async () => {
  const alone = [['now', ['0', '1']]];
  expect(await shared(2, { rival: null, personal: null })).toEqual(alone);
  expect(await shared(2, { rival, personal: 'mine' })).toEqual(alone);
  expect(await shared(1, { rival, personal: null })).toEqual([['now', ['0']]]);
});

test('where the release before cannot speak, the one in use speaks for it', async () => {
  const gone: Rival = () => Promise.reject(new Error('gone'));
  const said = await shared(4, { rival: gone, personal: null });
  expect(said.map(([id, some]) => [id, some.length])).toEqual([
    ['now', 2],
    ['now', 2],
  ]);
});
