import { describe, expect, test } from 'vitest';
import { PromptLookup } from './prompt-lookup.ts';

/** One that has seen plain steps of 10 ms. */
function timed(): PromptLookup {
  const lookup = new PromptLookup();
  for (let i = 0; i < 3; i++) lookup.observe(0, 0, 10);
  return lookup;
}

describe('a guess', () => {
  test('is what followed the same two tokens before', () => {
    expect(timed().propose([1, 2, 3, 4, 5, 6, 9, 2, 3], 100)).toEqual([4, 5, 6]);
    expect(timed().propose([1, 2, 3, 4, 5, 6, 9, 3], 100)).toEqual([]);
  });

  test('follows the longest match, and of equal ones the latest', () => {
    const longest = [7, 1, 2, 3, 4, 4, 4, 8, 1, 2, 3, 5, 5, 5, 7, 1, 2, 3];
    expect(timed().propose(longest, 100)).toEqual([4, 4, 4]);
    const latest = [1, 2, 3, 4, 4, 4, 1, 2, 3, 5, 5, 5, 1, 2, 3];
    expect(timed().propose(latest, 100)).toEqual([5, 5, 5]);
  });

  test('goes on repeating what repeats', () => {
    expect(timed().propose([1, 2, 1, 2, 1, 2, 1], 100)).toEqual([2, 1, 2]);
  });

  test('leaves room for the reply', () => {
    expect(timed().propose([5, 5, 5, 5, 5], 3)).toHaveLength(3);
    expect(timed().propose([5, 5, 5, 5, 5], 2)).toEqual([]);
  });
});

describe('guessing', () => {
  const repeating = [5, 5, 5, 5, 5];

  test('waits until three plain steps have been timed', () => {
    const lookup = new PromptLookup();
    for (let i = 0; i < 3; i++) {
      expect(lookup.propose(repeating, 100)).toEqual([]);
      lookup.observe(0, 0, 10);
    }
    expect(lookup.propose(repeating, 100)).toHaveLength(3);
  });

  test.each([0, 0.1, 0.3])(
    'costs at most 5 % of 64 tokens when %d of guesses are right',
    (rate) => {
      const [plainMs, guessMs] = [10, 15];
      const lookup = new PromptLookup();
      let [tokens, ms, tries] = [0, 0, 0];
      while (tokens < 64) {
        const guesses = lookup.propose(repeating, 100).length;
        const takes = guesses === 0 ? plainMs : guessMs;
        const right = guesses > 0 && (tries++ * rate) % 1 < rate && rate > 0 ? 1 : 0;
        lookup.observe(guesses, right, takes);
        tokens += 1 + right;
        ms += takes;
      }
      expect(tries).toBeGreaterThan(0);
      expect(ms).toBeLessThanOrEqual((tokens * plainMs) / 0.95);
    },
  );

  test('is not taken for cheap where now and then a plain step is slow', () => {
    const [plainMs, slowMs, guessMs] = [10, 60, 18];
    const lookup = new PromptLookup();
    let [tries, plain] = [0, 0];
    for (let reply = 0; reply < 4; reply++) {
      lookup.begin();
      for (let tokens = 0; tokens < 64; tokens++) {
        const guesses = lookup.propose(repeating, 100).length;
        const isSlow = tokens % 32 === 0;
        lookup.observe(guesses, 0, guesses > 0 ? guessMs : isSlow ? slowMs : plainMs);
        if (guesses > 0) tries++;
        else plain++;
      }
    }
    // Each one costs 8 ms of 10 that a token takes.
    expect(tries).toBeGreaterThan(0);
    expect(tries * (guessMs - plainMs)).toBeLessThanOrEqual(0.05 * (plain + tries) * plainMs);
  });

  test('does not spend on a reply what another has saved', () => {
    const lookup = timed();
    for (let i = 0; i < 20; i++) lookup.observe(3, 3, 15);
    lookup.begin();
    lookup.observe(3, 0, 16);
    expect(lookup.propose(repeating, 100)).toEqual([]);
  });

  test('goes on where it pays', () => {
    const lookup = timed();
    let ms = 0;
    for (let tokens = 0; tokens < 64;) {
      const guesses = lookup.propose(repeating, 100).length;
      const takes = guesses === 0 ? 10 : 15;
      lookup.observe(guesses, guesses, takes);
      tokens += 1 + guesses;
      ms += takes;
    }
    expect(ms).toBeLessThan(64 * 10 * 0.45);
  });
});
