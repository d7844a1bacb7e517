// The tables, as Kysely sees them. Times are milliseconds since 1970 by the server's clock.
import type { Generated } from 'kysely';

export interface Tables {
  devices: DeviceTable;
  events: EventTable;
  tombstones: { device: string; id: string; erased_at: number };
  receipts: ReceiptTable;
  datasets: DatasetTable;
  runs: RunTable;
  releases: ReleaseTable;
  learned: { release: string; device: string; judgements: number };
  channels: { version: number; envelope: string; reason: string; created_at: number };
  roots: { version: number; envelope: string };
  blobs: BlobTable;
  bases: { digest: string; manifest: string };
  settings: { key: string; value: string };
  sessions: { token_hash: string; expires_at: number };
  audit: { id: Generated<number>; at: number; actor: string; action: string; detail: string };
}

export interface DeviceTable {
  id: string;
  /** sha256 of the token; null for devices known from an import only. */
  token_hash: string | null;
  enrolled_at: number;
  last_seen_at: number | null;
  revoked_at: number | null;
}

export interface EventTable {
  device: string;
  id: string;
  type: string;
  at: string;
  received_at: number;
  release: string;
  supersedes: string | null;
  /** The newer event that corrects this one. */
  superseded_by: string | null;
  consent: string;
  /** sha256 of everything the client said: tells a repeat from a reused id. */
  hash: string;
  body: string;
  /** The dataset that took it; rows are marked, never skipped by a cursor. */
  snapshot_id: string | null;
}

export interface ReceiptTable {
  id: string;
  device: string;
  events: number;
  datasets: string;
  releases: string;
  erased_at: number;
}

export interface DatasetTable {
  id: string;
  digest: string;
  votes: number;
  rankings: number;
  edits: number;
  devices: number;
  created_at: number;
  /** When something it held was last erased. */
  flagged_at: number | null;
}

export type RunStatus = 'queued' | 'running' | 'done' | 'failed' | 'cancelled';

export interface RunTable {
  id: string;
  method: string;
  config: string;
  dataset: string;
  publish: string;
  status: RunStatus;
  /** Only the newest attempt may publish. */
  attempt: number;
  owner_pid: number | null;
  /** When its owner last said that it works on it. */
  alive_at: number | null;
  release: string | null;
  gate: string | null;
  evaluation: string | null;
  /** Why its release was not published although it passed its gate. */
  held: string | null;
  error: string | null;
  created_at: number;
  finished_at: number | null;
}

export interface ReleaseTable {
  id: string;
  envelope: string;
  run: string | null;
  dataset: string | null;
  created_at: number;
  /** It learned from something that was erased since. */
  flagged_at: number | null;
}

export interface BlobTable {
  digest: string;
  /** Where the bytes lie; null for the blob folder. */
  path: string | null;
  size: number;
  /** When the file at `path` was last written, as it was hashed; null when that is not known. */
  modified_at: number | null;
  chunks: string;
}
