import { expect, test } from 'vitest';
import { sha256Hex } from '@rapport/core';
import { finish } from '../workers/channel.ts';
import type { FetchProgress, ModelFile } from '../workers/inference.ts';
import { download, type Part, type Surroundings } from './download.ts';

const CHUNK = 100;
const bytes = Uint8Array.from({ length: 950 }, (_, i) => (i * 37) % 251);

async function manifest(): Promise<ModelFile> {
  const sha256 = [];
  for (let at = 0; at < bytes.length; at += CHUNK) {
    sha256.push(await sha256Hex(bytes.subarray(at, at + CHUNK)));
  }
  const chunks = { size: CHUNK, sha256 };
  return { name: 'tiny.gguf', digest: await sha256Hex(bytes), sizeBytes: bytes.length, chunks };
}

class MemoryPart implements Part {
  held: Uint8Array;
  finished = false;
  closed = false;
  constructor(held = new Uint8Array()) {
    this.held = held;
  }
  sizeBytes = () => this.held.length;
  read = (offset: number, length: number) => this.held.slice(offset, offset + length);
  append = (chunk: Uint8Array) => void (this.held = Uint8Array.from([...this.held, ...chunk]));
  truncate = (size: number) => void (this.held = this.held.slice(0, size));
  close = () => void (this.closed = true);
  finish = async () => void (this.finished = true);
}

/** A server of `bytes` with Range, whose answers can be spoiled one after the other. */
function server(spoil: (slice: Uint8Array, request: number) => Uint8Array | Response = (s) => s) {
  const ranges: (string | null)[] = [];
  const fetch = async (_url: unknown, init?: RequestInit) => {
    const range = new Headers(init?.headers).get('range');
    ranges.push(range);
    const from = Number(range?.match(/^bytes=(\d+)-$/)?.[1] ?? 0);
    const body = spoil(bytes.slice(from), ranges.length);
    if (body instanceof Response) return body;
    return new Response(body as BodyInit, { status: range ? 206 : 200 });
  };
  const around: Surroundings = { fetch: fetch as never, wait: async () => {}, random: () => 1 };
  return { around, ranges };
}

const never = () => new AbortController().signal;

test('a file arrives whole, verified, with its progress', async () => {
  const part = new MemoryPart();
  const { around } = server();
  const seen: FetchProgress[] = [];
  await finish(download(await manifest(), '/blob', part, around, never()), (p) => seen.push(p));
  expect(part.held).toEqual(bytes);
  expect(part.finished).toBe(true);
  expect(seen.at(-1)).toEqual({ receivedBytes: 950, totalBytes: 950, freshBytes: 950 });
});

test('a download goes on after a reload from its last whole chunk', async () => {
  const part = new MemoryPart(bytes.slice(0, 430));
  const { around, ranges } = server();
  await finish(download(await manifest(), '/blob', part, around, never()));
  expect(ranges).toEqual(['bytes=400-']);
  expect(part.held).toEqual(bytes);
});

test('bytes torn by a crash are found and fetched again', async () => {
  const torn = bytes.slice(0, 500);
  torn[250]! ^= 1;
  const { around, ranges } = server();
  const part = new MemoryPart(torn);
  await finish(download(await manifest(), '/blob', part, around, never()));
  expect(ranges).toEqual(['bytes=200-']);
  expect(part.held).toEqual(bytes);
});

test('a connection that breaks is taken up again where it broke', async () => {
  const { around, ranges } = server((slice, n) => (n < 3 ? slice.slice(0, 250) : slice));
  const part = new MemoryPart();
  await finish(download(await manifest(), '/blob', part, around, never()));
  expect(ranges).toEqual([null, 'bytes=200-', 'bytes=400-']);
  expect(part.held).toEqual(bytes);
});

test('a chunk damaged on the way is never kept', async () => {
  const { around } = server((slice, n) => {
    const copy = slice.slice();
    if (n === 1) copy[120]! ^= 4;
    return copy;
  });
  const part = new MemoryPart();
  await finish(download(await manifest(), '/blob', part, around, never()));
  expect(part.held).toEqual(bytes);
});

test('a server with wrong bytes ends in an error that names them, and keeps what was right', async () => {
  const { around } = server((slice) => slice.map((byte) => byte ^ 1));
  const part = new MemoryPart(bytes.slice(0, 300));
  await expect(
    finish(download(await manifest(), '/blob', part, around, never())),
  ).rejects.toMatchObject({ code: 'model/wrong-bytes' });
  expect(part.sizeBytes()).toBe(300);
  expect(part.finished).toBe(false);
  expect(part.closed).toBe(true);
});

test('without chunk hashes the whole file is verified', async () => {
  const { chunks: _, ...file } = await manifest();
  const part = new MemoryPart();
  const { around } = server((slice) => slice.map((byte) => byte ^ 1));
  await expect(finish(download(file, '/blob', part, around, never()))).rejects.toMatchObject({
    code: 'model/wrong-bytes',
  });
  expect(part.finished).toBe(false);
});

test('a server that ignores Range still resumes', async () => {
  const { around } = server(() => new Response(bytes as BodyInit, { status: 200 }));
  const part = new MemoryPart(bytes.slice(0, 400));
  await finish(download(await manifest(), '/blob', part, around, never()));
  expect(part.held).toEqual(bytes);
});

test('a refusal is said at once', async () => {
  const { around, ranges } = server(() => new Response('no', { status: 404 }));
  await expect(
    finish(download(await manifest(), '/blob', new MemoryPart(), around, never())),
  ).rejects.toMatchObject({ code: 'model/refused' });
  expect(ranges.length).toBe(1);
});
