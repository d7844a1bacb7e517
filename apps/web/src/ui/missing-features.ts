// What this browser, or the way the page was opened, does not offer although the page needs it.

const NEEDED: Record<string, () => boolean> = {
  'https / localhost': () => isSecureContext,
  IndexedDB: () => 'indexedDB' in globalThis,
  'Web Locks': () => 'locks' in navigator,
  'Origin private file system': () => typeof navigator.storage?.getDirectory === 'function',
  WebAssembly: () => typeof WebAssembly === 'object',
};

export const missingFeatures = (): string[] =>
  Object.keys(NEEDED).filter((feature) => !NEEDED[feature]!());
