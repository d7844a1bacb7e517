import { expect, test } from 'vitest';
import { contextWithVotes } from '../test-context.ts';
import { progressTo } from './progress.ts';
import { rapport } from './test-cli.ts';

const RECORDS = [
  { stage: 'open', step: 0, steps: 1, at: 1 },
  { stage: 'ppo', step: 1, of: 20, kl: 0.123456 },
  { stage: 'ppo', step: 2, of: 20, kl: 0.2 },
];

function shown(stream: { isTTY: boolean; columns?: number }): string {
  const written: string[] = [];
  const write = (text: string) => written.push(text);
  const progress = progressTo({ ...stream, write } as unknown as NodeJS.WriteStream);
  for (const record of RECORDS) progress.show(record);
  progress.end();
  return written.join('');
}

test('on a terminal a stage has one line, within its width, and the answer begins a new one', () => {
  expect(shown({ isTTY: true, columns: 14 })).toBe(
    'open  0/1\nppo  1/20  kl\r\x1b[Kppo  2/20  kl\n',
  );
});

test('elsewhere every step has its line', () => {
  expect(shown({ isTTY: false })).toBe('open  0/1\nppo  1/20  kl 0.1235\nppo  2/20  kl 0.2\n');
});

test('a resumed run shows its own progress, not that of the attempt before', async () => {
  const { dataFolder, runs } = await contextWithVotes();
  const { id } = await runs.start({ config: { steps: 4, throwAt: 2 } });
  expect(await runs.wait(id)).toMatchObject({ status: 'failed' });
  // The command trains for real, and finds that the model is none.
  const { code, said } = await rapport(dataFolder, 'runs', 'resume', id);
  expect(code).toBe(1);
  expect(said).toMatch(/^open {2}0\/1$/m);
  expect(said).not.toContain('pretend');
});
