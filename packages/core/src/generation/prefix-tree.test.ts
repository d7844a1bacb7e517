import { describe, expect, test, vi } from 'vitest';
import { Random } from '../random.ts';
import { PrefixTree, type Place, type Rows } from './prefix-tree.ts';

/** Rows that say what was read: of each token, the text up to it. */
class Said implements Rows<Said> {
  texts: readonly string[];
  constructor(texts: readonly string[]) {
    this.texts = texts;
  }
  split(at: number): [Said, Said] {
    const parts: [Said, Said] = [new Said(this.texts.slice(0, at)), new Said(this.texts.slice(at))];
    this.giveUp();
    return parts;
  }
  giveUp(): void {
    this.texts = [];
  }
}

const textsOf = (tokens: readonly number[]): string[] =>
  tokens.map((_, i) => tokens.slice(0, i + 1).join(' '));

class Paper implements Place<Said> {
  tokens: number[] = [];
  texts: string[] = [];
  take(from: number, to: number): Said {
    return new Said(this.texts.slice(from, to));
  }
  crop(length: number): void {
    this.tokens.length = this.texts.length = length;
  }
  put(tokens: readonly number[], rows: Said): void {
    this.tokens.push(...tokens);
    this.texts.push(...rows.texts);
  }
  read(...tokens: number[]): void {
    this.tokens.push(...tokens);
    this.texts = textsOf(this.tokens);
  }
}

const letters = (text: string): number[] => text.split('').map((letter) => letter.charCodeAt(0));

/** A tree of letters: `turn` reads a text, and gives how much of it had not been read before. */
function treeWithin(limit: number) {
  const place = new Paper();
  const tree = new PrefixTree<Said>(place, limit);
  const turn = (text: string): string => {
    tree.select(letters(text));
    const unread = text.slice(place.tokens.length);
    place.read(...letters(unread));
    return unread;
  };
  const alternate = (text: string): void =>
    tree.add(letters(text), (from, to) => new Said(textsOf(letters(text)).slice(from, to)));
  return { tree, turn, alternate };
}

describe('what was read', () => {
  test('need not be read again when a branch is left and come back to', () => {
    const { turn } = treeWithin(100);
    expect(turn('system, one and more')).toBe('system, one and more');
    expect(turn('system, two')).toBe('two');
    expect(turn('system, one and more of it')).toBe(' of it');
    expect(turn('system, two again')).toBe(' again');
    expect(turn('another')).toBe('another');
    expect(turn('system, one and more of it')).toBe('');
  });

  test('lies aside once, and not while it is held', () => {
    const { tree, turn } = treeWithin(100);
    turn('0123456789abc');
    expect(tree.size).toBe(0);
    turn('0123456789xy');
    expect(tree.size).toBe('abc'.length);
    turn('0123z');
    expect(tree.size).toBe('456789abcxy'.length);
    turn('0123456789abc');
    expect(tree.size).toBe('xyz'.length);
  });

  test('a second time, because it was said again, is kept once', () => {
    const { tree, turn } = treeWithin(100);
    turn('01234abc');
    turn('01234');
    expect(tree.size).toBe(3);
    expect(turn('01234ab')).toBe('');
    turn('01234x');
    expect(tree.size).toBe(3);
  });

  test('beside the held branch is kept as a branch of it', () => {
    const { tree, turn, alternate } = treeWithin(100);
    turn('prompt: ');
    for (const reply of ['yes', 'yet', 'no', 'yes']) alternate(`prompt: ${reply}`);
    expect(tree.size).toBe('yestno'.length);
    expect(turn('prompt: yet more')).toBe(' more');
    expect(turn('prompt: no')).toBe('');
  });
});

