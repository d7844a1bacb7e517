// The page in a real browser with real storage; only the model's port is scripted.
import { flushSync, mount, unmount } from 'svelte';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { page, userEvent } from 'vitest/browser';
import App from './App.svelte';
import type { App as Parts } from './app.ts';
import { Chat, SPEAKING_LOCK } from './chat/chat.svelte.ts';
import { addPrompt, addReplies, blankConversation, DEFAULT_SETTINGS } from './chat/conversation.ts';
import { Conversations } from './chat/conversations.svelte.ts';
import { openDatabase, recall, remember, type Database } from './db/database.ts';
import { Model } from './model/model.svelte.ts';
import type { ReleaseFeed } from './model/release-feed.ts';
import { Releases } from './model/releases.svelte.ts';
import { Feedback } from './sync/feedback.svelte.ts';
import type { OutboxRow } from './sync/rows.ts';
import { Personal } from './training/personal.svelte.ts';
import type { TrainingRun } from './training/rows.ts';
import { Training } from './training/training.svelte.ts';
import { Language } from './ui/language.svelte.ts';
import { Theme } from './ui/theme.svelte.ts';
import { Toasts } from './ui/toasts.svelte.ts';
import { RapportError, type SpeakRequest, type SpokenReply, type SpokenToken } from '@rapport/core';
import type { Inference, OpenedModel, OpenRequest } from './workers/inference.ts';
import type { StartedTrainer } from './workers/start-training.ts';
import './ui/tokens.css';
import './ui/base.css';

const timing = { prefillMs: 1, decodeMs: 1, tokensPerSecond: 30 };

/** Stands at the model's port; each reply is `script[n]` word by word, in the order they are asked for. */
class ScriptedModel {
  said = 0;
  requests: SpeakRequest[] = [];
  script: string[];
  wordMs = 2;
  /** Words after which the worker fails, once. */
  breaksAfter = Infinity;
  droppedTurns = 0;
  /** How it was asked to open the model. */
  opening: OpenRequest[] = [];

  constructor(script: string[]) {
    this.script = script;
  }

  async *isKept() {
    return true;
  }

  async *openModel(request: OpenRequest) {
    this.opening.push(request);
    return opened;
  }

  async *speak(
    request: SpeakRequest,
    signal?: AbortSignal,
  ): AsyncGenerator<SpokenToken, SpokenReply[]> {
    this.requests.push(request);
    const words = request.samplings.map(() => this.#next().split(/(?<= )/));
    const said = words.map((): string[] => []);
    for (let k = 0; words.some((w) => k < w.length) && !signal?.aborted; k++) {
      await new Promise((resolve) => setTimeout(resolve, this.wordMs));
      if (k >= this.breaksAfter) this.#break();
      for (const [index, list] of words.entries()) {
        if (k >= list.length) continue;
        said[index]!.push(list[k]!);
        yield { index, id: k, logprob: -1, text: list[k]! };
      }
    }
    return said.map((list) => ({
      tokens: list.map((_, id) => id),
      logprobs: list.map(() => -1),
      text: list.join(''),
      finishReason: signal?.aborted ? 'cancelled' : 'stop',
      droppedTurns: this.droppedTurns,
      timing,
    }));
  }

  #break(): never {
    this.breaksAfter = Infinity;
    throw new RapportError('workers/crashed', 'The worker is out of memory.', 'Reload the page.');
  }

  #next = () => this.script[this.said++ % this.script.length]!;
}

const silent = () => Promise.reject(new Error('no server here'));
const noReleases: ReleaseFeed = {
  channel: silent,
  release: silent,
  bucket: silent,
  mine: silent,
};

let db: Database;
let app: Parts;
let component: Record<string, unknown>;

const nothingTaught = (): StartedTrainer => {
  throw new Error('nothing is taught here');
};

function open(script: string[], start = nothingTaught): ScriptedModel {
  const scripted = new ScriptedModel(script);
  const model = new Model(db, scripted as unknown as Inference);
  model.phase = 'ready';
  const releases = new Releases(db, model, noReleases);
  const personal = new Personal(db, model);
  app = {
    db,
    model,
    language: new Language(),
    theme: new Theme(),
    toasts: new Toasts(),
    releases,
    personal,
    training: new Training({ db, model, releases, personal, start }),
    conversations: new Conversations(db),
    chat: new Chat(db, model),
    feedback: new Feedback(db),
  };
  component = mount(App, { target: document.body, props: { app } });
  flushSync();
  return scripted;
}

