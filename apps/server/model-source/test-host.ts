// A small web host for tests, with the faults that real ones have.
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Faults {
  /** Cut every connection after so many bytes of the body. */
  breakAfterBytes?: number;
  /** Answer 503 so many times first. */
  busyAnswers?: number;
  /** False: ignore the Range header. */
  ranges?: boolean;
  /** Keep the connection open and say no more. */
  silent?: boolean;
  contentType?: string;
}

export interface TestHost {
  readonly url: string;
  /** The start each request asked for; undefined for the whole file. */
  readonly ranges: (number | undefined)[];
  readonly authorizations: (string | undefined)[];
  serve(path: string, content: Buffer | string, faults?: Faults): void;
  close(): Promise<void>;
}

export async function startHost(): Promise<TestHost> {
  const files = new Map<string, { content: Buffer; faults: Faults }>();
  const ranges: (number | undefined)[] = [];
  const authorizations: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1];
    ranges.push(range === undefined ? undefined : Number(range));
    authorizations.push(request.headers.authorization);
    const path = new URL(request.url ?? '/', 'http://host').pathname;
    const file = files.get(path);
    if (!file) return void response.writeHead(404).end('no such file');
    answer(response, file.content, file.faults, Number(range ?? 0));
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ranges,
    authorizations,
    serve: (path, content, faults = {}) => {
      files.set(path, { content: Buffer.from(content), faults: { ...faults } });
    },
    close: () =>
      new Promise((closed) => {
        server.close(() => closed());
        server.closeAllConnections();
      }),
  };
}

function answer(response: ServerResponse, content: Buffer, faults: Faults, asked: number) {
  if ((faults.busyAnswers ?? 0) > 0) {
    faults.busyAnswers = (faults.busyAnswers ?? 0) - 1;
    return void response.writeHead(503).end();
  }
  const start = faults.ranges === false ? 0 : asked;
  if (start >= content.length && start > 0)
    return void response.writeHead(416, { 'content-range': `bytes */${content.length}` }).end();
  response.writeHead(start > 0 ? 206 : 200, {
    'content-length': content.length - start,
    'content-type': faults.contentType ?? 'application/octet-stream',
    ...(start > 0
      ? { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` }
      : {}),
  });
  const end = faults.breakAfterBytes ? start + faults.breakAfterBytes : content.length;
  if (faults.silent) {
    response.flushHeaders();
    if (faults.breakAfterBytes) response.write(content.subarray(start, end));
  } else if (end >= content.length) {
    response.end(content.subarray(start));
  } else {
    // A moment, so that what was written arrives before the cut.
    response.write(content.subarray(start, end), () => setTimeout(() => response.destroy(), 20));
  }
}
