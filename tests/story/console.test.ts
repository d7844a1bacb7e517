// An operator's first hour at the console: the token, a password, a run, who gets its release, and back.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openDatabase } from '../../apps/server/store/database.ts';
import { enrol } from '../../apps/server/store/devices.ts';
import { takeEvents } from '../../apps/server/store/events.ts';
import { aRanking } from '../../apps/server/store/test-store.ts';
import { openBrowser, startRapport, type Rapport } from '../support/rapport.ts';
import { tinyFolder } from '../support/tiny-folder.ts';

const PASSWORD = 'correct horse battery';

let folders: string[];
let rapport: Rapport;
let browser: Browser;
let page: Page;

beforeAll(async () => {
  folders = [await mkdtemp(join(tmpdir(), 'rapport-console-')), await tinyFolder()];
  const [dataFolder, model] = folders as [string, string];
  const db = await openDatabase(dataFolder);
  const { device } = await enrol(db);
  await takeEvents(db, device, [aRanking(), aRanking([4, 2, 2, 1]), aRanking([1, 2])]);
  await db.destroy();
  [rapport, browser] = await Promise.all([startRapport({ dataFolder, model }), openBrowser()]);
  page = await browser.newPage();
});

afterAll(async () => {
  await browser?.close();
  await rapport?.stop();
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

const button = (name: string) => page.getByRole('button', { name, exact: true });
const open = (name: string) => page.getByRole('link', { name, exact: true }).click();
const rows = () => page.locator('tbody tr');
const channel = async () => {
  const answer = await fetch(`${rapport.url}/v1/channel`);
  const { channel } = (await answer.json()) as { channel: { signed: Record<string, unknown> } };
  return channel.signed;
};

test('the token that the server printed opens the door, once, for a password', async () => {
  const printed = () => /setup token for the console at \/operator: (\S+)/.exec(rapport.output());
  await expect.poll(printed).not.toBeNull();
  await page.goto(`${rapport.url}/operator`);
  await page.getByLabel('Setup token').fill(printed()![1]!);
  await page.getByLabel('New password').fill(PASSWORD);
  await button('Set up').click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
});

test('a wrong password is refused, the right one is not', async () => {
  await button('Sign out').click();
  await page.getByLabel('Password').fill('incorrect horse');
  await button('Sign in').click();
  await page.getByText('Wrong password.').waitFor();
  await page.getByLabel('Password').fill(PASSWORD);
  await button('Sign in').click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
});

test('a run is started, followed to its end, and its gate is read', async () => {
  await open('Runs');
  await page.getByLabel('Method').selectOption('dpo');
  await page.getByLabel('Publish as').selectOption('no');
  await button('Start training').click();
  await page.getByText('Training started.').waitFor();
  await rows().getByText('running').waitFor();
  await open('Show');
  await page.getByRole('heading', { name: /^Gate: / }).waitFor({ timeout: 280_000 });
  for (const check of ['KL', 'golden pairs', 'canaries broken'])
    expect(await page.getByRole('listitem').filter({ hasText: check }).count()).toBe(1);
  await open('Back');
  await rows().getByText('done').waitFor();
});

test('its release is published, halted, promoted and rolled back', async () => {
  await open('Releases');
  await button('Publish').click();
  await rows().getByText('candidate 1 %').waitFor();
  expect(await channel()).toMatchObject({ stable: 'base', candidate: { percent: 1 } });

  await button('Halt').click();
  await rows().getByText('blocked').waitFor();
  const halted = await channel();
  expect(halted).toMatchObject({ stable: 'base', freeze: true, blocked: [expect.any(String)] });
  expect(halted['candidate']).toBeUndefined();

  await page.getByLabel('Percent of devices').selectOption({ label: '100 %' });
  await button('Promote 100 %').click();
  await rows().getByText('stable').waitFor();
  const [release] = halted['blocked'] as string[];
  expect(await channel()).toMatchObject({ stable: release });

  await button('Roll back').click();
  await rows().getByText('blocked').waitFor();
  expect(await channel()).toMatchObject({ stable: 'base', freeze: false });
});