beforeEach(async () => {
  localStorage.setItem('rapport-language', 'en');
  history.replaceState(null, '', location.pathname + location.search);
  db = openDatabase(`page-${Math.random()}`);
  await page.viewport(1280, 800);
});
afterEach(async () => {
  app.chat.stop();
  await unmount(component);
});

const button = (name: string) => page.getByRole('button', { name, exact: true });
const reply = () => page.getByRole('article', { name: 'Assistant reply' });

async function send(text: string) {
  await page.getByRole('textbox', { name: 'Message', exact: true }).fill(text);
  await button('Send').click();
}

/** A reply that is on its way for many seconds. */
const LONG = 'A line.\n\n '.repeat(600);

function openSpeakingLong(...before: string[]): ScriptedModel {
  const model = open([...before, LONG]);
  model.wordMs = 20;
  return model;
}

/** Until what the reply on its way has said was written down so many times more. */
async function kept(times: number) {
  const written = async () => (await db.messages.where({ state: 'streaming' }).first())?.text;
  for (let i = 0; i < times; i++) {
    const before = await written();
    await expect.poll(written, { timeout: 20_000 }).not.toBe(before);
  }
  expect(app.chat.busy).toBe(true);
}

test('a message is answered, and the reply says that it is done', async () => {
  open(['Tides follow the **moon**.']);
  await expect.element(page.getByRole('status', { name: 'Release' })).toHaveTextContent(/^base$/);
  await send('Why are there tides?');
  await expect.element(reply()).toHaveTextContent('Tides follow the moon.');
  await expect.element(reply()).toHaveAttribute('aria-busy', 'false');
  expect(reply().element().querySelector('strong')!.textContent).toBe('moon');
});

test('a tab whose replies are computed in another tab says so', async () => {
  open(['Yes.']);
  await expect.element(page.getByText('in another tab')).not.toBeInTheDocument();
  app.model.computesAt({ elsewhere: true });
  await expect.element(page.getByText('in another tab')).toBeVisible();
  await button('About this release').click();
  await expect.element(page.getByText(/When it is closed, this one takes over/)).toBeVisible();
  await userEvent.keyboard('{Escape}');
  app.language.choose('zh');
  await expect.element(page.getByText('由另一个标签页计算')).toBeVisible();
});

/** Opened after a trial in which one engine computed wrong. */
const opened: OpenedModel = {
  ...{ backend: 'WASM fp32', reason: 'computes-right', threads: 2 },
  ...{ contextLength: 2048, loadMs: 900 },
  verdict: {
    ...{ engine: 'wasm', ms: { wasm: 3.14 }, wrong: ['simd'] },
    ...{ calm: true, whole: true, tookMs: 412 },
  },
};

test('why this backend computes is said in the chip, and in full in what it opens', async () => {
  open(['Answer']);
  app.model.opened = opened;
  await expect.element(page.getByText('another was wrong', { exact: true })).toBeVisible();
  await button('About this release').click();
  const dialog = page.getByRole('dialog', { name: 'About this release' });
  await expect.element(dialog.getByText(/gave wrong results in a short trial/)).toBeVisible();
  const trial = /took 0\.4 s\. .*own kernels\): wrong results · .*ONNX Runtime\): 3\.1 ms$/;
  await expect.element(dialog.getByText(trial)).toBeVisible();
  await userEvent.keyboard('{Escape}');
  app.language.choose('zh');
  await expect.element(page.getByText('另一种有误', { exact: true })).toBeVisible();
});

test('another backend, chosen in the settings, is that of the next start', async () => {
  open(['Answer']);
  await remember(db, 'opening', 'crashed');
  await button('Settings').click();
  const choice = page.getByRole('combobox', { name: 'Computes on' });
  await choice.selectOptions('Processor, fp32 (ONNX Runtime)');
  await expect.poll(() => recall(db, 'backend')).toBe('wasm');
  await expect.poll(() => recall(db, 'opening')).toBe('never');
  await button('Cancel').click();
  await unmount(component);
  const model = open(['Answer']);
  await remember(db, 'model-manifest', { name: 'm', format: 'gguf', digest: 'm', files: [] });
  await app.model.start();
  expect(model.opening).toEqual([expect.objectContaining({ backend: 'wasm', afterCrash: false })]);
  await button('Settings').click();
  await expect.element(choice).toHaveValue('wasm');
});

