import { expect, test } from 'vitest';
import { childrenOf, newestLeaf, pathTo, siblingsOf } from './tree.ts';

//  1 ─ 2 ─ 4
//    └ 3 ─ 5 ─ 6
const rows = [
  { id: '1', parentId: null },
  { id: '2', parentId: '1' },
  { id: '3', parentId: '1' },
  { id: '4', parentId: '2' },
  { id: '5', parentId: '3' },
  { id: '6', parentId: '5' },
];
const tree = new Map(rows.map((row) => [row.id, row]));
const ids = (messages: { id: string }[]) => messages.map((message) => message.id).join('');

test('the head chooses the branch on screen', () => {
  expect(ids(pathTo(tree, '4'))).toBe('124');
  expect(ids(pathTo(tree, '6'))).toBe('1356');
  expect(pathTo(tree, null)).toEqual([]);
});

test('siblings stand in the same place, oldest first', () => {
  expect(ids(siblingsOf(tree, tree.get('3')!))).toBe('23');
  expect(ids(childrenOf(tree, null))).toBe('1');
});

test('switching to a sibling lands at the end of its newest branch', () => {
  expect(newestLeaf(tree, '3')).toBe('6');
  expect(newestLeaf(tree, '4')).toBe('4');
});

test('a broken row ends the walk instead of hanging it', () => {
  const loop = new Map([
    ['a', { id: 'a', parentId: 'b' }],
    ['b', { id: 'b', parentId: 'a' }],
    ['c', { id: 'c', parentId: 'gone' }],
  ]);
  expect(ids(pathTo(loop, 'a'))).toBe('ba');
  expect(ids(pathTo(loop, 'c'))).toBe('c');
});
