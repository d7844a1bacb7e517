import { beforeEach, expect, test } from 'vitest';
import { openDatabase, remember, type Database } from '../db/database.ts';
import { beginOpening, forgetCrash } from './opening.ts';

let db: Database;

beforeEach(() => {
  localStorage.removeItem('rapport-left');
  db = openDatabase(`opening-${Math.random()}`);
});

test('a first start is none after a crash, and neither is one after a good one', async () => {
  for (let i = 0; i < 2; i++) {
    const { afterCrash, end } = await beginOpening(db);
    expect(afterCrash).toBe(false);
    await end();
  }
});

test('a start that died while opening counts until it is forgotten', async () => {
  await remember(db, 'opening', 'open');
  for (let i = 0; i < 2; i++) {
    const { afterCrash, end } = await beginOpening(db);
    expect(afterCrash).toBe(true);
    await end();
  }
  await forgetCrash(db);
  const { afterCrash, end } = await beginOpening(db);
  expect(afterCrash).toBe(false);
  await end();
});

test('a tab that is closed while opening did not crash, and the next one that dies did', async () => {
  await beginOpening(db);
  window.dispatchEvent(new Event('pagehide'));
  await navigator.locks.request('rapport-opening', () => undefined);
  const next = await beginOpening(db);
  expect(next.afterCrash).toBe(false);
  await next.end();
  await remember(db, 'opening', 'open');
  const later = await beginOpening(db);
  expect(later.afterCrash).toBe(true);
  await later.end();
});

test('a tab that opens beside another does not take it for a crash', async () => {
  const first = await beginOpening(db);
  const second = await beginOpening(db);
  expect(second.afterCrash).toBe(false);
  await second.end();
  await first.end();
  const third = await beginOpening(db);
  expect(third.afterCrash).toBe(false);
  await third.end();
});
