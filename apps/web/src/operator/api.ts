// The console's way to the server: typed calls, errors with their remedy.
import { RapportError } from '@rapport/core';

export interface Overview {
  votes: number;
  rankings: number;
  devices: number;
  unusedVotes: number;
  stable: string;
  candidate: { release: string; percent: number } | null;
  model: string;
}

export interface VoteRow {
  id: string;
  type: string;
  receivedAt: number;
  device: string;
  release: string;
  summary: string;
}

export interface DatasetRow {
  id: string;
  digest: string;
  votes: number;
  rankings: number;
  devices: number;
  createdAt: number;
}

export interface RunRow {
  id: string;
  method: string;
  status: string;
  dataset: string;
  release: string | null;
  createdAt: number;
  error: string | null;
}

export interface GateCheck {
  name: string;
  passed: boolean;
  detail: string;
}

export interface RunDetail extends RunRow {
  gate: { passed: boolean; checks: GateCheck[] } | null;
  evaluation: Record<string, unknown> | null;
}

/** One line of a trainer's progress: a stage, a step, and whatever numbers it reports. */
export interface ProgressRecord {
  stage?: string;
  step?: number;
  [metric: string]: unknown;
}

export interface ReleaseRow {
  id: string;
  state: string;
  createdAt: number;
  votes: number | null;
}

export interface DeviceRow {
  id: string;
  enrolledAt: number;
  lastSeenAt: number | null;
  events: number;
  revoked: boolean;
}

/** Calls one path of the operator API; throws what the server says, with its remedy. */
export async function call<T>(
  method: 'GET' | 'POST' | 'DELETE',
  path: string,
  body?: unknown,
): Promise<T> {
  const response = await fetch(`/v1/operator${path}`, {
    method,
    headers: { 'Content-Type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const answer: unknown = await response.json().catch(() => null);
  if (response.ok) return answer as T;
  const { code, message, remedy } = (answer ?? {}) as Partial<RapportError>;
  throw new RapportError(
    code ?? 'operator/refused',
    message ?? `The server answered ${response.status}.`,
    remedy ?? 'Look at the log of the server.',
  );
}
