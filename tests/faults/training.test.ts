import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tinyFolder } from '../support/tiny-folder.ts';

const command = fileURLToPath(new URL('../../apps/server/cli/rapport.mjs', import.meta.url));

let model: string;
let other: string;
let misfit: string;
let data: string;
/** An adapter that a run has made. */
let adapter: string;
/** Settings of a run that is long enough to be killed in the middle, and of one that does not end by itself. */
let long: string;
/** The same with more steps of DPO: as a warm start they would end the run by its guards. */
let longDpo: string;
let endless: string;

beforeAll(async () => {
  [model, other] = [await tinyFolder('llama-tied'), await tinyFolder('qwen2-tied')];
  misfit = await tinyFolder('gpt2');
  data = await mkdtemp(join(tmpdir(), 'rapport-training-'));
  const small = { seed: 1, arena: { prompts: 2, maxTokens: 16 } };
  long = join(data, 'long.json');
  const many = { iterations: 16, promptsPerIteration: 4, maxTokens: 24 };
  const settings = {
    ...small,
    ppo: many,
    dpo: { promptsPerStep: 4, minSteps: 60, maxSteps: 60 },
    kto: { minSteps: 80 },
    sft: { epochs: 20, batch: 4 },
  };
  await writeFile(long, JSON.stringify(settings));
  longDpo = join(data, 'long-dpo.json');
  const dpo = { ...settings.dpo, minSteps: 160, maxSteps: 160 };
  await writeFile(longDpo, JSON.stringify({ ...settings, dpo }));
  endless = join(data, 'endless.json');
  await writeFile(endless, JSON.stringify({ ...small, ppo: { ...many, iterations: 10_000 } }));
  const votes = join(data, 'votes.jsonl');
  await writeFile(votes, rows().join('\n'));
  const first = await rapport('feedback', 'import', votes, '--json');
  expect(first.json).toMatchObject({ accepted: 24, duplicate: 0 });
  const again = await rapport('feedback', 'import', votes, '--json');
  expect(again.json).toMatchObject({ accepted: 0, duplicate: 24 });
});

afterAll(async () => {
  for (const folder of [model, other, misfit, data])
    await rm(folder, { recursive: true, force: true });
});

/** Twelve pairs and twelve thumbs, as TRL writes them. */
function rows(): string[] {
  const say = (content: string) => [{ role: 'assistant', content }];
  return Array.from({ length: 12 }, (_, i) => {
    const prompt = [{ role: 'user', content: `say a${i}b${i}` }];
    return [
      { prompt, chosen: say(`good good ${i}`), rejected: say(`bad bad ${i}`) },
      { prompt, completion: say(`fine ${i}`), label: i % 2 === 0 },
    ];
  })
    .flat()
    .map((row) => JSON.stringify(row));
}

interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  json: Record<string, unknown>;
  said: string;
}

/** Runs a command on the data; `watch` sees what it says on the way, and may signal it. */
function rapport(...args: [...string[]]): Promise<Ended> {
  return run(args, () => {});
}
function run(args: string[], watch: (said: string, child: ChildProcess) => void): Promise<Ended> {
  const child = spawn(process.execPath, [command, ...args, '--data', data]);
  let out = '';
  let said = '';
  child.stdout.on('data', (bytes: Buffer) => (out += String(bytes)));
  child.stderr.on('data', (bytes: Buffer) => {
    said += String(bytes);
    watch(said, child);
  });
  return new Promise((ended, failed) =>
    child.once('close', (code, signal) => {
      try {
        ended({ code, signal, said, json: out === '' ? {} : (JSON.parse(out) as never) });
      } catch {
        failed(new Error(`not one JSON document: ${out}`));
      }
    }),
  );
}

const train = (method: string, settings: string) => [
  'train',
  ...['--method', method, '--model', model, '--config', settings, '--publish', 'no', '--json'],
];

