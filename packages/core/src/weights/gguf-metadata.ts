// GGUF metadata read by key and kind, so that a wrong type is an error that names its key.
import { RapportError } from '../error.ts';
import type { GgufValue } from './gguf.ts';

/** Typed access to metadata. A missing key without a fallback, or another type, is an error. */
export class GgufMetadata {
  readonly #values: ReadonlyMap<string, GgufValue>;

  constructor(values: ReadonlyMap<string, GgufValue>) {
    this.#values = values;
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  number(key: string, fallback?: number): number {
    return this.#get(key, 'a number', (v) => typeof v === 'number', fallback);
  }

  text(key: string, fallback?: string): string {
    return this.#get(key, 'text', (v) => typeof v === 'string', fallback);
  }

  texts(key: string): readonly string[] {
    return this.#get(key, 'a list of texts', listOf('string'));
  }

  numbers(key: string): readonly number[] {
    return this.#get(key, 'a list of numbers', listOf('number'));
  }

  #get<T>(key: string, kind: string, fits: (value: GgufValue) => boolean, fallback?: T): T {
    const value = this.#values.get(key);
    if (value === undefined && fallback !== undefined) return fallback;
    if (value !== undefined && fits(value)) return value as T;
    throw new RapportError(
      'weights/metadata',
      `The metadata key ${key} is ${value === undefined ? 'missing' : 'not ' + kind}.`,
      'Use a file written by a current converter.',
    );
  }
}

// Every element of a list has one type in GGUF, so the first speaks for all.
const listOf = (type: 'string' | 'number') => (value: GgufValue) =>
  Array.isArray(value) && (value.length === 0 || typeof value[0] === type);
