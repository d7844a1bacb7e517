// The door of @rapport/core: how a model is described, loaded and spoken with.

// Errors with a remedy.
export { RapportError, assert } from './error.ts';
