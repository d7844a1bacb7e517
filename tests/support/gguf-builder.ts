// Writes small GGUF files for tests, right ones and wrong ones.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

/** A value with the type it is written as. */
export type GgufEntry =
  | { readonly u32: number }
  | { readonly f32: number }
  | { readonly text: string }
  | { readonly flag: boolean }
  | { readonly texts: readonly string[] }
  | { readonly i32s: readonly number[] }
  | { readonly u8s: Uint8Array };

export interface GgufTensorEntry {
  readonly name: string;
  /** Rows first; written in the file's order. */
  readonly shape: readonly number[];
  /** ggml type: 0 is F32. */
  readonly type: number;
  readonly bytes: Uint8Array;
}

/** The bytes of a GGUF file, and where its parts begin. */
export interface BuiltGguf {
  readonly bytes: Uint8Array;
  readonly metadataAt: number;
  readonly tensorsAt: number;
  readonly dataAt: number;
}

export function buildGguf(
  metadata: Iterable<readonly [string, GgufEntry]>,
  tensors: readonly GgufTensorEntry[],
): BuiltGguf {
  const entries = [...metadata];
  const out = new Writer();
  out.raw(new TextEncoder().encode('GGUF'));
  out.u32(3);
  out.u64(tensors.length);
  out.u64(entries.length);
  const metadataAt = out.length;
  for (const [key, entry] of entries) writeEntry(out, key, entry);
  const tensorsAt = out.length;
  let offset = 0;
  for (const { name, shape, type, bytes } of tensors) {
    out.text(name);
    out.u32(shape.length);
    for (const size of [...shape].reverse()) out.u64(size);
    out.u32(type);
    out.u64(offset);
    offset = align(offset + bytes.length);
  }
  out.padTo(align(out.length));
  const dataAt = out.length;
  for (const { bytes } of tensors) {
    out.raw(bytes);
    out.padTo(align(out.length));
  }
  return { bytes: out.bytes(), metadataAt, tensorsAt, dataAt };
}

const align = (at: number) => Math.ceil(at / 32) * 32;

function writeEntry(out: Writer, key: string, entry: GgufEntry): void {
  out.text(key);
  if ('u32' in entry) {
    out.u32(4);
    out.u32(entry.u32);
  } else if ('f32' in entry) {
    out.u32(6);
    out.f32(entry.f32);
  } else if ('text' in entry) {
    out.u32(8);
    out.text(entry.text);
  } else if ('flag' in entry) {
    out.u32(7);
    out.raw(Uint8Array.of(entry.flag ? 1 : 0));
  } else if ('texts' in entry) {
    out.u32(9);
    out.u32(8);
    out.u64(entry.texts.length);
    for (const text of entry.texts) out.text(text);
  } else if ('u8s' in entry) {
    out.u32(9);
    out.u32(0);
    out.u64(entry.u8s.length);
    out.raw(entry.u8s);
  } else {
    out.u32(9);
    out.u32(5);
    out.u64(entry.i32s.length);
    for (const value of entry.i32s) out.u32(value >>> 0);
  }
}

class Writer {
  readonly #parts: Uint8Array[] = [];
  length = 0;

  raw(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.length += bytes.length;
  }

  u32(value: number): void {
    this.raw(new Uint8Array(Uint32Array.of(value).buffer));
  }

  f32(value: number): void {
    this.raw(new Uint8Array(Float32Array.of(value).buffer));
  }

  u64(value: number): void {
    this.raw(new Uint8Array(BigUint64Array.of(BigInt(value)).buffer));
  }

  text(value: string): void {
    const bytes = new TextEncoder().encode(value);
    this.u64(bytes.length);
    this.raw(bytes);
  }

  padTo(length: number): void {
    this.raw(new Uint8Array(length - this.length));
  }

  bytes(): Uint8Array {
    const all = new Uint8Array(this.length);
    let at = 0;
    for (const part of this.#parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }
}
