// Tabs that come, go, freeze and crash between any two messages; the engine speaks by a script, all else is the real thing.
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { RapportError, type SpeakRequest, type SpokenToken } from '@rapport/core';
import { finish } from './channel.ts';
import type { BackendChoice, OpenRequest } from './inference.ts';
import { adapterOf, replies, World, type Tab } from './tabs-world.ts';

let world: World;
beforeEach(() => {
  world = new World();
});

const requestOf = (backend: BackendChoice = 'auto', digest = 'model'): OpenRequest => ({
  manifest: { name: 'm', format: 'gguf', digest, files: [] },
  backend,
});

const prompt = (content: string, ...seeds: number[]): SpeakRequest => ({
  messages: [{ role: 'user', content }],
  samplings: seeds.map((seed) => ({
    temperature: 1,
    topK: 0,
    topP: 1,
    minP: 0,
    repetitionPenalty: 1,
    maxTokens: 20,
    seed,
  })),
});

/** A tab as its page begins: the model, a release, what was learned. */
async function openTab(release?: string, personal?: string): Promise<Tab> {
  const tab = world.openTab();
  await finish(tab.engine.openModel(requestOf()));
  if (release) await finish(tab.engine.useAdapter(adapterOf(release)));
  if (personal) await finish(tab.engine.usePersonal(adapterOf(personal)));
  return tab;
}

/** Everything that is streamed, by reply, and what it ends with. */
async function speak(tab: Tab, request: SpeakRequest, signal?: AbortSignal) {
  const streamed = request.samplings.map((): SpokenToken[] => []);
  const run = tab.engine.speak(request, signal);
  const ends = await finish(run, (token) => streamed[token.index]!.push(token));
  return { streamed, ends };
}

/** Neither a token lost nor one twice, in what was streamed and in what it ends with. */
async function expectWhole(speaking: ReturnType<typeof speak>, request: SpeakRequest, voice = '+') {
  const { streamed, ends } = await speaking;
  const whole = replies(request, voice);
  expect(streamed).toEqual(whole);
  expect(ends.map(({ tokens }) => tokens)).toEqual(whole.map((all) => all.map(({ id }) => id)));
  expect(ends.map(({ text }) => text)).toEqual(
    whole.map((all) => all.map((token) => token.text).join('')),
  );
  expect(ends.map(({ logprobs }) => logprobs)).toEqual(
    whole.map((all) => all.map(({ logprob }) => logprob)),
  );
  expect(ends.every(({ finishReason }) => finishReason === 'stop')).toBe(true);
}

test('three tabs have one engine, which opens the model once', async () => {
  const tabs = [await openTab(), await openTab(), await openTab()];
  for (const tab of tabs) await expectWhole(speak(tab, prompt('hi', 1)), prompt('hi', 1));
  expect(world.opened).toEqual(['engine-1 auto']);
  expect(world.engines).toHaveLength(1);
  expect(tabs.map(({ now }) => now.elsewhere)).toEqual([false, true, true]);
});

test('tabs that begin at the same moment have one engine too', async () => {
  await Promise.all([openTab(), openTab(), openTab()]);
  expect(world.opened).toEqual(['engine-1 auto']);
});

describe('when the host is closed', () => {
  test.each([0, 1, 3, 5, 6, 7])('after %i tokens, a reply goes on to its end', async (count) => {
    const host = await openTab('R1');
    const tab = await openTab('R1', 'P');
    world.onToken = (_, tokens) => {
      if (tokens === count) world.close(host);
    };
    await expectWhole(speak(tab, prompt('hi', 1)), prompt('hi', 1), 'R1+P');
    expect(tab.now.elsewhere).toBe(false);
    expect(world.living).toHaveLength(1);
  });

  test('before a reply, the next tab speaks as it did', async () => {
    const host = await openTab('R1');
    const tab = await openTab('R1', 'P');
    world.close(host);
    await expectWhole(speak(tab, prompt('hi', 1)), prompt('hi', 1), 'R1+P');
    expect(world.opened).toEqual(['engine-1 auto', 'engine-2 auto']);
  });

  test('the model is opened at the next tab before anything is asked of it', async () => {
    const host = await openTab();
    const tab = await openTab();
    world.close(host);
    await world.silence();
    expect(world.opened).toEqual(['engine-1 auto', 'engine-2 auto']);
    expect(tab.now).toEqual({ elsewhere: false, opened: { backend: 'auto' } });
  });

  test('alternates go on, each from where it was', async () => {
    const host = await openTab();
    const tab = await openTab();
    world.onToken = (_, tokens) => {
      if (tokens === 8) world.close(host);
    };
    await expectWhole(speak(tab, prompt('hi', 1, 2, 3)), prompt('hi', 1, 2, 3));
  });

  test('a tab that has asked nothing yet opens the model', async () => {
    const host = await openTab();
    const opening = openTab();
    world.close(host);
    const tab = await opening;
    await expectWhole(speak(tab, prompt('hi', 1)), prompt('hi', 1));
  });

  test('and the next, and the next, the last tab still says it all', async () => {
    const tabs = [await openTab(), await openTab(), await openTab()];
    const last = await openTab('R1');
    world.onToken = (_, tokens) => {
      if (tokens % 2 === 1 && tabs.length > 0) world.close(tabs.shift()!);
    };
    await expectWhole(speak(last, prompt('hi', 4)), prompt('hi', 4), 'R1+');
    expect(world.living).toHaveLength(1);
  });

  test('a reply that is stopped meanwhile keeps what was said', async () => {
    const host = await openTab();
    const tab = await openTab();
    const stop = new AbortController();
    world.onToken = (_, tokens) => {
      if (tokens !== 3) return;
      world.opening = new Promise(() => undefined);
      world.close(host);
    };
    const speaking = speak(tab, prompt('hi', 1), stop.signal);
    await world.silence();
    stop.abort();
    const { streamed, ends } = await speaking;
    expect(streamed[0]).toEqual(replies(prompt('hi', 1))[0]!.slice(0, streamed[0]!.length));
    expect(streamed[0]!.length).toBeGreaterThan(0);
    expect(ends[0]).toMatchObject({ finishReason: 'cancelled' });
    expect(ends[0]!.tokens).toEqual(streamed[0]!.map(({ id }) => id));
  });
});

