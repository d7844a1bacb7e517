import { expect, test } from 'vitest';
import { plotsOf } from './plots.ts';

test('each metric of each stage has a plot of its own', () => {
  const plots = plotsOf([
    { stage: 'reward', step: 1, of: 2, loss: 0.7 },
    { stage: 'reward', step: 2, of: 2, loss: 0.5 },
    { stage: 'ppo', step: 1, loss: 3, kl: 0.1 },
    { stage: 'ppo', step: 2, loss: 2, kl: 0.2 },
  ]);
  expect(plots.map(({ title }) => title)).toEqual(['reward · loss', 'ppo · loss', 'ppo · kl']);
  expect(plots[2]!.points).toEqual([
    { x: 1, y: 0.1 },
    { x: 2, y: 0.2 },
  ]);
});

test('words and single values are not plotted', () => {
  expect(plotsOf([{ stage: 'gate', step: 1, passed: true, name: 'kl', value: 2 }])).toEqual([]);
});
