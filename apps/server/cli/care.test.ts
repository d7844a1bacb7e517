import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { toHex } from '@rapport/core';
import { newestRoot } from '../releases/keys.ts';
import { freezeDataset } from '../store/datasets.ts';
import { enrol } from '../store/devices.ts';
import { takeEvents } from '../store/events.ts';
import { aRanking, aVote } from '../store/test-store.ts';
import { appOf, contextWithVotes } from '../test-context.ts';
import { rapport } from './test-cli.ts';

const sent = (token: string, events: unknown[]) => ({
  method: 'POST',
  headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
  body: JSON.stringify({ proto: 1, events }),
});

test('a revoked device is refused at once; what it sent stays until it is erased', async () => {
  const context = await contextWithVotes();
  const { db, dataFolder } = context;
  const { app } = appOf(context);
  const { device, token } = await enrol(db);
  const vote = aVote();
  expect((await app.request('/v1/events', sent(token, [vote]))).status).toBe(200);
  expect(await rapport(dataFolder, 'device', 'revoke', device, '--json')).toMatchObject({
    code: 0,
    json: { device, revoked: true },
  });
  expect((await app.request('/v1/events', sent(token, [aVote()]))).status).toBe(403);
  const { json } = await rapport(dataFolder, 'device', 'list', '--json');
  expect(json).toContainEqual(expect.objectContaining({ id: device, revoked: true, events: 1 }));
});

test('an erased device leaves a receipt, a flag on what had learned from it, and the others alone', async () => {
  const context = await contextWithVotes();
  const { db, dataFolder, device, runs } = context;
  const other = await enrol(db);
  await takeEvents(db, other.device, [aRanking([2, 1])]);
  const dataset = await freezeDataset(db);
  const { id } = await runs.start({ dataset: dataset.id, config: { steps: 1 }, publish: 'no' });
  const { release } = await runs.wait(id);

  const erased = await rapport(dataFolder, 'erase', '--device', device, '--json');
  expect(erased).toMatchObject({
    code: 0,
    json: { device, events: 2, datasets: [dataset.id], releases: [release], cleanRelease: null },
  });
  expect((await rapport(dataFolder, 'status', '--json')).json).toMatchObject({ rankings: 1 });
  expect((await rapport(dataFolder, 'dataset', 'list', '--json')).json).toMatchObject([
    { id: dataset.id, flagged: true },
  ]);
  expect((await rapport(dataFolder, 'release', 'list', '--json')).json).toMatchObject([
    { id: release, flagged: true },
  ]);
  const rows = (await rapport(dataFolder, 'feedback', 'export', '--json')).json;
  expect(rows).toMatchObject([{ device: other.device }]);
  // A second time there is nothing left to erase, and that is said too.
  expect((await rapport(dataFolder, 'erase', '--device', device, '--json')).json).toMatchObject({
    events: 0,
    datasets: [],
  });
});

test('a device that does not exist is exit code 1, with the remedy on the second line', async () => {
  const { dataFolder } = await contextWithVotes();
  for (const words of [
    ['device', 'revoke', 'nobody'],
    ['erase', '--device', 'nobody'],
  ]) {
    const { code, said } = await rapport(dataFolder, ...words);
    expect([code, said.split('\n').slice(0, 2)]).toEqual([
      1,
      ['There is no device nobody.', expect.stringContaining('rapport device list')],
    ]);
  }
});

test('halt takes the candidate from everybody, and a second halt changes nothing more', async () => {
  const { dataFolder, runs } = await contextWithVotes();
  const { id } = await runs.start({ config: { steps: 1 }, publish: 'candidate' });
  const { release } = await runs.wait(id);
  const halted = await rapport(dataFolder, 'release', 'halt', '--json');
  expect(halted.json).toMatchObject({ stable: 'base', blocked: [release], freeze: true });
  expect(halted.json).not.toHaveProperty('candidate');
  const again = await rapport(dataFolder, 'release', 'halt', '--json');
  expect(again.json).toMatchObject({ stable: 'base', blocked: [release], freeze: true });
  expect((await rapport(dataFolder, 'release', 'list', '--json')).json).toMatchObject([
    { id: release, state: 'blocked' },
  ]);
  // Who publishes it again means it.
  const back = await rapport(dataFolder, 'release', 'publish', release!, '--json');
  expect(back.json).toMatchObject({ candidate: { release, percent: 1 }, blocked: [] });
});

test('doctor and status warn while keys can still be rotated, and when they are of another store', async () => {
  const { db, dataFolder } = await contextWithVotes();
  const keys = async () => {
    const { json } = await rapport(dataFolder, 'doctor', '--json');
    return (json as { checks: { name: string }[] }).checks.find(({ name }) => name === 'keys');
  };
  expect(await keys()).toMatchObject({ ok: true });
  expect((await rapport(dataFolder, 'status')).said).toBe('');

  const { expires } = (await newestRoot(db))!.signed;
  const clock = vi.spyOn(Date, 'now').mockReturnValue(expires - 59 * 86_400_000);
  onTestFinished(() => clock.mockRestore());
  const detail = expect.stringContaining('rapport keys rotate');
  expect(await keys()).toMatchObject({ ok: false, detail });
  expect((await rapport(dataFolder, 'status')).said).toContain('rapport keys rotate');
  expect((await rapport(dataFolder, 'keys', 'rotate')).code).toBe(0);
  expect(await keys()).toMatchObject({ ok: true });

  const strange = toHex(crypto.getRandomValues(new Uint8Array(32)));
  await writeFile(join(dataFolder, 'keys', '2', 'channel'), strange);
  const mismatch = expect.stringMatching(/not those of the newest root \(channel\)/);
  expect(await keys()).toMatchObject({ ok: false, detail: mismatch });
});

test('the schedule is set, shown and ended', async () => {
  const { dataFolder, runs } = await contextWithVotes();
  const schedule = { votes: 50, method: 'dpo', publish: 'no' };
  const flags = ['--votes', '50', '--method', 'dpo', '--publish', 'no', '--json'];
  expect(await rapport(dataFolder, 'schedule', 'set', ...flags)).toMatchObject({
    code: 0,
    json: { schedule },
  });
  expect(await runs.schedule()).toEqual(schedule);
  expect((await rapport(dataFolder, 'schedule', 'show')).text).toBe(
    'after 50 new votes: dpo, publish no\n',
  );
  expect((await rapport(dataFolder, 'status', '--json')).json).toMatchObject({ schedule });
  expect((await rapport(dataFolder, 'schedule', 'off', '--json')).json).toEqual({ schedule: null });
  expect(await runs.schedule()).toBeNull();
  expect((await rapport(dataFolder, 'schedule', 'set', '--votes', '0')).code).toBe(2);
  expect((await rapport(dataFolder, 'schedule', 'set')).code).toBe(2);
});
