// What the console draws: a finished run, and how people rate releases; only the answers of the server are scripted.
import { mount, unmount } from 'svelte';
import { afterEach, expect, test, vi } from 'vitest';
import { page } from 'vitest/browser';
import '../ui/tokens.css';
import { Language } from '../ui/language.svelte.ts';
import ConsoleFrame from './ConsoleFrame.svelte';
import { Console } from './console.svelte.ts';

afterEach(() => vi.restoreAllMocks());

test('what was measured of a run is read as drawings and as a table, and nothing in it takes the focus', async () => {
  const evaluation = { winRate: 0.66, low: 0.59, high: 0.73, kl: 0.0611 };
  const run = { id: 'r1', method: 'ppo', status: 'done', gate: null, evaluation };
  vi.spyOn(globalThis, 'fetch').mockImplementation(async () => Response.json(run));
  const operator = new Console('en');
  operator.session = 'in';
  operator.page = 'runs';
  operator.run = 'r1';
  const props = { operator, language: new Language() };
  const component = mount(ConsoleFrame, { target: document.body, props });

  const drawing = page.getByRole('img', { name: operator.words.ownArena });
  await expect.element(drawing).toHaveAccessibleDescription('result: 0.660 [0.590, 0.730]');
  const svg = drawing.element();
  const spread = svg.querySelector('.spread')!;
  expect(spread.namespaceURI).toBe('http://www.w3.org/2000/svg');
  expect(spread.getBoundingClientRect().width).toBeGreaterThan(20);
  expect(getComputedStyle(spread).stroke).not.toBe('none');
  expect(svg.querySelectorAll('[tabindex], a, button')).toHaveLength(0);
  const row = page.getByRole('row', { name: operator.words.measures.winRate });
  await expect.element(row).toHaveTextContent('66.0 %');
  await unmount(component);
});

test('releases are drawn with their ratings by people, best first', async () => {
  const rating = (release: string, value: number) => ({
    release,
    rating: value,
    low: value - 30,
    high: value + 30,
  });
  vi.spyOn(globalThis, 'fetch').mockImplementation(async (path) =>
    Response.json(
      String(path).endsWith('/ratings') ? [rating('base', 960), rating('ab12cd34ef', 1040)] : [],
    ),
  );
  const operator = new Console('zh');
  operator.session = 'in';
  operator.page = 'releases';
  const props = { operator, language: new Language() };
  const component = mount(ConsoleFrame, { target: document.body, props });
  const drawing = page.getByRole('img', { name: operator.words.ratedByPeople });
  await expect
    .element(drawing)
    .toHaveAccessibleDescription(/^ab12cd34.*: 1040 \[1010, 1070\]; base: 960 \[930, 990\]$/);
  await unmount(component);
});