test('a reply says that the oldest turns were left out', async () => {
  open(['Yes.']).droppedTurns = 2;
  await send('Do you remember?');
  await expect.element(reply()).toHaveTextContent('its first 2 turns were left out');
});

test('a reply on its way leaves the focus where it is', async () => {
  openSpeakingLong();
  const hover = vi.spyOn(window, 'matchMedia');
  hover.mockReturnValue({ matches: true } as MediaQueryList);
  await send('Long');
  await expect.element(reply()).toHaveTextContent('A line.');
  document.getElementById('search')!.focus();
  await kept(3);
  expect(document.activeElement!.id).toBe('search');
  hover.mockRestore();
});

test('who scrolls away from a reply on its way stays there, and follows the next one', async () => {
  openSpeakingLong();
  await send('Long');
  const scroller = document.querySelector('.scroller')!;
  const hidden = () => scroller.scrollHeight - scroller.clientHeight;
  await expect.poll(hidden, { timeout: 20_000 }).toBeGreaterThan(400);
  const scrolledAway = () => {
    scroller.scrollTo({ top: 0 });
    return button('Go to the newest message').query() !== null;
  };
  await expect.poll(scrolledAway).toBe(true);
  await kept(3);
  expect(scroller.scrollTop).toBe(0);
  app.chat.stop();
  await expect.poll(() => app.chat.busy).toBe(false);
  expect(scroller.scrollTop).toBe(0);
  await send('Again');
  await expect.poll(() => hidden() - scroller.scrollTop).toBeLessThan(80);
});

test('settings that are being changed while a reply is on its way are not lost', async () => {
  openSpeakingLong();
  await send('Long');
  await button('Settings').click();
  const box = page.getByRole('textbox', { name: 'System prompt' });
  await box.fill('Talk like a pirate');
  await kept(3);
  await expect.element(box).toHaveValue('Talk like a pirate');
});

test('a dialog closes when its surroundings are pressed, not when a press that began inside ends there', async () => {
  open([]);
  await button('Settings').click();
  const box = page.getByRole('textbox', { name: 'System prompt' });
  const dialog = page.getByRole('dialog', { name: 'Settings' }).element() as HTMLDialogElement;
  const press = (from: Element) => {
    from.dispatchEvent(new PointerEvent('pointerdown', { bubbles: true }));
    dialog.dispatchEvent(new MouseEvent('click', { bubbles: true }));
    flushSync();
  };
  press(box.element());
  expect(dialog.open).toBe(true);
  press(dialog);
  expect(dialog.open).toBe(false);
});

test('Escape stops the reply, also after Ctrl+K', async () => {
  openSpeakingLong();
  await send('Long');
  await expect.element(button('Stop')).toBeVisible();
  await userEvent.keyboard('{Control>}k{/Control}');
  await expect.poll(() => document.activeElement!.id).toBe('search');
  await userEvent.keyboard('{Escape}');
  await expect.element(reply()).toHaveTextContent('You stopped this reply.');
});

test('Ctrl+K opens the drawer of a narrow screen with the search focused, Escape closes it', async () => {
  await page.viewport(390, 740);
  open([]);
  await userEvent.keyboard('{Control>}k{/Control}');
  await expect.poll(() => document.activeElement!.id).toBe('search');
  await userEvent.keyboard('{Escape}');
  await expect.element(button('Settings')).not.toBeInTheDocument();
});

test('a chat that is deleted while it is answered is stopped, and comes back with what was said', async () => {
  openSpeakingLong();
  await send('Long');
  await expect.element(reply()).toHaveTextContent('A line.');
  await button('New chat').click();
  await page.getByRole('button', { name: 'Delete: Long' }).click();
  await expect.poll(() => app.chat.busy).toBe(false);
  await button('Undo').click();
  await expect.element(reply()).toHaveTextContent(/A line.*You stopped this reply/);
});

test('a reply that a closed page left is interrupted once no other tab speaks, a newer one is not', async () => {
  let silence!: () => void;
  const other = navigator.locks.request(
    SPEAKING_LOCK,
    () => new Promise<void>((resolve) => (silence = resolve)),
  );
  const prompt = await addPrompt(db, blankConversation(DEFAULT_SETTINGS), null, 'Left');
  const [left] = await addReplies(db, prompt, 1);
  open([]);
  const waiting = async () =>
    (await navigator.locks.query()).pending!.some(({ name }) => name === SPEAKING_LOCK);
  await expect.poll(waiting).toBe(true);
  const [newer] = await addReplies(db, prompt, 1);
  const states = async () =>
    (await db.messages.bulkGet([left!.id, newer!.id])).map((row) => row!.state);
  expect(await states()).toEqual(['streaming', 'streaming']);
  silence();
  await other;
  await expect.poll(states).toEqual(['interrupted', 'streaming']);
});

