// What a person's judgement looks like on its way to the server: one schema for page and server.
// It knows nothing of storage, consent dialogs or HTTP.
import * as v from 'valibot';

/** Upper bounds of everything a client may send. */
export const FEEDBACK_LIMITS = {
  eventsPerBatch: 500,
  batchBytes: 1 << 20,
  depth: 12,
  textLength: 64_000,
  messages: 200,
  tokens: 16_384,
  replies: 9,
  reasons: 20,
} as const;

/** The newest event version this code understands; a newer one is deferred, never refused. */
export const FEEDBACK_VERSION = 1;

const text = (most: number) => v.pipe(v.string(), v.maxLength(most));
const between = (low: number, high: number) =>
  v.pipe(v.number(), v.finite(), v.minValue(low), v.maxValue(high));
const whole = (low: number, high: number) =>
  v.pipe(v.number(), v.safeInteger(), v.minValue(low), v.maxValue(high));

/** A UUID; clients make version 7, the server relies on nothing but its being unique. */
export const EventIdSchema = v.pipe(
  v.string(),
  v.regex(/^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/),
);

/** `base`, or the id of a release. */
const ReleaseNameSchema = v.pipe(v.string(), v.regex(/^[\w.:-]{1,128}$/));

const ChatMessageSchema = v.object({
  role: v.picklist(['system', 'user', 'assistant']),
  content: text(FEEDBACK_LIMITS.textLength),
});

const PromptSchema = v.pipe(
  v.array(ChatMessageSchema),
  v.minLength(1),
  v.maxLength(FEEDBACK_LIMITS.messages),
);

const SamplingSchema = v.object({
  temperature: between(0, 100),
  topK: whole(0, 10_000_000),
  topP: between(0, 1),
  minP: between(0, 1),
  repetitionPenalty: between(0, 100),
  maxTokens: whole(1, 1_000_000),
});

/**
 * Who spoke a reply and how. `tokens` are the ids of the reply and `logprobs` the natural-log
 * probabilities they were sampled with, one each; both are empty when the text was redacted.
 */
export const ProvenanceSchema = v.pipe(
  v.object({
    release: ReleaseNameSchema,
    adapter: v.nullable(ReleaseNameSchema),
    sampling: SamplingSchema,
    seed: v.pipe(v.number(), v.safeInteger()),
    tokens: v.pipe(v.array(whole(0, 10_000_000)), v.maxLength(FEEDBACK_LIMITS.tokens)),
    logprobs: v.pipe(v.array(between(-1e6, 1e-3)), v.maxLength(FEEDBACK_LIMITS.tokens)),
  }),
  v.check(({ tokens, logprobs }) => tokens.length === logprobs.length, 'one log-prob per token'),
);

const ReplySchema = v.object({
  text: text(FEEDBACK_LIMITS.textLength),
  provenance: ProvenanceSchema,
});

/** One thumb on one reply. */
export const VoteSchema = v.object({
  prompt: PromptSchema,
  reply: ReplySchema,
  value: v.picklist([1, -1]),
  reasons: v.optional(v.pipe(v.array(text(200)), v.maxLength(FEEDBACK_LIMITS.reasons))),
  comment: v.optional(text(8_000)),
});

/** Alternates of one prompt in order: `ranks[i]` belongs to `replies[i]`, 1 is best, ties share. */
export const RankingSchema = v.pipe(
  v.object({
    prompt: PromptSchema,
    replies: v.pipe(v.array(ReplySchema), v.minLength(2), v.maxLength(FEEDBACK_LIMITS.replies)),
    ranks: v.pipe(
      v.array(whole(1, FEEDBACK_LIMITS.replies)),
      v.minLength(2),
      v.maxLength(FEEDBACK_LIMITS.replies),
    ),
  }),
  v.check(({ replies, ranks }) => replies.length === ranks.length, 'one rank per reply'),
  v.check(({ ranks }) => ranks.every((rank) => rank <= ranks.length), 'ranks from 1 to the count'),
);

/** What the person would rather have read. */
const EditSchema = v.object({
  prompt: PromptSchema,
  reply: ReplySchema,
  text: text(FEEDBACK_LIMITS.textLength),
});

/** Which events to forget; one alone may be named by the envelope's `supersedes` instead. */
const EraseSchema = v.object({
  id: v.optional(EventIdSchema),
  ids: v.optional(v.pipe(v.array(EventIdSchema), v.maxLength(FEEDBACK_LIMITS.eventsPerBatch))),
});

