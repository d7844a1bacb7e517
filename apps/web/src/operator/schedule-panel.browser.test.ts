// The schedule on the console's page of runs; only the answers of the server are scripted.
import { mount, unmount } from 'svelte';
import { afterEach, expect, test, vi } from 'vitest';
import { page } from 'vitest/browser';
import { Language } from '../ui/language.svelte.ts';
import ConsoleFrame from './ConsoleFrame.svelte';
import { Console } from './console.svelte.ts';

afterEach(() => vi.restoreAllMocks());

test('a schedule that could not be read is not saved over', async () => {
  const schedule = { votes: 80, method: 'dpo', publish: 'stable' };
  const saved: unknown[] = [];
  let broken = true;
  vi.spyOn(globalThis, 'fetch').mockImplementation(async (path, init) => {
    if (!String(path).endsWith('/schedule')) return Response.json([]);
    if (init?.method === 'POST') saved.push(JSON.parse(init.body as string));
    else if (broken) return Response.json({ message: 'The disk is full.' }, { status: 500 });
    return Response.json({ schedule });
  });
  const operator = new Console('en');
  operator.session = 'in';
  operator.page = 'runs';
  const props = { operator, language: new Language() };
  const component = mount(ConsoleFrame, { target: document.body, props });

  const on = page.getByRole('checkbox', { name: 'Train by itself after' });
  const save = page.getByRole('button', { name: 'Save' });
  await expect.element(page.getByRole('alert')).toHaveTextContent('The disk is full.');
  await expect.element(on).toBeDisabled();
  await expect.element(save).toBeDisabled();

  broken = false;
  await page.getByRole('button', { name: 'Refresh' }).click();
  await expect.element(on).toBeChecked();
  await expect.element(page.getByRole('spinbutton', { name: 'new votes' })).toHaveValue(80);
  await expect.element(page.getByRole('alert')).not.toBeInTheDocument();
  await save.click();
  await expect.poll(() => saved).toEqual([{ schedule }]);
  await unmount(component);
});