test('stopping keeps what was said, continuing goes on from its tokens', async () => {
  const model = open(['one two three four five six seven eight nine ten ', 'and more']);
  model.wordMs = 60;
  await send('Count');
  await expect.element(reply()).toHaveTextContent('two');
  await button('Stop').click();
  await expect.element(reply()).toHaveAttribute('aria-busy', 'false');
  await expect.element(reply()).toHaveTextContent('You stopped this reply.');
  await button('Continue').click();
  await expect.element(reply()).toHaveTextContent('and more');
  expect(model.requests[1]!.prefix!.length).toBeGreaterThan(1);
});

test('regenerating keeps the siblings behind a switcher', async () => {
  open(['First answer', 'Second answer']);
  await send('Hello');
  await button('Regenerate').click();
  await expect.element(reply()).toHaveTextContent('Second answer');
  await expect.element(reply()).toHaveTextContent('2/2');
  await button('Earlier version').click();
  await expect.element(reply()).toHaveTextContent('First answer');
});

test('editing a sent message makes a branch', async () => {
  const model = open(['About cats', 'About dogs']);
  await send('Tell me of cats');
  await expect.element(reply()).toHaveTextContent('About cats');
  await button('Edit').click();
  await page.getByRole('textbox', { name: 'Edit message' }).fill('Tell me of dogs');
  await button('Save').click();
  await expect.element(reply()).toHaveTextContent('About dogs');
  expect(model.requests[1]!.messages).toEqual([{ role: 'user', content: 'Tell me of dogs' }]);
  await button('Earlier version').first().click();
  await expect.element(reply()).toHaveTextContent('About cats');
});

test('an edited message stays in its editor until it can be kept', async () => {
  const model = openSpeakingLong('Short');
  await send('First');
  await expect.element(reply()).toHaveTextContent('Short');
  await button('Edit').click();
  const editor = page.getByRole('textbox', { name: 'Edit message' });
  await editor.fill('Better');
  await send('Second');
  await expect.element(button('Stop')).toBeVisible();
  await expect.element(button('Save')).toBeDisabled();
  (editor.element() as HTMLElement).focus();
  await userEvent.keyboard('{Enter}');
  await expect.element(editor).toHaveValue('Better');
  await button('Stop').click();
  await button('Save').click();
  const asked = () => model.requests.at(-1)!.messages;
  await expect.poll(asked).toEqual([{ role: 'user', content: 'Better' }]);
});

test('what a model writes never becomes HTML, and only http links are links', async () => {
  open([
    '<img src=x onerror="document.title=1"> [a](javascript:alert(1)) [b](https://example.org)',
  ]);
  await send('Attack');
  await expect.element(reply()).toHaveTextContent('<img src=x');
  const links = () => [...reply().element().querySelectorAll('a')].map((a) => a.href);
  await expect.poll(links).toEqual(['https://example.org/']);
  expect(reply().element().querySelector('img')).toBeNull();
});

test('a vote is kept with its reasons, changed, and removed', async () => {
  open(['Good or bad?']);
  await send('Judge me');
  await button('Good reply').click();
  await expect.element(button('Good reply')).toHaveAttribute('aria-pressed', 'true');
  await button('Clear').click();
  await button('Save').click();
  await expect
    .poll(() => db.feedback.toArray())
    .toMatchObject([{ thumb: { value: 1, reasons: ['clear'] } }]);
  await button('Bad reply').click();
  await expect.poll(() => db.feedback.toArray()).toMatchObject([{ thumb: { value: -1 } }]);
  await button('Remove vote').click();
  await expect.poll(() => db.outbox.count()).toBe(0);
});

/** Four alternates to be put in order. */
async function rankFour() {
  open(['Only', 'Alpha', 'Beta', 'Gamma', 'Delta']);
  await send('Which?');
  await button('More replies').click();
  const list = page.getByRole('list', { name: 'Rank replies' });
  const order = () =>
    [...list.element().querySelectorAll('article')].map((a) => a.textContent!.trim());
  await expect.poll(order).toEqual(['Alpha', 'Beta', 'Gamma', 'Delta']);
  return { list, order };
}

