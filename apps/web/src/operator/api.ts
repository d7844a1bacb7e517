// The console's way to the server: calls typed by the server's own routes, errors with their remedy.
import { hc, type InferResponseType } from 'hono/client';
import { RapportError } from '@rapport/core';
import type { AppType } from '../../../server/app.ts';

/** Every path of the operator API. */
export const api = hc<AppType>('/').v1.operator;

export type VoteRow = InferResponseType<typeof api.votes.$get>[number];
export type DatasetRow = InferResponseType<typeof api.datasets.$get>[number];
export type RunRow = InferResponseType<typeof api.runs.$get>[number];
export type ReleaseRow = InferResponseType<typeof api.releases.$get>[number];
export type DeviceRow = InferResponseType<typeof api.devices.$get>[number];

/** One line of a trainer's progress: a stage, a step, and whatever numbers it reports. */
export interface ProgressRecord {
  stage?: string;
  step?: number;
  [metric: string]: unknown;
}

/** The second argument of a call that sends a JSON body. */
export const sending = (body: object) => ({
  init: { body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } },
});

interface Answered<T> {
  ok: boolean;
  status: number;
  json(): Promise<T>;
}

/** What the server answered; throws what it says is wrong, with its remedy. */
export async function answerOf<T>(asked: Promise<Answered<T>>): Promise<T> {
  const response = await asked;
  if (response.ok) return response.json();
  const said = (await response.json().catch(() => ({}))) as Partial<RapportError>;
  throw new RapportError(
    said.code ?? 'operator/refused',
    said.message ?? `The server answered ${response.status}.`,
    said.remedy ?? 'Look at the log of the server.',
  );
}