const ReleaseReportSchema = v.object({ reason: text(4_000) });

const BODIES = {
  vote: VoteSchema,
  ranking: RankingSchema,
  edit: EditSchema,
  erase: EraseSchema,
  release_report: ReleaseReportSchema,
} as const;

/** What an event may be about. */
export type EventType = keyof typeof BODIES;
export type Provenance = v.InferOutput<typeof ProvenanceSchema>;
export type RatedReply = v.InferOutput<typeof ReplySchema>;
export type Vote = v.InferOutput<typeof VoteSchema>;
export type Ranking = v.InferOutput<typeof RankingSchema>;
export type Edit = v.InferOutput<typeof EditSchema>;

const envelope = {
  id: EventIdSchema,
  v: whole(1, FEEDBACK_VERSION),
  /** When the person judged, by their clock: shown, never trusted. */
  at: v.union([between(0, 1e15), text(40)]),
  release: ReleaseNameSchema,
  supersedes: v.optional(EventIdSchema),
  /** True, or the name of what was agreed to. */
  consent: v.union([v.boolean(), text(64)]),
};

const eventOf = <T extends EventType>(type: T) =>
  v.object({ ...envelope, type: v.literal(type), body: BODIES[type] });

/** One event of any type. */
export const FeedbackEventSchema = v.variant('type', [
  eventOf('vote'),
  eventOf('ranking'),
  eventOf('edit'),
  eventOf('erase'),
  eventOf('release_report'),
]);
export type FeedbackEvent = v.InferOutput<typeof FeedbackEventSchema>;

/** Erasing needs none: it only ever makes the server know less. */
const needsConsent = (type: string) => type !== 'erase';

/** What became of one event of a batch. */
export interface EventResult {
  id: string | null;
  status: 'accepted' | 'duplicate' | 'tombstoned' | 'rejected' | 'deferred';
  code?: string;
}

/** The answer to a batch, one result per event in the same order. */
export interface BatchAnswer {
  results: EventResult[];
  minIntervalMs: number;
}

/** An event understood, or the result that answers it instead. */
export type ReadEvent = { event: FeedbackEvent } | { result: EventResult };

/**
 * Reads one event of a batch, whatever it is. Never throws: a newer client's event is `deferred`,
 * a bad one `rejected` with `too_deep`, `bad_id`, `unknown_type`, `no_consent`, or `invalid:<path>`.
 */
export function readEvent(raw: unknown): ReadEvent {
  if (depthOf(raw, FEEDBACK_LIMITS.depth) > FEEDBACK_LIMITS.depth)
    return refuse(idIn(raw), 'too_deep');
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) return refuse(null, 'invalid');
  const { type, v: version, consent } = raw as Record<string, unknown>;
  const id = idIn(raw);
  if (id === null || !v.is(EventIdSchema, id)) return refuse(id, 'bad_id');
  if (typeof version === 'number' && version > FEEDBACK_VERSION)
    return { result: { id, status: 'deferred', code: 'newer_client' } };
  if (typeof type !== 'string' || !Object.hasOwn(BODIES, type)) return refuse(id, 'unknown_type');
  if (needsConsent(type) && (consent === false || consent === undefined || consent === ''))
    return refuse(id, 'no_consent');
  const parsed = v.safeParse(FeedbackEventSchema, raw, { abortEarly: true });
  if (parsed.success) return { event: parsed.output };
  return refuse(id, `invalid:${v.getDotPath(parsed.issues[0]) ?? 'event'}`.slice(0, 120));
}

const refuse = (id: string | null, code: string): ReadEvent => ({
  result: { id, status: 'rejected', code },
});

function idIn(raw: unknown): string | null {
  const id = (raw as { id?: unknown } | null)?.id;
  return typeof id === 'string' ? id.slice(0, 64) : null;
}

/** How deep `value` nests, counted no further than one past `most`: safe for hostile input. */
export function depthOf(value: unknown, most: number): number {
  let level: unknown[] = [value];
  for (let depth = 0; ; depth++) {
    const next = level.flatMap((item) =>
      typeof item === 'object' && item !== null ? Object.values(item) : [],
    );
    if (next.length === 0 || depth > most) return depth;
    level = next;
  }
}