describe('two tabs', () => {
  test('that speak at once take turns, each with its own adapters', async () => {
    const one = await openTab('R1', 'P');
    const two = await openTab('R2');
    const [a, b] = [speak(one, prompt('a', 1)), speak(two, prompt('b', 2))];
    await expectWhole(a, prompt('a', 1), 'R1+P');
    await expectWhole(b, prompt('b', 2), 'R2+');
    await expectWhole(speak(one, prompt('c', 3)), prompt('c', 3), 'R1+P');
  });

  test('stop only their own replies', async () => {
    const one = await openTab();
    const two = await openTab();
    const stop = new AbortController();
    const stopped = speak(one, prompt('a', 1), stop.signal);
    const other = speak(two, prompt('b', 2));
    world.onToken = (_, tokens) => {
      if (tokens === 2) stop.abort();
    };
    await expectWhole(other, prompt('b', 2));
    expect((await stopped).ends[0]!.finishReason).toBe('cancelled');
  });

  test('share what one of them has in memory, even when its file is gone', async () => {
    await openTab('R1');
    world.lost.add('R1');
    const two = await openTab('R1');
    await expectWhole(speak(two, prompt('b', 2)), prompt('b', 2), 'R1+');
  });
});

test('a tab that is closed in mid-reply leaves the engine to the others', async () => {
  const host = await openTab();
  const tab = await openTab();
  let aborted = 0;
  world.onToken = (_, tokens) => {
    if (tokens === 1) world.close(tab);
    aborted = tokens + 1;
  };
  void speak(tab, prompt('a', 4));
  await world.silence();
  expect(aborted).toBeLessThan(6);
  await expectWhole(speak(host, prompt('b', 1)), prompt('b', 1));
});

test('what a release was, once its file is gone, is said; another release speaks', async () => {
  const host = await openTab('R1');
  const tab = await openTab('R1');
  world.lost.add('R1');
  world.close(host);
  await expect(speak(tab, prompt('a', 1))).rejects.toMatchObject({ code: 'test/gone' });
  await finish(tab.engine.useAdapter(adapterOf('R2')));
  await expectWhole(speak(tab, prompt('a', 1)), prompt('a', 1), 'R2+');
});

describe('an engine that crashes', () => {
  const crash = () =>
    world.living[0]!.events.crashed(new RapportError('workers/crashed', 'No memory.', 'Again.'));

  test.each(['the host', 'another tab'])(
    'fails what %s asked; the next call is answered',
    async (who) => {
      const host = await openTab('R1');
      const other = await openTab('R1');
      const tab = who === 'the host' ? host : other;
      world.onToken = (_, tokens) => {
        if (tokens === 2) crash();
      };
      await expect(speak(tab, prompt('a', 1))).rejects.toMatchObject({
        code: 'workers/crashed',
        remedy: 'Again.',
      });
      await expectWhole(speak(tab, prompt('a', 1)), prompt('a', 1), 'R1+');
      expect(world.living).toHaveLength(1);
    },
  );
});

