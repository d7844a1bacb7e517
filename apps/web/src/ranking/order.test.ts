import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  flat,
  fromRanks,
  inOrder,
  isTied,
  moveDown,
  moveTo,
  moveUp,
  ranksOf,
  toggleTie,
  type Tiers,
} from './order.ts';

const ids = ['a', 'b', 'c', 'd'];
const show = (tiers: Tiers) => tiers.map((tier) => tier.join('=')).join('>');

test('moving up and down passes one place at a time', () => {
  const tiers = inOrder(ids);
  expect(show(moveUp(tiers, 'd'))).toBe('a>b>d>c');
  expect(show(moveUp(tiers, 'a'))).toBe('a>b>c>d');
  expect(show(moveDown(tiers, 'a'))).toBe('b>a>c>d');
  expect(show(moveDown(tiers, 'd'))).toBe('a>b>c>d');
});

test('"same as above" ties a reply and unties it again', () => {
  const tied = toggleTie(inOrder(ids), 'c');
  expect(show(tied)).toBe('a>b=c>d');
  expect(isTied(tied, 'c')).toBe(true);
  expect(ranksOf(tied, ids)).toEqual([1, 2, 2, 4]);
  expect(show(toggleTie(tied, 'c'))).toBe('a>b>c>d');
  expect(show(toggleTie(inOrder(ids), 'a'))).toBe('a>b>c>d');
});

test('a tied reply that moves leaves its equals', () => {
  const tied = toggleTie(inOrder(ids), 'c');
  expect(show(moveUp(tied, 'c'))).toBe('a>c>b>d');
  expect(show(moveDown(tied, 'b'))).toBe('a>c>b>d');
});

test('dragging puts a reply where it was dropped', () => {
  expect(show(moveTo(inOrder(ids), 'd', 0))).toBe('d>a>b>c');
  expect(show(moveTo(inOrder(ids), 'a', 3))).toBe('b>c>d>a');
});

test('ranks survive being stored, whatever was done', () => {
  const act = fc.tuple(fc.constantFrom(moveUp, moveDown, toggleTie), fc.constantFrom(...ids));
  fc.assert(
    fc.property(fc.array(act, { maxLength: 30 }), (acts) => {
      const tiers = acts.reduce<Tiers>((order, [move, id]) => move(order, id), inOrder(ids));
      expect([...flat(tiers)].sort()).toEqual(ids);
      const ranks = ranksOf(tiers, ids);
      expect(ranksOf(fromRanks(ids, ranks), ids)).toEqual(ranks);
    }),
  );
});
