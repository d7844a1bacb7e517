// What may go wrong on a person's device: a download that is cut off, a full disk, two tabs at once, a
// browser that dies while the model speaks.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openBrowser, openProfile, startRapport, type Rapport } from '../support/rapport.ts';

const MiB = 1 << 20;

let rapport: Rapport;
let browser: Browser;

beforeAll(async () => {
  [rapport, browser] = await Promise.all([startRapport(), openBrowser()]);
});

afterAll(async () => {
  await browser?.close();
  await rapport?.stop();
});

const model = (page: Page) => page.getByRole('region', { name: 'Model' });
const button = (page: Page, name: string) => page.getByRole('button', { name, exact: true });
const ready = (page: Page) => model(page).waitFor({ state: 'hidden', timeout: 120_000 });

/** The `Range` headers with which the weights are asked for. */
function rangesOf(context: BrowserContext): (string | undefined)[] {
  const ranges: (string | undefined)[] = [];
  context.on('request', (request) => {
    if (request.url().includes('/v1/blobs/')) ranges.push(request.headers()['range']);
  });
  return ranges;
}

test('a download that breaks off and is cancelled goes on where it stopped', async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  let requests = 0;
  await context.route('**/v1/blobs/**', async (route) => {
    if (requests++ > 0) return; // Never answered: as slow as a network can be.
    const response = await route.fetch();
    await route.fulfill({ response, body: (await response.body()).subarray(0, 9.5 * MiB) });
  });
  await page.goto(rapport.url);
  await expect.poll(() => requests, { timeout: 60_000 }).toBe(2);
  await button(page, 'Cancel').click();
  await model(page)
    .getByText(/9\.4 MB of 98\.4 MB/)
    .waitFor();
  await context.unroute('**/v1/blobs/**');
  const ranges = rangesOf(context);
  await button(page, 'Resume').click();
  await ready(page);
  expect(ranges).toEqual([`bytes=${9 * MiB}-`]);
  await context.close();
});

test('a full disk is named, and the rest comes when there is room', async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  const devtools = await context.newCDPSession(page);
  const origin = rapport.url;
  await devtools.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 20 * MiB });
  await page.goto(rapport.url);
  await model(page)
    .getByText(/no room for the model.*Free some disk space/)
    .waitFor();
  await devtools.send('Storage.overrideQuotaForOrigin', { origin });
  const ranges = rangesOf(context);
  await button(page, 'Try again').click();
  await ready(page);
  expect(ranges).toEqual([expect.stringMatching(/^bytes=[1-9]\d{6,}-$/)]);
  await context.close();
});

test('two tabs bring the model once', async () => {
  const context = await browser.newContext();
  const ranges = rangesOf(context);
  const pages = await Promise.all([context.newPage(), context.newPage()]);
  await Promise.all(pages.map((page) => page.goto(rapport.url)));
  await Promise.all(pages.map((page) => ready(page)));
  expect(ranges).toEqual([undefined]);
  await context.close();
});

test('two tabs have one engine; when its tab is closed, the other goes on in mid-reply', async () => {
  const context = await browser.newContext();
  const [host, tab] = [await context.newPage(), await context.newPage()];
  for (const page of [host, tab]) {
    await page.goto(rapport.url);
    await ready(page);
  }
  const engines = (page: Page) =>
    page.workers().filter((worker) => worker.url().includes('inference'));
  expect([host, tab].map((page) => engines(page).length)).toEqual([1, 0]);
  await tab.getByText('in another tab').waitFor();
  await tab.getByRole('textbox', { name: 'Message' }).fill('Tell me a short story of the sea.');
  await button(tab, 'Send').click();
  const reply = tab.getByRole('article', { name: 'Assistant reply' });
  const text = async () => (await reply.locator('.text').innerText()).trim();
  await expect.poll(async () => (await text()).length, { timeout: 60_000 }).toBeGreaterThan(20);
  const seen = await text();
  await host.close();
  await tab.getByText('The reply is complete.').waitFor({ state: 'attached', timeout: 240_000 });
  const whole = await text();
  expect(whole.length).toBeGreaterThan(seen.length);
  expect(whole.slice(0, 20)).toBe(seen.slice(0, 20));
  expect(engines(tab)).toHaveLength(1);
  expect(await tab.getByText('in another tab').count()).toBe(0);
  await context.close();
});

test('a browser that dies in mid-reply loses nothing that was said', async () => {
  const profile = await mkdtemp(join(tmpdir(), 'rapport-profile-'));
  const replyOf = (page: Page) => page.getByRole('article', { name: 'Assistant reply' });

  let context = await openProfile(profile);
  let page = await context.newPage();
  await page.goto(rapport.url);
  await ready(page);
  await page.getByRole('textbox', { name: 'Message' }).fill('Tell me a long story of the sea.');
  await button(page, 'Send').click();
  const text = async () => (await replyOf(page).locator('.text').innerText()).trim();
  await expect.poll(async () => (await text()).length, { timeout: 60_000 }).toBeGreaterThan(20);
  const seen = await text();
  // It is kept several times a second.
  await sleep(2_000);
  const address = page.url();
  const devtools = await context.newCDPSession(page);
  await Promise.all([
    new Promise((dead) => context.once('close', dead)),
    devtools.send('Browser.crash').catch(() => undefined),
  ]);

  context = await openProfile(profile);
  page = await context.newPage();
  await page.goto(address);
  const kept = replyOf(page).getByText('The page closed before this reply was finished.');
  await kept.waitFor();
  const before = await text();
  expect(before.length).toBeGreaterThanOrEqual(seen.length);
  expect(before.slice(0, 20)).toBe(seen.slice(0, 20));
  await ready(page);
  await button(page, 'Continue').click();
  await expect
    .poll(async () => (await text()).length, { timeout: 60_000 })
    .toBeGreaterThan(before.length + 40);
  expect((await text()).startsWith(before)).toBe(true);
  await context.close();
  await rm(profile, { recursive: true, force: true });
});