describe('an engine whose graphics device is lost', () => {
  const lost = () => new RapportError('runtime/device-lost', 'It was taken away.', 'Again.');

  test.each([0, 1, 3, 5, 6])(
    'after %i tokens: one on the processor goes on to the end of the reply',
    async (count) => {
      const host = await openTab('R1');
      const tab = await openTab('R1', 'P');
      world.onToken = (_, tokens) => {
        if (tokens === count) throw lost();
      };
      await expectWhole(speak(tab, prompt('hi', 1)), prompt('hi', 1), 'R1+P');
      await expectWhole(speak(tab, prompt('more', 2)), prompt('more', 2), 'R1+P');
      await expectWhole(speak(host, prompt('hi', 3)), prompt('hi', 3), 'R1+');
      expect(world.opened).toEqual(['engine-1 auto', 'engine-2 device-lost']);
      expect(world.living).toHaveLength(1);
    },
  );

  test('alternates go on, and so does a reply that waits', async () => {
    const host = await openTab();
    const tab = await openTab('R1');
    world.onToken = (_, tokens) => {
      if (tokens === 8) throw lost();
    };
    const waiting = [speak(host, prompt('a', 1, 2, 3)), speak(tab, prompt('b', 4))] as const;
    await expectWhole(waiting[0], prompt('a', 1, 2, 3));
    await expectWhole(waiting[1], prompt('b', 4), 'R1+');
  });

  test('is not taken up again by a tab that opens the model as before', async () => {
    const host = await openTab();
    world.onToken = (_, tokens) => {
      if (tokens === 2) throw lost();
    };
    await expectWhole(speak(host, prompt('hi', 1)), prompt('hi', 1));
    const tab = await openTab();
    await expectWhole(speak(tab, prompt('hi', 1)), prompt('hi', 1));
    expect(world.opened).toEqual(['engine-1 auto', 'engine-2 device-lost']);
  });
});

describe('a host that is frozen', () => {
  test('is not waited for: the tab goes on with an engine of its own', async () => {
    const host = await openTab();
    const tab = await openTab('R1');
    world.onToken = (_, tokens) => {
      if (tokens === 3) world.freeze(host);
    };
    const speaking = speak(tab, prompt('a', 1));
    for (let i = 0; i < 3; i++) await world.passTime();
    await expectWhole(speaking, prompt('a', 1), 'R1+');
    expect(tab.now.elsewhere).toBe(false);
    world.thaw(host);
    await expectWhole(speak(host, prompt('b', 1)), prompt('b', 1));
    await expectWhole(speak(tab, prompt('c', 1)), prompt('c', 1), 'R1+');
  });

  test('but one that answers now and then is', async () => {
    await openTab();
    const tab = await openTab();
    world.opening = new Promise(() => undefined);
    const never = finish(tab.engine.openModel(requestOf('wasm')));
    never.catch(() => undefined);
    for (let i = 0; i < 5; i++) await world.passTime();
    expect(tab.now.elsewhere).toBe(true);
  });

  test('of which the next tab inherits the lock leaves it its own engine to share', async () => {
    const host = await openTab();
    const tab = await openTab();
    world.freeze(host);
    const speaking = speak(tab, prompt('a', 1));
    for (let i = 0; i < 3; i++) await world.passTime();
    await expectWhole(speaking, prompt('a', 1));
    world.close(host);
    const third = await openTab();
    await expectWhole(speak(third, prompt('b', 1)), prompt('b', 1));
    expect(world.living.map(({ name }) => name)).toEqual(['engine-2']);
  });
});

test('another way of computing, chosen in one tab, is that of all tabs', async () => {
  const host = await openTab('R1');
  const tab = await openTab('R1');
  const opened = await finish(tab.engine.openModel(requestOf('wasm')));
  expect(opened.backend).toBe('wasm');
  await world.silence();
  expect(world.living).toHaveLength(1);
  expect(world.opened).toEqual(['engine-1 auto', 'engine-2 wasm']);
  expect(host.now.opened?.backend).toBe('wasm');
  await expectWhole(speak(host, prompt('a', 1)), prompt('a', 1), 'R1+');
});

test('a tab with another model computes for itself', async () => {
  const host = await openTab();
  const tab = world.openTab();
  await finish(tab.engine.openModel(requestOf('auto', 'another model')));
  await expectWhole(speak(tab, prompt('a', 1)), prompt('a', 1));
  await expectWhole(speak(host, prompt('b', 1)), prompt('b', 1));
  expect(world.living).toHaveLength(2);
});

test('whatever is closed at whatever token, every tab that is left hears its whole reply', async () => {
  const tabs = fc.integer({ min: 2, max: 4 });
  const ends = fc.array(
    fc.record({ at: fc.integer({ min: 0, max: 40 }), tab: fc.nat({ max: 3 }) }),
    { maxLength: 3 },
  );
  await fc.assert(
    fc.asyncProperty(tabs, ends, async (count, closings) => {
      world = new World();
      const open: Tab[] = [];
      for (let i = 0; i < count; i++) open.push(await openTab(`R${i}`, i % 2 ? 'P' : undefined));
      world.onToken = (_, tokens) => {
        for (const { at, tab } of closings) {
          const alive = open.filter(({ gone }) => !gone);
          if (at === tokens && open[tab] && alive.length > 1) world.close(open[tab]);
        }
      };
      const speaking = open.map((tab, i) => speak(tab, prompt(`p${i}`, i, i + 1)));
      await Promise.all(
        open.map(async (tab, i) => {
          const voice = `R${i}+${i % 2 ? 'P' : ''}`;
          await Promise.race([
            expectWhole(speaking[i]!, prompt(`p${i}`, i, i + 1), voice),
            untilGone(tab),
          ]);
        }),
      );
      await world.silence();
      expect(world.living).toHaveLength(1);
    }),
    { numRuns: 30 },
  );
});

async function untilGone(tab: Tab): Promise<void> {
  while (!tab.gone) await new Promise((resolve) => setImmediate(resolve));
}
