// GET /v1/blobs/<sha256>: weights and adapters, by content, in ranges, cacheable for good.
import { Readable } from 'node:stream';
import { Hono } from 'hono';
import type { Context } from '../context.ts';
import { notFound, Refusal } from '../http/answer.ts';
import { readBlob } from '../store/blobs.ts';

export function blobRoutes({ blobs }: Context) {
  return new Hono().get('/:digest{[0-9a-f]{64}}', async (c) => {
    const digest = c.req.param('digest');
    const blob = await blobs.find(digest);
    if (!blob) throw notFound(`file ${digest}`);
    const etag = `"${digest}"`;
    const headers = {
      ETag: etag,
      'Cache-Control': 'public, max-age=31536000, immutable',
      'Accept-Ranges': 'bytes',
      'Content-Type': 'application/octet-stream',
    };
    if (c.req.header('if-none-match')?.includes(etag)) return c.body(null, 304, headers);
    const ifRange = c.req.header('if-range');
    const asked = !ifRange || ifRange === etag ? c.req.header('range') : undefined;
    const range = rangeOf(asked, blob.size);
    const [start, end] = range ?? [0, blob.size - 1];
    const more = range && { 'Content-Range': `bytes ${start}-${end}/${blob.size}` };
    const all = { ...headers, ...more, 'Content-Length': String(end - start + 1) };
    // GET handlers answer HEAD too; no file is opened for it.
    if (c.req.method === 'HEAD' || blob.size === 0) return c.body(null, range ? 206 : 200, all);
    const stream = Readable.toWeb(readBlob(blob, start, end)) as ReadableStream;
    return c.body(stream, range ? 206 : 200, all);
  });
}

/**
 * The bytes a Range header asks for, both ends inclusive; undefined for the whole file, which is also
 * the answer to several ranges or nonsense (RFC 9110, 14.2). Throws a 416 refusal.
 */
function rangeOf(header: string | undefined, size: number): [number, number] | undefined {
  const found = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '');
  if (!found || (found[1] === '' && found[2] === '')) return undefined;
  const [from, to] = [found[1]!, found[2]!];
  const start = from === '' ? Math.max(0, size - Number(to)) : Number(from);
  const end = from === '' || to === '' ? size - 1 : Math.min(Number(to), size - 1);
  if (start < size && start <= end) return [start, end];
  throw new Refusal(
    416,
    'request/bad-range',
    `The file has ${size} bytes.`,
    'Ask for bytes inside it.',
    { 'Content-Range': `bytes */${size}` },
  );
}
