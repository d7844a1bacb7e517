// What dies while it loads the model: the worker that loads it, or the whole browser. The next start takes less.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openBrowser, openProfile, startRapport, type Rapport } from '../support/rapport.ts';
import { tinyFolder } from '../support/tiny-folder.ts';

let folder: string;
let rapport: Rapport;

beforeAll(async () => {
  folder = await tinyFolder();
  rapport = await startRapport({ model: folder });
});

afterAll(async () => {
  await rapport?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** Opens the page, whose engine never arrives; gives it in the middle of loading. */
async function loading(context: BrowserContext): Promise<Page> {
  let asked!: () => void;
  const held = new Promise<void>((resolve) => (asked = resolve));
  await context.route('**/*.wasm', () => asked());
  const page = await context.newPage();
  await page.goto(rapport.url);
  await held;
  await page.getByText('Opening the model').first().waitFor();
  return page;
}

/** What the page says of how it computes, once the model is open. */
async function how(page: Page): Promise<string> {
  await page.getByRole('region', { name: 'Model' }).waitFor({ state: 'hidden' });
  await page.getByRole('button', { name: 'About this release' }).click();
  return page.getByRole('dialog').innerText();
}

const CAREFUL = /1 thread[^s][^]*as little memory as possible/;

test('after a worker that died while loading, another try takes less and says so', async () => {
  const browser = await openBrowser();
  const context = await browser.newContext();
  const page = await loading(context);
  const worker = page.workers().find((one) => one.url().includes('inference'))!;
  await worker.evaluate(() => {
    setTimeout(() => {
      throw new Error('killed');
    });
  });
  const again = page.getByRole('button', { name: 'Try again' });
  await again.waitFor();
  await context.unroute('**/*.wasm');
  await again.click();
  expect(await how(page)).toMatch(CAREFUL);
  await browser.close();
});

test('after a browser that died while loading, the next start takes less and says so', async () => {
  const profile = await mkdtemp(join(tmpdir(), 'rapport-profile-'));
  const first = await openProfile(profile);
  const devtools = await first.newCDPSession(await loading(first));
  await Promise.all([
    new Promise((dead) => first.once('close', dead)),
    devtools.send('Browser.crash').catch(() => undefined),
  ]);

  const next = await openProfile(profile);
  const page = await next.newPage();
  await page.goto(rapport.url);
  expect(await how(page)).toMatch(CAREFUL);
  await next.close();
  await rm(profile, { recursive: true, force: true });
});
