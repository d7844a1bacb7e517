// The three signed documents: a release (what a version is), the channel (who gets which), the root
// (whose signatures count). Shapes only; the rules are in rules.ts.
import * as v from 'valibot';

const Sha256Schema = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const size = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const timeMs = v.pipe(v.number(), v.finite(), v.minValue(0));
const version = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const name = v.pipe(v.string(), v.maxLength(300));

/** sha256 of each piece of `size` bytes, so that a bad byte is found when it arrives. */
const ChunksSchema = v.object({
  size: v.pipe(size, v.minValue(1)),
  sha256: v.pipe(v.array(Sha256Schema), v.maxLength(100_000)),
});

/** One file by digest, as `GET /v1/blobs/<digest>` gives it. */
export const FileSchema = v.pipe(
  v.object({ name, digest: Sha256Schema, sizeBytes: size, chunks: ChunksSchema }),
  v.check(
    ({ sizeBytes, chunks }) => chunks.sha256.length === Math.ceil(sizeBytes / chunks.size),
    'as many chunk hashes as chunks',
  ),
);

/** A base model: its files, and the digest that names them together. */
export const BaseSchema = v.object({
  name,
  license: v.optional(name),
  format: v.picklist(['gguf', 'safetensors']),
  digest: Sha256Schema,
  files: v.pipe(v.array(FileSchema), v.minLength(1), v.maxLength(64)),
});

/** A prompt and the likeliest next tokens a right load must give, log-probs within `tolerance`. */
const GoldenSchema = v.object({
  promptTokens: v.pipe(v.array(size), v.minLength(1), v.maxLength(4096)),
  top5: v.pipe(
    v.array(v.object({ id: size, logprob: v.pipe(v.number(), v.finite()) })),
    v.minLength(1),
    v.maxLength(5),
  ),
  tolerance: v.pipe(v.number(), v.finite(), v.minValue(0)),
});

/** A version: immutable, named by the sha256 of its canonical JSON. */
export const ReleaseSchema = v.object({
  base: BaseSchema,
  adapter: v.optional(
    v.object({
      digest: Sha256Schema,
      size,
      rank: v.pipe(size, v.minValue(1), v.maxValue(4096)),
      alpha: v.pipe(v.number(), v.finite()),
      targets: v.pipe(v.array(name), v.minLength(1), v.maxLength(4096)),
    }),
  ),
  tokenizer: v.object({ digest: Sha256Schema }),
  /** Of the adapter's file, or without one of the base's first file. */
  chunks: ChunksSchema,
  golden: v.optional(GoldenSchema),
  evaluation: v.record(name, v.unknown()),
  dataset: v.object({ digest: v.nullable(Sha256Schema), count: size, devices: size }),
  parents: v.pipe(v.array(Sha256Schema), v.maxLength(16)),
});

/** Who gets which release; times in milliseconds since 1970. `stable` is a release id or `base`. */
export const ChannelSchema = v.object({
  name,
  version,
  issued: timeMs,
  expires: timeMs,
  stable: v.union([v.literal('base'), Sha256Schema]),
  candidate: v.optional(
    v.object({
      release: Sha256Schema,
      percent: v.pipe(v.number(), v.minValue(0), v.maxValue(100)),
      salt: v.pipe(v.string(), v.maxLength(64)),
    }),
  ),
  blocked: v.pipe(v.array(Sha256Schema), v.maxLength(10_000)),
  /** While true nobody changes release, but blocked ones are left. */
  freeze: v.boolean(),
});

/** What a key may sign. */
export type Role = 'root' | 'release' | 'channel';
const RoleSchema = v.object({
  keys: v.pipe(v.array(Sha256Schema), v.minLength(1), v.maxLength(16)),
  threshold: v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(16)),
});

/** Whose signatures count. `keys` maps a key's id (sha256 of its bytes) to its 32 bytes in hex. */
export const RootSchema = v.object({
  version,
  keys: v.record(Sha256Schema, Sha256Schema),
  roles: v.object({ root: RoleSchema, release: RoleSchema, channel: RoleSchema }),
  expires: timeMs,
});

/** A document and who signed its canonical JSON; signatures in hex. */
export const SignedSchema = v.object({
  signed: v.record(v.string(), v.unknown()),
  signatures: v.pipe(
    v.array(
      v.object({ key: Sha256Schema, signature: v.pipe(v.string(), v.regex(/^[0-9a-f]{128}$/)) }),
    ),
    v.maxLength(32),
  ),
});

export type BaseModel = v.InferOutput<typeof BaseSchema>;
export type BlobFile = v.InferOutput<typeof FileSchema>;
export type Chunks = v.InferOutput<typeof ChunksSchema>;
export type Golden = v.InferOutput<typeof GoldenSchema>;
export type Release = v.InferOutput<typeof ReleaseSchema>;
export type Channel = v.InferOutput<typeof ChannelSchema>;
export type Root = v.InferOutput<typeof RootSchema>;
export interface Signed<T = unknown> {
  signed: T;
  signatures: { key: string; signature: string }[];
}
