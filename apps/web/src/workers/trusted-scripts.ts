// The one Trusted Types policy of ours: script URLs of our own origin pass, all others stay refused.
// Workers and the service worker are started by URL, which `require-trusted-types-for` guards.
import { RapportError } from '@rapport/core';

interface PolicyFactory {
  readonly defaultPolicy: unknown;
  createPolicy(name: string, rules: { createScriptURL(url: string): string }): unknown;
}

/** Call once per realm (page, worker) before the first `new Worker`. Does nothing without Trusted Types. */
export function allowOwnScripts(): void {
  const factory = (globalThis as { trustedTypes?: PolicyFactory }).trustedTypes;
  if (!factory || factory.defaultPolicy) return;
  factory.createPolicy('default', { createScriptURL: ownScript });
}

function ownScript(url: string): string {
  if (new URL(url, location.href).origin === location.origin) return url;
  throw new RapportError(
    'workers/foreign-script',
    `Refused to run a script from ${url}: only ${location.origin} may.`,
    'Serve the file from the same server as the page.',
  );
}
