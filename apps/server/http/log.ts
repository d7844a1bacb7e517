// One JSON line per request: what was asked and how it went, never what was said.
import { randomUUID } from 'node:crypto';
import type { MiddlewareHandler } from 'hono';

export type Log = (line: Record<string, unknown>) => void;

/** Writes lines to standard error: standard output belongs to `ready …`. */
export const logToStderr: Log = (line) => {
  process.stderr.write(`${JSON.stringify({ at: new Date().toISOString(), ...line })}\n`);
};

/** Gives each request an id and logs its end. */
export function logRequests(log: Log): MiddlewareHandler<{ Variables: { requestId: string } }> {
  return async (c, next) => {
    const requestId = randomUUID();
    c.set('requestId', requestId);
    const begin = performance.now();
    await next();
    c.header('X-Request-Id', requestId);
    log({
      level: c.res.status >= 500 ? 'error' : 'info',
      requestId,
      method: c.req.method,
      path: c.req.path,
      status: c.res.status,
      ms: Math.round(performance.now() - begin),
      ...(c.error && c.res.status >= 500 && { error: c.error.stack ?? c.error.message }),
    });
  };
}
