import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { BatchAnswer } from '@rapport/core';
import { anErasure, aRanking, aVote } from './store/test-store.ts';
import { appOf, MODEL_BYTES, temporaryContext } from './test-context.ts';

async function scene() {
  const context = await temporaryContext();
  const { app, log } = appOf(context);
  const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    app.request(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
  const enrol = async () => {
    const response = await post('/v1/devices', {});
    expect(response.status).toBe(201);
    return (await response.json()) as { device: string; token: string };
  };
  const send = (token: string, events: unknown[], proto = 1) =>
    post('/v1/events', { proto, events }, { authorization: `Bearer ${token}` });
  return { ...context, app, log, post, enrol, send };
}
const digest = createHash('sha256').update(MODEL_BYTES).digest('hex');

describe('devices', () => {
  test('get a token that is stored only as a hash', async () => {
    const { db, enrol } = await scene();
    const { token } = await enrol();
    expect(Buffer.from(token, 'base64url').length).toBeGreaterThanOrEqual(16);
    const [row] = await db.selectFrom('devices').selectAll().execute();
    expect(JSON.stringify(row)).not.toContain(token);
  });

  test('without a token, with a wrong one, or revoked, are told to enrol', async () => {
    const { app, db, enrol, send } = await scene();
    const { device, token } = await enrol();
    expect((await app.request('/v1/events', { method: 'POST' })).status).toBe(401);
    expect((await send('x'.repeat(43), [])).status).toBe(401);
    await db.updateTable('devices').set({ revoked_at: 1 }).where('id', '=', device).execute();
    const refused = await send(token, []);
    expect(refused.status).toBe(403);
    expect(await refused.json()).toMatchObject({
      code: 'device/revoked',
      remedy: expect.any(String),
    });
  });
});

describe('events', () => {
  test('are answered one by one, in order', async () => {
    const { enrol, send } = await scene();
    const { token } = await enrol();
    const vote = aVote();
    const response = await send(token, [
      vote,
      'nonsense',
      aRanking(),
      vote,
      anErasure(vote.id),
      vote,
    ]);
    expect(response.status).toBe(200);
    const { results, minIntervalMs } = (await response.json()) as BatchAnswer;
    expect(results.map(({ status }) => status)).toEqual([
      'accepted',
      'rejected',
      'accepted',
      'duplicate',
      'accepted',
      'tombstoned',
    ]);
    expect(minIntervalMs).toBeGreaterThan(0);
  });

  test('of a newer protocol are deferred', async () => {
    const { enrol, send } = await scene();
    const { token } = await enrol();
    const { results } = (await (await send(token, [aVote()], 2)).json()) as BatchAnswer;
    expect(results[0]!.status).toBe('deferred');
  });

  test('that are too many or too large are halved by 413', async () => {
    const { enrol, send } = await scene();
    const { token } = await enrol();
    expect(
      (
        await send(
          token,
          Array.from({ length: 501 }, () => 1),
        )
      ).status,
    ).toBe(413);
    expect((await send(token, [aVote(1, { comment: 'x'.repeat(1 << 20) })])).status).toBe(413);
  });

  test('nested half a million deep harm nothing', async () => {
    const { enrol, post } = await scene();
    const { token } = await enrol();
    const deep = `{"proto":1,"events":[${'['.repeat(400_000)}${']'.repeat(400_000)}]}`;
    const response = await post('/v1/events', deep, { authorization: `Bearer ${token}` });
    const { results } = (await response.json()) as BatchAnswer;
    expect(results).toEqual([{ id: null, status: 'rejected', code: 'too_deep' }]);
  });

  test('from a device that sends without pause meet a limit with Retry-After', async () => {
    const { enrol, send } = await scene();
    const { token } = await enrol();
    let response = await send(token, []);
    for (let i = 0; i < 1100 && response.status === 200; i++) response = await send(token, []);
    expect(response.status).toBe(429);
    expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
  });
});

describe('files', () => {
  test('come whole, in ranges, or not again', async () => {
    const { app } = await scene();
    const get = (headers: Record<string, string> = {}) =>
      app.request(`/v1/blobs/${digest}`, { headers });
    const whole = await get();
    expect(Buffer.from(await whole.arrayBuffer()).equals(MODEL_BYTES)).toBe(true);
    expect(whole.headers.get('cache-control')).toContain('immutable');
    const part = await get({ range: 'bytes=5-9' });
    expect(part.status).toBe(206);
    expect(part.headers.get('content-range')).toBe(`bytes 5-9/${MODEL_BYTES.length}`);
    expect(await part.text()).toBe('model');
    expect(await (await get({ range: 'bytes=-3' })).text()).toBe(
      MODEL_BYTES.subarray(-3).toString(),
    );
    expect((await get({ range: 'bytes=99999999-' })).status).toBe(416);
    expect((await get({ range: 'bytes=0-4', 'if-range': '"other"' })).status).toBe(200);
    expect((await get({ 'if-none-match': whole.headers.get('etag')! })).status).toBe(304);
    expect((await app.request(`/v1/blobs/${'0'.repeat(64)}`)).status).toBe(404);
  });

  test('of the model are listed with their pieces', async () => {
    const { app } = await scene();
    const model = (await (await app.request('/v1/model')).json()) as {
      files: { digest: string; chunks: { sha256: string[] } }[];
    };
    expect(model).toMatchObject({ name: 'tiny', format: 'gguf', digest });
    expect(model.files[0]!.chunks.sha256).toHaveLength(2);
  });
});

describe('the limits', () => {
  test('are those of each network behind a proxy on this machine, and leave files alone', async () => {
    const { app } = await scene();
    const proxy = { incoming: { socket: { remoteAddress: '127.0.0.1' } } };
    const get = async (path: string, address: string) => {
      const headers = { 'x-forwarded-for': `198.51.100.9, ${address}` };
      return (await app.request(path, { headers }, proxy)).status;
    };
    let status = 200;
    for (let i = 0; i < 2000 && status === 200; i++) status = await get('/v1/root', '192.0.2.1');
    expect(status).toBe(429);
    expect(await get('/v1/root', '192.0.2.2')).toBe(200);
    expect(await get(`/v1/blobs/${digest}`, '192.0.2.1')).toBe(200);
  });
});

describe('every answer', () => {
  test('isolates the page and lets it talk to nobody else', async () => {
    const { app } = await scene();
    const { headers } = await app.request('/livez');
    expect(headers.get('cross-origin-opener-policy')).toBe('same-origin');
    expect(headers.get('cross-origin-embedder-policy')).toBe('require-corp');
    expect(headers.get('content-security-policy')).toMatch(
      /default-src 'none'.*connect-src 'self'/,
    );
    expect(headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
  });

  test('that says no has a code, a message and a remedy', async () => {
    const { app, post } = await scene();
    for (const response of [
      await app.request('/v1/nothing'),
      await app.request(`/v1/releases/${'0'.repeat(64)}`),
      await post('/v1/devices', '{"invite":'),
      await post('/v1/devices', { invite: 5 }),
    ]) {
      expect(response.status).toBeGreaterThanOrEqual(400);
      expect(await response.json()).toEqual({
        code: expect.stringMatching(/^\w+\/[\w-]+$/),
        message: expect.any(String),
        remedy: expect.any(String),
      });
    }
  });

  test('is logged without what was said', async () => {
    const { enrol, send, log } = await scene();
    const { token } = await enrol();
    await send(token, [aVote(1, { release: 'secretword' })]);
    expect(log.at(-1)).toMatchObject({ method: 'POST', path: '/v1/events', status: 200 });
    expect(JSON.stringify(log)).not.toMatch(/secretword|Hello|Bearer/);
    expect(JSON.stringify(log)).not.toContain(token);
  });

  test('of a broken store is a request id and nothing of the inside', async () => {
    const { app, db, log } = await scene();
    await db.destroy();
    const response = await app.request('/readyz');
    expect(response.status).toBe(500);
    expect(await response.json()).toMatchObject({ code: 'server/failed' });
    expect(log.at(-1)).toMatchObject({ level: 'error', status: 500 });
  });
});
