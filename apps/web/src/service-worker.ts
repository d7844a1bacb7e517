// Keeps the application shell so that the page opens with no network. It knows nothing of models,
// conversations or the sync protocol: everything under /v1 goes straight to the server.
const worker = self as unknown as ServiceWorkerGlobalScope;

const SHELL = 'rapport-shell';
/** A network that is there but dead must not keep the page from opening. */
const ANSWER_WITHIN_MS = 4000;

worker.addEventListener('install', (event) => event.waitUntil(keepShell()));
worker.addEventListener('activate', (event) => event.waitUntil(dropOldFiles()));
worker.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url);
  const ours = url.origin === location.origin && event.request.method === 'GET';
  if (!ours || url.pathname.startsWith('/v1/') || url.pathname.startsWith('/operator')) return;
  event.respondWith(event.request.mode === 'navigate' ? pageFirst() : keptFirst(event.request));
});

async function shellFiles(): Promise<string[]> {
  const response = await fetch('/shell.json', { cache: 'no-cache' });
  return [...((await response.json()) as string[]), '/icon.svg', '/manifest.webmanifest'];
}

async function keepShell(): Promise<void> {
  const cache = await caches.open(SHELL);
  const kept = new Set((await cache.keys()).map((request) => new URL(request.url).pathname));
  const hashed = (path: string) => path.startsWith('/assets/');
  const wanted = (await shellFiles()).filter((path) => !hashed(path) || !kept.has(path));
  await cache.addAll(wanted.map((path) => new Request(path, { cache: 'no-cache' })));
  await worker.skipWaiting();
}

async function dropOldFiles(): Promise<void> {
  const [cache, files] = await Promise.all([caches.open(SHELL), shellFiles()]);
  const wanted = new Set(files);
  for (const request of await cache.keys()) {
    if (!wanted.has(new URL(request.url).pathname)) await cache.delete(request);
  }
  await worker.clients.claim();
}

/**
 * The newest page when the server answers soon, the kept one when it does not. That one is kept with the files it
 * needs, and replaced with them when this worker is installed anew.
 */
async function pageFirst(): Promise<Response> {
  const cache = await caches.open(SHELL);
  const kept = await cache.match('/');
  const signal = kept ? AbortSignal.timeout(ANSWER_WITHIN_MS) : null;
  try {
    const response = await fetch('/', { cache: 'no-cache', signal });
    if (response.ok && !kept) await cache.put('/', response.clone());
    return response.ok ? response : (kept ?? response);
  } catch {
    return kept ?? Response.error();
  }
}

async function keptFirst(request: Request): Promise<Response> {
  const cache = await caches.open(SHELL);
  const kept = await cache.match(request, { ignoreSearch: true });
  if (kept) return kept;
  const response = await fetch(request);
  const isAsset = new URL(request.url).pathname.startsWith('/assets/');
  if (response.ok && response.status === 200 && isAsset) await cache.put(request, response.clone());
  return response;
}
