// GPT-2's byte-level alphabet: each byte is one printable letter, so that BPE can work on text.
// https://github.com/openai/gpt-2/blob/master/src/encoder.py (bytes_to_unicode)

const byteOfLetter = new Map<string, number>();
for (let byte = 0, next = 256; byte < 256; byte++) {
  const printable = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  byteOfLetter.set(String.fromCodePoint(printable ? byte : next++), byte);
}

const utf8 = new TextEncoder();

/** The bytes a token of the vocabulary stands for. Letters outside the alphabet are themselves. */
export function bytesOfToken(token: string): Uint8Array {
  const bytes: number[] = [];
  for (const letter of token) {
    const byte = byteOfLetter.get(letter);
    if (byte === undefined) bytes.push(...utf8.encode(letter));
    else bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

/** UTF-8 to text in pieces: holds back the bytes of a character until it is whole. */
export class ByteDecoder {
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });

  push(bytes: Uint8Array): string {
    return this.#decoder.decode(bytes, { stream: true });
  }

  flush(): string {
    return this.#decoder.decode();
  }
}
