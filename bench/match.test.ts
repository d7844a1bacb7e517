import { expect, test } from 'vitest';
import { Match, type Contestant } from './match.ts';

const engine = (label: string, answers: () => number[], missing?: string): Contestant => ({
  label,
  missing,
  ask: async () => ({ ms: answers() }),
  quality: () => Promise.reject(new Error('not asked')),
});

test('an engine that fails is out with its reason, and the others play on', async () => {
  let asked = 0;
  const failing = engine('b', () => {
    if (++asked === 2) throw new Error('out of memory');
    return [1];
  });
  let stopped = 0;
  failing.stop = async () => void stopped++;
  const match = new Match('s', [engine('a', () => [2]), failing, engine('c', () => [3], 'absent')]);
  const all = await match.inTurn('w', 3, () => [{ kind: 'read' }]);
  expect(all.get('a')).toEqual([2, 2, 2]);
  expect(asked).toBe(2);
  expect(stopped).toBe(1);
  expect(match.playing.map(({ label }) => label)).toEqual(['a']);
  expect(match.rows.map(({ engine, note }) => [engine, note])).toEqual([
    ['c', 'absent'],
    ['b', 'out of memory'],
  ]);
});

test('of the questions of a round only the last one counts', async () => {
  const given = [10, 1, 20, 2];
  const match = new Match('s', [engine('a', () => [given.shift()!])]);
  const all = await match.inTurn('w', 2, () => [{ kind: 'read' }, { kind: 'speak', goOn: true }]);
  expect(all.get('a')).toEqual([1, 2]);
});

test('no figures make no row', () => {
  const match = new Match('s', []);
  match.add('a', 'w', ['time', 'ms'], []);
  expect(match.rows).toEqual([]);
});
