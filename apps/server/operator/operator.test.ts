import { describe, expect, test } from 'vitest';
import { auditLog } from '../store/audit.ts';
import { appOf, contextWithVotes } from '../test-context.ts';
import { announceSetup, checkPassword } from './session.ts';

async function scene() {
  const context = await contextWithVotes();
  const { app } = appOf(context);
  let printed = '';
  await announceSetup(context.db, (text) => (printed = text));
  const token = printed.split(' ').at(-1)!;
  let cookie = '';
  const call = async (
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ) => {
    const response = await app.request(`/v1/operator${path}`, {
      method,
      headers: { 'content-type': 'application/json', cookie, ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const set = response.headers.get('set-cookie');
    if (set) cookie = set.split(';')[0]!;
    return { response, status: response.status, set };
  };
  const json = async <T>(method: string, path: string, body?: unknown) =>
    (await (await call(method, path, body)).response.json()) as T;
  const signIn = () => call('POST', '/setup', { token, password: 'long enough 1' });
  return { ...context, token, call, json, signIn };
}

describe('the door', () => {
  test('opens by the setup token once, then by the password', async () => {
    const { call, signIn, token, db } = await scene();
    expect((await call('GET', '/overview')).status).toBe(401);
    expect((await call('POST', '/setup', { token: 'x', password: 'long enough 1' })).status).toBe(
      403,
    );
    const { status, set } = await signIn();
    expect([status, set]).toEqual([200, expect.stringMatching(/HttpOnly;.*SameSite=Strict/)]);
    expect((await call('GET', '/overview')).status).toBe(200);
    expect((await call('POST', '/setup', { token, password: 'another one 2' })).status).toBe(403);
    await call('POST', '/logout');
    expect((await call('GET', '/overview')).status).toBe(401);
    expect((await call('POST', '/login', { password: 'wrong' })).status).toBe(403);
    expect((await call('POST', '/login', { password: 'long enough 1' })).status).toBe(200);
    let printed = '';
    await announceSetup(db, (text) => (printed = text));
    expect(printed).toBe('');
  });

  test('stays shut for guesses and for other sites', async () => {
    const { call } = await scene();
    const cross = await call(
      'POST',
      '/login',
      { password: 'x' },
      { 'sec-fetch-site': 'cross-site' },
    );
    expect(cross.status).toBe(403);
    const foreign = { origin: 'https://evil.example', host: 'localhost' };
    expect((await call('POST', '/logout', {}, foreign)).status).toBe(403);
    const guesses = [];
    for (let i = 0; i < 15; i++)
      guesses.push((await call('POST', '/login', { password: 'x' })).status);
    expect(guesses).toContain(429);
  }, 30_000);

  test('writes refused passwords down once a minute for each network', async () => {
    const { db } = await scene();
    for (const network of ['192.0.2.1', '192.0.2.2', '192.0.2.1', '192.0.2.2'])
      await expect(checkPassword(db, 'x', network)).rejects.toThrow('Wrong password.');
    const refused = (await auditLog(db)).filter(({ action }) => action === 'login.refused');
    expect(refused.map(({ detail }) => detail)).toEqual([
      { network: '192.0.2.2' },
      { network: '192.0.2.1' },
    ]);
    await db
      .updateTable('audit')
      .set({ at: Date.now() - 60_001 })
      .execute();
    await expect(checkPassword(db, 'x', '192.0.2.1')).rejects.toThrow('Wrong password.');
    expect(await auditLog(db)).toHaveLength(3);
  });

  test('refuses a short password', async () => {
    const { call, token } = await scene();
    expect((await call('POST', '/setup', { token, password: 'short' })).status).toBe(400);
  });
});

describe('inside', () => {
  test('votes are seen, frozen, trained on, and the release published and taken back', async () => {
    const { json, signIn, runs, call } = await scene();
    await signIn();
    expect(await json('GET', '/overview')).toMatchObject({
      rankings: 2,
      unusedVotes: 2,
      stable: 'base',
    });
    expect(await json<unknown[]>('GET', '/votes')).toHaveLength(2);
    expect(await json('POST', '/datasets')).toMatchObject({ rankings: 2, devices: 1 });
    const { id } = await json<{ id: string }>('POST', '/runs', {
      method: 'ppo',
      publish: 'no',
      config: { steps: 2 },
    });
    await runs.wait(id);
    const progress = await (await call('GET', `/runs/${id}/progress`)).response.text();
    expect(progress.match(/event: progress/g)).toHaveLength(2);
    expect(progress).toContain('event: end');
    const { release } = await json<{ release: string }>('GET', `/runs/${id}`);
    await json('POST', `/releases/${release}/publish`, {});
    await json('POST', `/releases/${release}/promote`, { percent: 100 });
    expect(await json('GET', '/releases')).toMatchObject([
      { id: release, state: 'stable', votes: 2 },
    ]);
    expect(await json('POST', '/channel/rollback')).toMatchObject({ stable: 'base' });
    const audit = await json<{ action: string }[]>('GET', '/audit');
    expect(audit.map(({ action }) => action)).toContain('channel.rollback');
  });

  test('a device is revoked, and erased with a receipt', async () => {
    const { json, signIn, device } = await scene();
    await signIn();
    await json('POST', `/devices/${device}/revoke`);
    expect(await json('GET', '/devices')).toMatchObject([{ id: device, revoked: true, events: 2 }]);
    expect(await json('POST', `/devices/${device}/erase`)).toMatchObject({ device, events: 2 });
    expect(await json('GET', '/devices')).toMatchObject([{ id: device, events: 0 }]);
  });

  test('what is not there is not found', async () => {
    const { call, signIn } = await scene();
    await signIn();
    expect((await call('GET', '/runs/nothing')).status).toBe(404);
    expect((await call('POST', '/releases/nothing/promote', {})).status).toBe(404);
    expect((await call('POST', '/runs', { method: 'magic' })).status).toBe(400);
  });
});
