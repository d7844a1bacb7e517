import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { datasetRows, diffDatasets, findDataset, freezeDataset } from './datasets.ts';
import { enrol } from './devices.ts';
import { eraseDevice, readReceipt } from './erasure.ts';
import { countJudgements, takeEvents } from './events.ts';
import { anErasure, aRanking, aVote, temporaryStore } from './test-store.ts';

async function scene() {
  const db = await temporaryStore();
  const { device } = await enrol(db);
  const take = async (...events: unknown[]) =>
    (await takeEvents(db, device, events)).map(({ status, code }) => code ?? status);
  return { db, device, take };
}
const idsOf = async (db: Awaited<ReturnType<typeof temporaryStore>>) =>
  (await db.selectFrom('events').select('id').where('type', '!=', 'erase').execute())
    .map(({ id }) => id)
    .sort();

describe('taking events', () => {
  test('the same event twice is a duplicate, another under its id is refused', async () => {
    const { take } = await scene();
    const vote = aVote();
    expect(await take(vote, vote)).toEqual(['accepted', 'duplicate']);
    expect(await take({ ...vote, body: aVote(-1).body })).toEqual(['id_reuse']);
    expect(await take({ ...vote, at: 99 })).toEqual(['duplicate']);
  });

  test('what a device sends again under a new enrolment is one event, and can be taken back', async () => {
    const { db, take } = await scene();
    const [vote, corrected] = [aVote(), aVote()];
    await take(vote, corrected);
    const { device } = await enrol(db);
    const again = async (...events: unknown[]) =>
      (await takeEvents(db, device, events)).map(({ status, code }) => code ?? status);
    expect(await again(vote, { ...vote, body: aVote(-1).body })).toEqual(['duplicate', 'id_reuse']);
    expect(await countJudgements(db)).toMatchObject({ votes: 2, unused: 2 });
    const newer = aVote(-1, { supersedes: corrected.id });
    expect(await again(newer, anErasure(vote.id), vote)).toEqual([
      'accepted',
      'accepted',
      'tombstoned',
    ]);
    const { id } = await freezeDataset(db);
    expect((await datasetRows(db, id)).map((row) => row.id)).toEqual([newer.id]);
  });

  test('what an erased device sends again under a new enrolment stays erased', async () => {
    const { db, device, take } = await scene();
    const vote = aVote();
    await take(vote);
    await eraseDevice(db, device);
    const other = await enrol(db);
    expect((await takeEvents(db, other.device, [vote]))[0]!.status).toBe('tombstoned');
    expect(await idsOf(db)).toEqual([]);
  });

  test('one bad event does not block the others', async () => {
    const { take } = await scene();
    expect(await take(aVote(), 17, { ...aVote(), v: 9 }, aRanking())).toEqual([
      'accepted',
      'invalid',
      'newer_client',
      'accepted',
    ]);
  });

  test('a correction counts instead of what it corrects, in either order of arrival', async () => {
    const { db, take } = await scene();
    const old = aVote(1);
    const newer = aVote(-1, { supersedes: old.id });
    await take(newer);
    await take(old);
    expect(await countJudgements(db)).toMatchObject({ votes: 1, unused: 1 });
    const { id } = await freezeDataset(db);
    expect((await datasetRows(db, id)).map((row) => row.id)).toEqual([newer.id]);
  });
});

describe('erasing', () => {
  test('deletes the body, and a late repeat finds a tombstone', async () => {
    const { db, take } = await scene();
    const vote = aVote();
    expect(await take(vote, anErasure(vote.id), vote)).toEqual([
      'accepted',
      'accepted',
      'tombstoned',
    ]);
    expect(await idsOf(db)).toEqual([]);
  });

  test('an erasure that overtakes its event still holds', async () => {
    const { db, take } = await scene();
    const vote = aVote();
    expect(await take(anErasure(vote.id), vote)).toEqual(['accepted', 'tombstoned']);
    expect(await idsOf(db)).toEqual([]);
  });

  test('takes what it had corrected with it, however late that arrives', async () => {
    const { db, take } = await scene();
    const [first, second] = [aVote(), aVote()];
    const newer = aVote(-1, { supersedes: first.id });
    await take(first, newer, anErasure(newer.id));
    expect(await idsOf(db)).toEqual([]);
    const later = aVote(-1, { supersedes: second.id });
    expect(await take(anErasure(later.id), later, second)).toEqual([
      'accepted',
      'tombstoned',
      'tombstoned',
    ]);
  });

  test('a whole device: everything gone, the dataset flagged, a receipt', async () => {
    const { db, device, take } = await scene();
    await take(aVote(), aRanking());
    const dataset = await freezeDataset(db);
    const receipt = await eraseDevice(db, device);
    expect(receipt).toMatchObject({ events: 2, datasets: [dataset.id], cleanRelease: null });
    expect(await readReceipt(db, receipt.receipt)).toEqual(receipt);
    expect((await findDataset(db, dataset.id)).flagged).toBe(true);
    expect(await datasetRows(db, dataset.id)).toEqual([]);
  });
});

describe('datasets', () => {
  test('take each judgement once', async () => {
    const { db, take } = await scene();
    await take(aVote(), aRanking());
    const a = await freezeDataset(db);
    expect(a).toMatchObject({ votes: 1, rankings: 1, devices: 1, flagged: false });
    await expect(freezeDataset(db)).rejects.toThrow(
      expect.objectContaining({ code: 'dataset/empty' }),
    );
    await take(aVote());
    const b = await freezeDataset(db);
    const { onlyA, onlyB, both } = await diffDatasets(db, a.id, b.id);
    expect([onlyA.length, onlyB.length, both]).toEqual([2, 1, 0]);
  });
});

test('whatever the network does to batches, what is stored is what was acknowledged, minus erased', async () => {
  const faults = fc.constantFrom('ok', 'dropped', 'lost answer', 'repeated');
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(11), faults), { minLength: 1, maxLength: 40 }),
      async (deliveries) => {
        const { db, take } = await scene();
        const votes = Array.from({ length: 6 }, () => aVote());
        const corrections = votes.slice(0, 3).map(({ id }) => aVote(-1, { supersedes: id }));
        const erasures = votes.slice(2, 5).map(({ id }) => anErasure(id));
        const events = [...votes, ...corrections, ...erasures];
        const acknowledged = new Set<string>();
        const deliver = async (index: number, fault: string) => {
          const event = events[index]!;
          if (fault === 'dropped') return;
          const [status] = await take(...(fault === 'repeated' ? [event, event] : [event]));
          if (fault !== 'lost answer' && status !== 'tombstoned') acknowledged.add(event.id);
        };
        for (const [index, fault] of deliveries) await deliver(index, fault);
        const sent = new Set(deliveries.flatMap(([i, f]) => (f === 'dropped' ? [] : [events[i]!])));
        const erased = new Set(
          [...sent].flatMap((e) =>
            e.type === 'erase' ? [(e as { supersedes?: string }).supersedes] : [],
          ),
        );
        const expected = [...sent]
          .filter((e) => e.type !== 'erase' && !erased.has(e.id))
          .map(({ id }) => id)
          .sort();
        expect(await idsOf(db)).toEqual(expected);
        for (const id of acknowledged)
          expect(erased.has(id) || [...sent].some((e) => e.id === id)).toBe(true);
        // Once the faults stop, everything drains.
        const last = await take(...events);
        expect(
          last.every((status) => ['accepted', 'duplicate', 'tombstoned'].includes(status)),
        ).toBe(true);
        await db.destroy();
      },
    ),
    { numRuns: 25 },
  );
}, 60_000);
