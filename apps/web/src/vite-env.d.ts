/// <reference types="vite/client" />
/// <reference types="svelte" />

/** Where the compiled WASM kernels of @rapport/core are served (apps/web/vite.ts). */
declare module 'virtual:kernels' {
  export const plain: string;
  export const relaxed: string;
}
