// What every answer carries: isolation (WASM threads need it) and a policy that lets the page talk to
// nobody but its own server.
import type { MiddlewareHandler } from 'hono';

const POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "style-src 'self'",
  "img-src 'self' data:",
  "font-src 'self'",
  "connect-src 'self'",
  "worker-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  'trusted-types default svelte-trusted-html',
].join('; ');

const ALWAYS = {
  'Content-Security-Policy': POLICY,
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
};
const A_YEAR = 'max-age=31536000; includeSubDomains';

/** Adds the headers; HSTS only where the request came through TLS. */
export const protect: MiddlewareHandler = async (c, next) => {
  await next();
  for (const [name, value] of Object.entries(ALWAYS)) c.header(name, value);
  const secure = c.req.header('x-forwarded-proto') === 'https' || c.req.url.startsWith('https:');
  if (secure) c.header('Strict-Transport-Security', A_YEAR);
};
