import { expect, test } from 'vitest';
import { modelFiles } from '../../tests/support/model.ts';
import { placeOf } from './models.ts';
import { Voice } from './speaking.ts';

test('a conversation longer than the context is not scored', async () => {
  const voice = await Voice.open(await placeOf(await modelFiles()));
  const conversation = [
    { role: 'user' as const, content: 'word '.repeat(8200) },
    { role: 'assistant' as const, content: 'Yes.' },
  ];
  await expect(voice.score([conversation])).rejects.toMatchObject({ code: 'generation/too-long' });
});
