// Alternates by two releases, to be ranked without knowing which is whose: what people say of them rates releases.
import { Random, type SpokenReply } from '@rapport/core';
import type { Model, Speaker } from '../model/model.svelte.ts';
import type { Voice } from './speak.ts';

/**
 * Lets the release in use speak half of the alternates and the one before it the others. Whose turn comes first, and which
 * alternates are whose, is drawn: neither place nor time tells. One reply alone, or one with a personal adapter, is not
 * shared; where the release before cannot speak, that in use speaks for it.
 */
export async function speakByTwo(
  voices: readonly Voice[],
  { rival, personal }: Pick<Model, 'rival' | 'personal'>,
  speaker: Speaker,
  speakAs: (speaker: Speaker, voices: Voice[]) => Promise<SpokenReply[]>,
  random = new Random(crypto.getRandomValues(new Uint32Array(1))[0]!),
): Promise<SpokenReply[]> {
  if (!rival || personal || voices.length < 2) return speakAs(speaker, [...voices]);
  const shuffled = random.shuffle(voices);
  const half = shuffled.length >> 1;
  const [theirs, ours] = [shuffled.slice(0, half), shuffled.slice(half)];
  const turns = [
    () => speakAs(speaker, ours),
    () => rival((before) => speakAs(before, theirs)).catch(() => speakAs(speaker, theirs)),
  ];
  const said: SpokenReply[] = [];
  for (const turn of random.shuffle(turns)) said.push(...(await turn()));
  return said;
}
