// The built client, from one folder, with the caching each kind of file bears.
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { extname, join, normalize, sep } from 'node:path';
import { Readable } from 'node:stream';
import { Hono } from 'hono';
import { notFound } from '../http/answer.ts';

const TYPES: Record<string, string> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.mjs': 'text/javascript; charset=utf-8',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
  '.webmanifest': 'application/manifest+json',
  '.woff2': 'font/woff2',
};
const PAGES: Record<string, string> = { '/': '/index.html', '/operator': '/operator.html' };

export function clientRoutes(folder: string) {
  return new Hono().get('*', async (c) => {
    const path = PAGES[c.req.path] ?? c.req.path;
    const file = normalize(join(folder, decodePath(path)));
    const inside = file.startsWith(normalize(folder) + sep) && !file.includes('\0');
    const found = inside ? await stat(file).catch(() => undefined) : undefined;
    if (!found?.isFile()) throw notFound(`page ${path}`);
    const etag = `W/"${found.size.toString(36)}-${Math.floor(found.mtimeMs).toString(36)}"`;
    const headers = {
      'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream',
      'Content-Length': String(found.size),
      'Cache-Control': path.startsWith('/assets/')
        ? 'public, max-age=31536000, immutable'
        : 'no-cache',
      ETag: etag,
    };
    if (c.req.header('if-none-match') === etag) return c.body(null, 304, { ETag: etag });
    if (c.req.method === 'HEAD') return c.body(null, 200, headers);
    return c.body(Readable.toWeb(createReadStream(file)) as ReadableStream, 200, headers);
  });
}

function decodePath(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    throw notFound(`page ${path}`);
  }
}