describe.each([
  ['ppo', 'ppo'],
  ['rloo', 'ppo'],
  ['dpo', 'dpo'],
  ['kto', 'kto'],
  ['sft', 'sft'],
])('kill -9 in the middle of %s', (method, stage) => {
  test('leaves the run failed; resumed, it ends with the adapter of a run that was left alone', async () => {
    const settings = method === 'dpo' ? longDpo : long;
    const whole = await rapport(...train(method, settings));
    expect(whole.code, whole.said).toBe(0);
    expect(whole.json).toMatchObject({
      run: expect.any(String),
      release: expect.stringMatching(/^[0-9a-f]{64}$/),
      gate: { passed: expect.any(Boolean), checks: expect.any(Array) },
      evaluation: { tokensTrained: expect.any(Number) },
    });
    // At scale 0 any two adapters would be alike.
    expect((whole.json['evaluation'] as { scale: number }).scale).toBeGreaterThan(0);
    adapter = folderOf(whole.json['run'] as string, 1);
    const before = (await rapport('release', 'list', '--json')).json;
    const killed = await run(train(method, settings), (said, child) => {
      if (stepsOf(stage, said).length >= 3) child.kill('SIGKILL');
    });
    expect(killed.signal).toBe('SIGKILL');
    const runs = (await rapport('runs', 'list', '--json')).json;
    const [{ id, status, failure }] = runs as never as [Record<string, string>];
    expect([status, failure]).toEqual([
      'failed',
      expect.objectContaining({ code: 'training/interrupted' }),
    ]);
    expect((await rapport('release', 'list', '--json')).json).toEqual(before);
    const resumed = await rapport('runs', 'resume', id!, '--json');
    expect(resumed.code, resumed.said).toBe(0);
    expect(resumed.json).toMatchObject({ run: id, release: expect.any(String) });
    const show = await rapport('runs', 'show', id!, '--json');
    expect(show.json).toMatchObject({ status: 'done', attempt: 2 });
    // It went on in the middle.
    expect(stepsOf(stage, resumed.said)[0]).toBeGreaterThan(1);
    expect(stepsOf(stage, resumed.said).at(-1)).toBe(stepsOf(stage, whole.said).at(-1));
    expect(await adapterOf(id!, 2)).toEqual(await adapterOf(whole.json['run'] as string, 1));
  });
});

describe('from the command line', () => {
  test('an adapter and another base made elsewhere become releases', async () => {
    const ours = await rapport('release', 'build', '--adapter', adapter, '--json');
    expect(ours.code, ours.said).toBe(0);
    const shown = await rapport('release', 'show', ours.json['id'] as string, '--json');
    expect(shown.json).toMatchObject({
      adapter: { digest: ours.json['adapter'] },
      golden: { top5: expect.any(Array) },
    });
    const theirs = await rapport('release', 'build', '--base', other, '--json');
    expect(theirs.json).toMatchObject({ adapter: null, base: expect.stringMatching(/^[0-9a-f]/) });
    const id = theirs.json['id'] as string;
    const published = await rapport('release', 'publish', id, '--json');
    expect(published.json).toMatchObject({
      stable: 'base',
      candidate: { release: id, percent: 1 },
    });
    const promoted = await rapport('release', 'promote', id, '--percent', '25', '--json');
    expect(promoted.json).toMatchObject({ candidate: { release: id, percent: 25 } });
    expect((await rapport('release', 'promote', id, '--json')).json).toMatchObject({ stable: id });
    expect((await rapport('release', 'rollback', '--json')).json).toMatchObject({
      stable: 'base',
      blocked: [id],
    });
  });

  test('an adapter for another base is refused, and nothing is kept', async () => {
    const before = (await rapport('release', 'list', '--json')).json['length'];
    const flags = ['--base', misfit, '--adapter', adapter, '--json'];
    const { code, said } = await rapport('release', 'build', ...flags);
    expect([code, said]).toEqual([1, expect.stringContaining('was made for another model')]);
    expect((await rapport('release', 'list', '--json')).json['length']).toBe(before);
  });
});

/** Steps of a stage that a run has told of. */
const stepsOf = (stage: string, said: string): number[] =>
  [...said.matchAll(new RegExp(`^${stage} +(\\d+)/`, 'gm'))].map(([, step]) => Number(step));

const folderOf = (id: string, attempt: number) => join(data, 'runs', id, `adapter-${attempt}`);
const adapterOf = (id: string, attempt: number): Promise<Buffer> =>
  readFile(join(folderOf(id, attempt), 'adapter_model.safetensors'));

test('a run is cancelled from another process', async () => {
  let cancelled: Promise<Ended> | undefined;
  const cancel = async () => {
    const runs = (await rapport('runs', 'list', '--json')).json as unknown as { id: string }[];
    return rapport('runs', 'cancel', runs[0]!.id, '--json');
  };
  const ended = await run(train('ppo', endless), (said) => {
    if (/^ppo/m.test(said)) cancelled ??= cancel();
  });
  expect([ended.code, ended.said]).toEqual([1, expect.stringMatching(/was cancelled.*\n.*resume/)]);
  expect((await cancelled!).json).toMatchObject({ status: 'cancelled', release: null });
});

test('one Ctrl-C, which arrives twice, cancels a run and says how to go on with it', async () => {
  let again: NodeJS.Timeout | undefined;
  const ended = await run(train('ppo', endless), (said, child) => {
    if (again || !/^ppo/m.test(said)) return;
    child.kill('SIGINT');
    again = setTimeout(() => child.kill('SIGINT'), 40);
  });
  expect([ended.code, ended.signal]).toEqual([1, null]);
  expect(ended.said).toMatch(/was cancelled.*\n.*rapport runs resume/);
});