test('alternates are ranked by keys alone, with ties and undo', async () => {
  const { list, order } = await rankFour();
  await expect.element(button('Submit ranking')).toBeEnabled();
  list.element().querySelector<HTMLElement>('[data-reply]:last-child')!.focus();
  await userEvent.keyboard('{Shift>}{ArrowUp}{ArrowUp}{/Shift}');
  expect(order()).toEqual(['Alpha', 'Delta', 'Beta', 'Gamma']);
  await userEvent.keyboard('=');
  await userEvent.keyboard('{ArrowDown}1');
  expect(order()).toEqual(['Beta', 'Alpha', 'Delta', 'Gamma']);
  await userEvent.keyboard('{Control>}z{/Control}');
  expect(order()).toEqual(['Alpha', 'Delta', 'Beta', 'Gamma']);
  await button('Submit ranking').click();
  await expect
    .poll(async () => (await db.feedback.toArray())[0]?.ranking?.ranks)
    .toEqual([1, 3, 4, 1]);
  await expect.element(reply()).toHaveTextContent('Alpha');
});

test('alternates are ranked by buttons', async () => {
  open(['Only', 'Alpha', 'Beta', 'Gamma', 'Delta']);
  await send('Which?');
  await button('More replies').click();
  const items = page.getByRole('list', { name: 'Rank replies' }).getByRole('listitem');
  await expect.element(items.nth(2)).toHaveTextContent('Gamma');
  await items.nth(2).getByRole('button', { name: 'Move up' }).click();
  await expect.element(items.nth(1)).toHaveTextContent('Gamma');
  await items.nth(1).getByRole('button', { name: 'Move up' }).click();
  await expect.element(items.nth(0)).toHaveTextContent('Gamma');
  await expect.element(items.nth(0)).toHaveFocus();
});

test('alternates are ranked by dragging, and a card is let go wherever the pointer is', async () => {
  const { list, order } = await rankFour();
  const cards = list.getByRole('listitem');
  const grip = (place: number) => list.element().querySelectorAll('.grip')[place]!;
  await userEvent.dragAndDrop(grip(3), cards.nth(0));
  await expect.poll(order).toEqual(['Delta', 'Alpha', 'Beta', 'Gamma']);
  await userEvent.dragAndDrop(grip(0), page.getByRole('textbox', { name: 'Message' }));
  const letGo = order();
  for (const place of [2, 0, 3]) await userEvent.hover(cards.nth(place));
  expect(order()).toEqual(letGo);
});

test('feedback waits for consent, then is free to go', async () => {
  open(['Answer']);
  await send('Share?');
  await button('Good reply').click();
  await expect.poll(() => db.outbox.toArray()).toMatchObject([{ state: 'held' }]);
  await page.getByRole('checkbox', { name: 'Share my feedback' }).click();
  await expect.poll(() => db.outbox.toArray()).toMatchObject([{ state: 'pending' }]);
});

test('what would be sent can be read before consent, without what was taken out of it', async () => {
  open(['Write to them.']);
  await send('My address is jane@example.org');
  await button('Good reply').click();
  await button('See what is sent').click();
  const dialog = page.getByRole('dialog', { name: 'Your feedback' });
  await expect.element(dialog).toHaveTextContent('1 kept here · 0 waiting, 0 sent');
  await dialog.getByText('Stays on this device').click();
  await expect.element(dialog).toHaveTextContent('E-mail: jane@example.org');
  const preview = JSON.parse(dialog.element().querySelector('pre')!.textContent!);
  expect(preview).toMatchObject({ type: 'vote', consent: true, body: { value: 1 } });
  expect(JSON.stringify(preview)).not.toContain('jane@');
  await button('Discard').click();
  await expect.element(dialog).toHaveTextContent('No votes or rankings yet.');
  expect(await db.feedback.count()).toBe(0);
});

