// The walk of one thumb: a person speaks with the base model and judges it, another person judges too,
// an operator trains on the judgements and publishes, and the next reply is spoken by the release, which
// says what taught it.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { aRanking } from '../../apps/server/store/test-store.ts';
import { openBrowser, runCommand, startRapport, type Rapport } from '../support/rapport.ts';

/** Enough to move a model, too little to teach it: the walk is the point here. */
const SMALL = {
  text: { mixed: 2, measured: 2 },
  dpo: { minSteps: 2, maxSteps: 2, epochs: 1, ptxRows: 1 },
  ppo: { iterations: 1, promptsPerIteration: 1, repliesPerPrompt: 2, maxTokens: 16, ptxRows: 1 },
  arena: { prompts: 2, maxTokens: 16 },
  // What so little teaches passes no gate that means anything.
  gate: {
    kl: 100,
    nllChange: 1000,
    winRateLow: 0,
    endedFraction: 0,
    lengthRatio: 1000,
    goldenErrors: 24,
    canariesBroken: 9,
    canariesWrong: 9,
  },
};

let folder: string;
let rapport: Rapport;
let browser: Browser;
let page: Page;
/** The release of this walk, once there is one. */
let id: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rapport-story-'));
  [rapport, browser] = await Promise.all([startRapport(), openBrowser()]);
  page = await browser.newPage();
});

afterAll(async () => {
  await browser?.close();
  await rapport?.stop();
  await rm(folder, { recursive: true, force: true });
});

const button = (name: string) => page.getByRole('button', { name, exact: true });
const replies = () => page.getByRole('article', { name: 'Assistant reply' });
const release = () => page.getByRole('status', { name: 'Release' });
const model = () => page.getByRole('region', { name: 'Model' });

/** Sends a message, sees the reply stream, and waits for the whole of it. */
async function say(text: string) {
  const before = await replies().count();
  await page.getByRole('textbox', { name: 'Message' }).fill(text);
  await button('Send').click();
  const reply = replies().nth(before);
  await reply.and(page.locator('[aria-busy=true]')).waitFor();
  await reply.and(page.locator('[aria-busy=false]')).waitFor({ timeout: 120_000 });
  return reply;
}

/** Who spoke the newest reply, as the page keeps it. */
const newestProvenance = () =>
  page.evaluate(async () => {
    const result = <T>(request: IDBRequest<T>) =>
      new Promise<T>((resolve) => (request.onsuccess = () => resolve(request.result)));
    const db = await result(indexedDB.open('rapport'));
    const rows = await result(db.transaction('messages').objectStore('messages').getAll());
    db.close();
    return rows.filter(({ role }) => role === 'assistant').at(-1).provenance;
  });

const served = async () =>
  JSON.parse(await runCommand(rapport, 'status', '--json')) as Record<string, number>;

const post = (path: string, body: unknown, token?: string) =>
  fetch(rapport.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(token && { authorization: token }) },
    body: JSON.stringify(body),
  });

test('a person opens the page, and the model comes onto the device once', async () => {
  await page.goto(rapport.url);
  await model().getByRole('progressbar').waitFor();
  await model().waitFor({ state: 'hidden', timeout: 120_000 });
  expect(await release().textContent()).toBe('base');
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
});

test('the base model answers, and the reply is judged', async () => {
  const reply = await say('Name one fruit. Answer in one word.');
  expect((await reply.innerText()).length).toBeGreaterThan(1);
  await reply.getByRole('button', { name: 'Good reply' }).click();
  await button('Save').click();
  await expect
    .poll(() => reply.getByRole('button', { name: 'Good reply' }).getAttribute('aria-pressed'))
    .toBe('true');
});

test('alternates are made together and put in order', async () => {
  await page.getByLabel('Number of replies').last().selectOption('4');
  await button('More replies').last().click();
  // A reply may hold a list of its own: its items are no replies.
  const ranked = page
    .getByRole('list', { name: 'Rank replies' })
    .getByRole('listitem')
    .filter({ has: page.getByRole('article') });
  await expect.poll(() => ranked.count()).toBe(4);
  await expect.poll(() => button('Submit ranking').isEnabled(), { timeout: 120_000 }).toBe(true);
  const last = await ranked.nth(3).getByRole('article').innerText();
  await ranked.nth(3).getByRole('button', { name: 'Move up' }).click();
  expect(await ranked.nth(2).getByRole('article').innerText()).toBe(last);
  await button('Submit ranking').click();
});

test('nothing leaves the device before consent, and everything agreed to arrives once', async () => {
  expect(await served()).toMatchObject({ votes: 0, rankings: 0 });
  await page.getByRole('checkbox', { name: 'Share my feedback' }).check();
  await expect.poll(served, { timeout: 30_000 }).toMatchObject({ votes: 1, rankings: 1 });
  await button('See what is sent').click();
  await page.getByText('0 waiting, 2 sent').waitFor();
  await button('Close').click();
});

test('another person, on another device, ranks as well', async () => {
  const enrolled = await post('/v1/devices', {});
  const { token } = (await enrolled.json()) as { token: string };
  const sent = await post('/v1/events', { proto: 1, events: [aRanking()] }, `Bearer ${token}`);
  expect(await sent.json()).toMatchObject({ results: [{ status: 'accepted' }] });
});

test('an operator trains on the judgements and gives the release to everybody', async () => {
  const config = join(folder, 'small.json');
  await writeFile(config, JSON.stringify(SMALL));
  const run = JSON.parse(await runCommand(rapport, 'train', '--config', config, '--json')) as {
    release: string;
  };
  id = run.release;
  expect(id).toMatch(/^[0-9a-f]{64}$/);
  // It passed its gate, so it is the candidate: some devices get it, and now all of them.
  expect(JSON.parse(await runCommand(rapport, 'release', 'list', '--json'))).toMatchObject([
    { id, state: 'candidate 1 %' },
  ]);
  await runCommand(rapport, 'release', 'promote', id);
});

test('the page verifies it, swaps to it between two replies, and says what taught it', async () => {
  // The page looks at the channel by itself every minute, and whenever the network comes back.
  await page.evaluate(() => dispatchEvent(new Event('online')));
  await expect.poll(() => release().textContent(), { timeout: 60_000 }).toBe(id.slice(0, 8));
  // The two rankings: a thumb alone on its prompt compares nothing, and is not counted as a teacher.
  const taught = page.getByText(/learned from 2 votes, 1 of them yours/);
  await taught.first().waitFor();
});

test('the next reply is spoken by the release and keeps that as its provenance', async () => {
  const reply = await say('Name one animal. Answer in one word.');
  await reply.getByText(`Spoken by ${id.slice(0, 8)}`).waitFor();
  const { release, adapter, tokens, logprobs } = await newestProvenance();
  expect({ release, adapter }).toEqual({ release: id, adapter: expect.any(String) });
  expect(tokens.length).toBeGreaterThan(0);
  expect(logprobs).toHaveLength(tokens.length);
});

test('it speaks on without the network, after a reload', async () => {
  await rapport.kill();
  await page.reload();
  await expect.poll(() => release().textContent(), { timeout: 120_000 }).toBe(id.slice(0, 8));
  const reply = await say('Name one colour. Answer in one word.');
  await reply.getByText(`Spoken by ${id.slice(0, 8)}`).waitFor();
});
