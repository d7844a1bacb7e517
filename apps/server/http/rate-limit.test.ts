import { Hono } from 'hono';
import { expect, test } from 'vitest';
import { networkOf, noteNetwork, proxiesOf } from './rate-limit.ts';

/** The network of a request that `peer` brings with an X-Forwarded-For. */
async function networkFrom(peer: string, forwarded?: string, proxies?: string) {
  const app = new Hono().use(noteNetwork(proxiesOf(proxies))).get('/', (c) => c.text(networkOf(c)));
  const headers = new Headers(forwarded === undefined ? {} : { 'x-forwarded-for': forwarded });
  const incoming = { socket: { remoteAddress: peer } };
  return (await app.request('/', { headers }, { incoming })).text();
}

test('people behind a proxy on this machine are told apart by what it saw', async () => {
  for (const peer of ['127.0.0.1', '127.8.8.8', '::1', '::ffff:127.0.0.1'])
    expect(await networkFrom(peer, '192.0.2.1')).toBe('192.0.2.1');
  expect(await networkFrom('127.0.0.1', '10.0.0.1, 192.0.2.1')).toBe('192.0.2.1');
  expect(await networkFrom('127.0.0.1', '192.0.2.1, me')).toBe('127.0.0.1');
  expect(await networkFrom('127.0.0.1')).toBe('127.0.0.1');
});

test('others are believed only when they are named as proxies', async () => {
  const proxies = '203.0.113.7, 10.1.0.0/16, 2001:db8:1::/48';
  for (const peer of ['203.0.113.7', '::ffff:10.1.2.3', '2001:db8:1::5'])
    expect(await networkFrom(peer, '192.0.2.1', proxies)).toBe('192.0.2.1');
  for (const peer of ['203.0.113.8', '10.2.0.1'])
    expect(await networkFrom(peer, '192.0.2.1', proxies)).toBe(peer);
  expect(await networkFrom('203.0.113.7', '192.0.2.1')).toBe('203.0.113.7');
});

test('what is no address is no proxy', () => {
  for (const list of ['proxy.example', '10.0.0.0/', '10.0.0.0/33', '10.0.0.1/8/8'])
    expect(() => proxiesOf(list)).toThrow(expect.objectContaining({ code: 'server/bad-proxy' }));
});

test('an IPv6 network is its first 64 bits, however they are written', async () => {
  const written = ['2001:db8:0:7:1:2:3:4', '2001:DB8:0:7::9', '2001:db8:0:7::'];
  for (const address of written) expect(await networkFrom('::1', address)).toBe('2001:db8:0:7');
  expect(await networkFrom('fe80::1%eth0')).toBe('fe80:0:0:0');
  expect(await networkFrom('2001:db8::7:1')).toBe(await networkFrom('2001:db8::8:1'));
});
