// What a loaded model is, whatever file it came from: its shape, its tensors by Hugging Face name,
// and what its tokenizer is built from. Knows no file format.
import { RapportError } from '../error.ts';
import type { TokenizerSpec } from '../tokenizer/spec.ts';
import type { ModelConfig } from './model-config.ts';

/** A tensor in the file. `shape` is Hugging Face's: rows first, linears [out, in]. */
export interface TensorInfo {
  readonly name: string;
  readonly shape: readonly number[];
  /** Storage format: `F32`, `BF16`, `Q4_1`, … */
  readonly format: string;
}

/** Quantised blocks as they stand in the file, rows in Hugging Face order. */
export interface RawTensor {
  readonly format: string;
  readonly bytes: Uint8Array;
  readonly shape: readonly number[];
  /** Gives the memory of `bytes` back; they are not read again. */
  giveUp?(): void;
}

/**
 * A checkpoint with Hugging Face tensor names and layout, whatever file it came from.
 * `tensors` holds exactly the tensors `config` calls for (see `tensorShapes`), each of that shape;
 * a tied head is not listed. GPT-2's Conv1D weights, [in, out] in its own files, are [out, in] here.
 */
export interface Checkpoint {
  readonly config: ModelConfig;
  readonly tokenizer: TokenizerSpec;
  /** sha256 of the file, lower-case hex, when the opener was told. */
  readonly digest?: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /**
   * Row-major fp32 numbers of a tensor, GGUF's Q/K row permutation undone.
   *
   * @throws RapportError `weights/no-tensor` for an unknown name, `weights/truncated` when the
   * source ends early.
   */
  read(name: string): Promise<Float32Array>;
  /** Raw blocks of a tensor for kernels that compute on them; undefined for plain floats. */
  readRaw?(name: string): Promise<RawTensor | undefined>;
}

/** What is left once the tokenizer is built: its lists are 11 MB of small strings, which a page that speaks lets go. */
export type Weights = Omit<Checkpoint, 'tokenizer'>;

/** The error for a name that is not in `tensors`. */
export function noTensor(name: string): RapportError {
  return new RapportError(
    'weights/no-tensor',
    `The checkpoint has no tensor ${name}.`,
    'Ask for one of the names in `tensors`.',
  );
}