test('the panel of the outbox tells what waits, what was sent and what was refused', async () => {
  open(['One', 'Two', 'Three']);
  const votes: [string, Partial<OutboxRow>][] = [
    ['First', { state: 'sent' }],
    ['Second', { state: 'rejected', code: 'too_large' }],
    ['Third', { state: 'pending' }],
  ];
  for (const [i, [text, fate]] of votes.entries()) {
    await send(text);
    await button('Bad reply').nth(i).click();
    await expect.element(button('Bad reply').nth(i)).toHaveAttribute('aria-pressed', 'true');
    await db.outbox.where({ state: 'held' }).modify(fate);
  }
  await page.getByRole('button', { name: /^Your feedback/ }).click();
  const dialog = page.getByRole('dialog', { name: 'Your feedback' });
  await expect.element(dialog).toHaveTextContent('1 waiting, 1 sent · 1 refused');
  await dialog.getByText('Refused by the server').click();
  await expect.element(dialog).toHaveTextContent('Reason: too_large');
});

test('what is erased is not called shared any more', async () => {
  open(['One']);
  await send('First');
  await button('Bad reply').click();
  await expect.poll(() => db.outbox.where({ state: 'held' }).modify({ state: 'sent' })).toBe(1);
  await page.getByRole('button', { name: /^Your feedback/ }).click();
  const dialog = page.getByRole('dialog', { name: 'Your feedback' });
  await dialog.getByText('Shared').click();
  await button('Erase from the server').click();
  await expect.element(dialog).toHaveTextContent('The server will delete it.');
  await expect.element(dialog).not.toHaveTextContent('Shared');
  await expect.element(button('Erase from the server')).not.toBeInTheDocument();
});

test('a reply is copied as it was written, with its Markdown', async () => {
  open(['A **bold** word']);
  let copied = '';
  const write = vi.spyOn(navigator.clipboard, 'writeText');
  write.mockImplementation(async (text: string) => void (copied = text));
  await send('Copy me');
  await reply().getByRole('button', { name: 'Copy' }).click();
  await expect.element(reply().getByRole('button', { name: 'Copied' })).toBeVisible();
  expect(copied).toBe('A **bold** word');
});

test('settings of a chat reach the model, and new chats when asked', async () => {
  const model = open(['Arr']);
  await button('Settings').click();
  await page.getByRole('textbox', { name: 'System prompt' }).fill('Talk like a pirate');
  await page.getByRole('spinbutton', { name: 'Seed' }).fill('7');
  const temperature = page.getByRole('slider', { name: 'Temperature' }).element();
  (temperature as HTMLInputElement).value = '0';
  temperature.dispatchEvent(new Event('input', { bubbles: true }));
  await page.getByRole('checkbox', { name: 'Use for new chats too' }).click();
  await button('Save').click();
  await button('New chat').click();
  await send('Hello');
  await expect.element(reply()).toHaveTextContent('Arr');
  const [request] = model.requests;
  expect(request!.messages[0]).toEqual({ role: 'system', content: 'Talk like a pirate' });
  expect(request!.samplings[0]).toMatchObject({ temperature: 0, seed: 7 });
});

test('a reply that fails says why, keeps what was said, and can be continued', async () => {
  const model = open(['So far so good', ' and on']);
  model.breaksAfter = 2;
  await send('Tell me');
  await expect.element(reply()).toHaveTextContent(/So far .*out of memory.*Reload/);
  await button('Continue').click();
  await expect.element(reply()).toHaveTextContent('So far and on');
  await expect.element(reply()).not.toHaveTextContent('out of memory');
});

test('a message that a full disk refuses stays in the box, and the page says why', async () => {
  open(['Never said']);
  const full = () => {
    throw new DOMException('', 'QuotaExceededError');
  };
  db.messages.hook('creating').subscribe(full);
  await send('Precious words');
  await expect.element(page.getByText(/no room left/)).toBeVisible();
  const box = page.getByRole('textbox', { name: 'Message', exact: true });
  await expect.element(box).toHaveValue('Precious words');
  db.messages.hook('creating').unsubscribe(full);
  await button('Send').click();
  await expect.element(reply()).toHaveTextContent('Never said');
});

test('a conversation is renamed, deleted and brought back', async () => {
  open(['Answer']);
  await send('Remember this');
  await expect.element(reply()).toHaveTextContent('Answer');
  await page.getByRole('button', { name: 'Rename: Remember this' }).click();
  await page.getByRole('textbox', { name: 'Name of this chat' }).fill('Memory');
  await userEvent.keyboard('{Enter}');
  await expect.element(page.getByRole('heading', { name: 'Memory' })).toBeVisible();
  await page.getByRole('button', { name: 'Delete: Memory' }).click();
  await expect.element(page.getByRole('heading', { name: 'What is on your mind?' })).toBeVisible();
  await button('Undo').click();
  await expect.element(reply()).toHaveTextContent('Answer');
});