describe('without room', () => {
  test('the branch used least recently is given up first, and what others need of it is not', () => {
    const { tree, turn } = treeWithin(9);
    for (const letter of 'abcade') turn(`base: ${letter.repeat(3)}`);
    expect(tree.size).toBe(9);
    // b had to go for d, and c goes for the new b.
    expect(turn('base: aaa')).toBe('');
    expect(turn('base: ddd')).toBe('');
    expect(turn('base: eee')).toBe('');
    expect(turn('base: bbb')).toBe('bbb');
    expect(turn('base: ccc')).toBe('ccc');
  });

  test('what is about to be read is not given up for what leaves', () => {
    const { tree, turn } = treeWithin(4);
    turn('aaaa');
    turn('bbbbbbbb');
    expect(tree.size).toBe(4);
    expect(turn('aaaa')).toBe('');
    expect(tree.size).toBe(4);
    expect(turn('bbbbbbbb')).toBe('bbbb');
  });

  test('of a long branch its beginning is kept', () => {
    const { tree, turn } = treeWithin(4);
    turn('abcdefgh');
    turn('xyz');
    expect(tree.size).toBe(4);
    expect(turn('abcdefgh')).toBe('efgh');
  });

  test('nothing lies aside, and what is held can still be gone on with', () => {
    const { tree, turn } = treeWithin(0);
    turn('abc');
    expect(turn('abcdef')).toBe('def');
    turn('abx');
    expect(tree.size).toBe(0);
    expect(turn('abcdef')).toBe('cdef');
  });

  test('because there is less now, branches are given up at once', () => {
    const { tree, turn } = treeWithin(100);
    for (const text of ['one', 'two', 'six', 'ten']) turn(text);
    expect(tree.size).toBe('onewosix'.length);
    tree.limit = 6;
    expect(tree.size).toBe('owosix'.length);
    tree.limit = 0;
    expect(tree.size).toBe(0);
  });
});

test('a place that fails leaves nothing aside, and the tree as it has to be', () => {
  const place = new Paper();
  const tree = new PrefixTree<Said>(place, 100);
  for (const text of ['system, one', 'system, two', 'system, one']) {
    tree.select(letters(text));
    place.read(...letters(text).slice(place.tokens.length));
  }
  const put = vi.spyOn(place, 'put').mockImplementationOnce(() => {
    throw new Error('no memory');
  });
  expect(() => tree.select(letters('system, two'))).toThrow('no memory');
  expect(put).toHaveBeenCalledOnce();
  expect(tree.size).toBe(0);
  tree.select(letters('system, two'));
  expect(place.texts).toEqual(textsOf(letters('system, ')));
});

describe('random turns, branches and alternates', () => {
  const DRAWS = 400;

  /** Goes on with an earlier sequence or a piece of it; the few tokens make branches meet again. */
  function draw(random: Random, known: readonly number[][]): number[] {
    const from = known[random.integer(known.length)] ?? [];
    const kept = from.slice(0, random.integer(from.length + 1));
    const more = Array.from({ length: 1 + random.integer(5) }, () => random.integer(3));
    return [...kept, ...more];
  }

  test.each([
    [Infinity, 1],
    [40, 2],
    [15, 3],
    [3, 4],
    [0, 5],
  ])('with room for %s leave right rows and never too many', (limit, seed) => {
    const random = new Random(seed);
    const place = new Paper();
    const tree = new PrefixTree<Said>(place, limit);
    // The slow way: all sequences that were ever read, side by side.
    const known: number[][] = [];
    let reused = 0;
    for (let i = 0; i < DRAWS; i++) {
      const tokens = draw(random, known);
      const before = [...place.tokens];
      tree.select(tokens);
      expect(tree.size).toBeLessThanOrEqual(limit);
      expect(place.tokens).toEqual(tokens.slice(0, place.tokens.length));
      expect(place.texts).toEqual(textsOf(place.tokens));
      const longest = Math.max(0, ...known.map((one) => sameStart(one, tokens)));
      if (limit === Infinity) expect(place.tokens).toHaveLength(longest);
      expect(place.tokens.length).toBeLessThanOrEqual(longest);
      expect(place.tokens.length).toBeGreaterThanOrEqual(sameStart(before, tokens));
      reused += place.tokens.length;
      place.read(...tokens.slice(place.tokens.length));
      known.push(tokens);
      if (random.uniform() < 0.3) {
        const alternate = [...tokens, random.integer(3), random.integer(3)];
        tree.add(alternate, (from, to) => new Said(textsOf(alternate).slice(from, to)));
        known.push(alternate);
      }
      expect(tree.size).toBeLessThanOrEqual(limit);
    }
    expect(reused).toBeGreaterThan(0);
  });
});

function sameStart(a: readonly number[], b: readonly number[]): number {
  let same = 0;
  while (same < Math.min(a.length, b.length) && a[same] === b[same]) same++;
  return same;
}