test('the page speaks Chinese when asked, and says so to assistive technology', async () => {
  open(['Answer']);
  app.language.choose('zh');
  await expect.element(page.getByRole('button', { name: '新对话' })).toBeVisible();
  expect(document.documentElement.lang).toBe('zh-Hans');
});

test('nothing overflows at 360 pixels', async () => {
  await page.viewport(360, 740);
  open(['A reply with a_very_long_word_'.concat('x'.repeat(200))]);
  await send('Narrow');
  await expect.element(reply()).toHaveAttribute('aria-busy', 'false');
  expect(document.documentElement.scrollWidth).toBeLessThanOrEqual(360);
  await button('More replies').click();
  await expect.element(button('Submit ranking')).toBeEnabled();
  expect(document.documentElement.scrollWidth).toBeLessThanOrEqual(360);
  expect(document.documentElement.scrollHeight).toBeLessThanOrEqual(740);
});

test.each([360, 390, 481, 640, 801])(
  'the chip leaves room for the title of the chat at %i pixels',
  async (width) => {
    await page.viewport(width, 740);
    open(['Answer']);
    await send('A chat with a long name');
    await expect.element(reply()).toHaveTextContent('Answer');
    app.model.opened = opened;
    app.model.speaker = { id: `sha256:${'d'.repeat(64)}`, adapter: 'adapter' };
    app.model.personal = 'e'.repeat(64);
    app.model.elsewhere = true;
    app.releases.stale = true;
    flushSync();
    const title = page.getByRole('heading', { name: 'A chat with a long name' }).element();
    const range = document.createRange();
    range.setStart(title.firstChild!, 0);
    range.setEnd(title.firstChild!, 12);
    const ellipsisPx = 14;
    const shown = title.getBoundingClientRect().right - ellipsisPx;
    expect(range.getBoundingClientRect().right).toBeLessThanOrEqual(shown);
    expect(document.documentElement.scrollWidth).toBeLessThanOrEqual(width);
    await expect.element(page.getByText('WASM fp32')).toBeInTheDocument();
  },
);

test('alternates and the reasons of a vote open in sight, however long the chat', async () => {
  await page.viewport(390, 700);
  open([Array(40).fill('A paragraph.').join('\n\n'), 'Alpha', 'Beta']);
  const inSight = (of: Element) => {
    const { top, bottom } = of.getBoundingClientRect();
    return top >= 0 && top < 500 && bottom > 100;
  };
  await send('Long');
  await expect.element(reply()).toHaveAttribute('aria-busy', 'false');
  await button('Bad reply').click();
  await expect.poll(() => inSight(button('Not true').element())).toBe(true);
  expect(inSight(page.getByRole('textbox', { name: 'Comment' }).element())).toBe(true);
  await button('Close').click();
  await page.getByRole('combobox', { name: 'Number of replies' }).selectOptions('2');
  await button('More replies').click();
  const list = page.getByRole('list', { name: 'Rank replies' });
  await expect.poll(() => inSight(list.element())).toBe(true);
});

test('before training is begun the device is measured, unless that is skipped, and then how long it takes is told', async () => {
  const runs = [{ tokens: 1024, ms: 10_240, heapBytes: 2 ** 24 }];
  let measured!: () => void;
  const trial = async function* ({ backend }: { backend: string }) {
    await new Promise<void>((resolve) => (measured = resolve));
    return backend === 'wasm' ? { backend, loadMs: 1, weightBytes: 1, runs, full: false } : null;
  };
  for (let i = 0; i < 25; i++) {
    const [id, replies] = [`e${i}`, [{ text: 'good' }, { text: 'bad' }]];
    const prompt = [{ role: 'user', content: `prompt ${i}` }];
    const event = { type: 'ranking', body: { prompt, replies, ranks: [1, 2] } };
    const row = { id, conversationId: 'c', state: 'held', createdAt: 0, redacted: [] };
    await db.outbox.add({ ...row, event } as unknown as OutboxRow);
    const about = { id, conversationId: 'c', subject: `g${i}`, kind: 'ranking' } as const;
    await db.feedback.add({ ...about, at: 0, eventId: id });
  }
  open([], () => ({ trainer: { trial } as never, end: () => undefined }));
  app.model.manifest = { name: 'm', format: 'gguf', digest: 'd', files: [] };

  await button('Teach Rapport').click();
  const dialog = page.getByRole('dialog', { name: 'Teach Rapport' });
  await expect.element(dialog).toHaveTextContent('Measuring this device');
  await expect.element(button('Teach it now')).toBeDisabled();
  await button('Skip').click();
  await expect.element(button('Teach it now')).toBeEnabled();
  await expect.element(dialog).not.toHaveTextContent('Measuring');
  await expect.element(dialog).toHaveTextContent('This takes some minutes');

  await userEvent.keyboard('{Escape}');
  await button('Teach Rapport').click();
  await expect.element(dialog).toHaveTextContent('Measuring this device');
  measured();
  await expect.poll(() => (measured(), app.training.device.measuring)).toBe(false);
  await expect.element(dialog).toHaveTextContent(/This takes about \d+ (sec|min) on this device/);
  await expect.element(button('Teach it now')).toBeEnabled();
});

/** A run as it lies in the database, of which an adapter came where it is done. */
const runOf = (id: string, state: TrainingRun['state'], done = true) => {
  const file = { name: 'adapter', digest: `of-${id}`, sizeBytes: 4 };
  const comparison = { pairs: 0, nllChange: 0, scale: 1 };
  const outcome = { adapter: { file, rank: 8, alpha: 16, targets: [] }, comparison };
  const order = { manifest: { digest: 'd' }, lessons: [], heldOut: [] };
  const rest = { order, release: 'base', stage: 'learning', steps: [], sideBySide: [] };
  return { id, state, startedAt: 0, ...rest, ...(done && { outcome }) } as unknown as TrainingRun;
};

test('an earlier adapter that speaks can be undone and deleted beside a newer one', async () => {
  await db.trainings.bulkAdd([runOf('1', 'kept'), runOf('2', 'offered')]);
  const scripted = open([]);
  Object.assign(scripted, { async *usePersonal() {} });
  app.model.manifest = { name: 'm', format: 'gguf', digest: 'd', files: [] };
  // Its badge says that a choice waits.
  await page.getByRole('button', { name: 'Teach Rapport' }).click();
  const earlier = page.getByRole('article', { name: /^Taught/ });
  await expect.element(earlier).toHaveTextContent('Your personal adapter speaks');
  await expect.element(earlier.getByRole('button', { name: 'Export as PEFT' })).toBeVisible();
  await earlier.getByRole('button', { name: 'Undo' }).click();
  await expect.poll(async () => (await db.trainings.get('1'))?.state).toBe('offered');
  await earlier.getByRole('button', { name: 'Keep' }).click();
  await expect.poll(async () => (await db.trainings.get('1'))?.state).toBe('kept');
  app.language.choose('zh');
  await expect.element(page.getByText('以前教的')).toBeVisible();
  app.language.choose('en');
  await earlier.getByRole('button', { name: 'Delete' }).click();
  await expect.element(earlier).not.toBeInTheDocument();
  expect(await db.trainings.toArray()).toMatchObject([{ id: '2' }]);
});

test('a run that had to end early says why, in both languages', async () => {
  const run = runOf('1', 'offered');
  run.outcome!.stopped = 'train/length';
  await db.trainings.add(run);
  open([]);
  app.model.manifest = { name: 'm', format: 'gguf', digest: 'd', files: [] };
  await page.getByRole('button', { name: 'Teach Rapport' }).click();
  await expect.element(page.getByText(/replies were becoming much too short/)).toBeVisible();
  app.language.choose('zh');
  await expect.element(page.getByText(/回复变得太短了/)).toBeVisible();
  app.language.choose('en');
});

test('a run in another tab is told, and is not to be cancelled here', async () => {
  let gone!: () => void;
  const other = new Promise<void>((resolve) => (gone = resolve));
  void navigator.locks.request('rapport-training', () => other);
  await db.trainings.add(runOf('1', 'running', false));
  open([]);
  await button('Teach Rapport').click();
  const dialog = page.getByRole('dialog', { name: 'Teach Rapport' });
  await expect.element(dialog).toHaveTextContent('Another tab is training.');
  await expect.element(button('Cancel training')).not.toBeInTheDocument();
  await expect.element(button('Resume')).not.toBeInTheDocument();
  gone();
  await expect.element(button('Cancel training')).toBeVisible();
  await expect.element(dialog).toHaveTextContent('Training is paused.');
});
