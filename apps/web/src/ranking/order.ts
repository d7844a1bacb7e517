// An order with ties, as tiers: best tier first, equals side by side. Every act gives a new order.

export type Tiers = readonly (readonly string[])[];

/** Every reply in a tier of its own, in the given order. */
export const inOrder = (ids: readonly string[]): Tiers => ids.map((id) => [id]);

/** The replies from best to worst as they are shown. */
export const flat = (tiers: Tiers): string[] => tiers.flat();

/** Competition ranks (1, 2, 2, 4) of `ids`, in the order of `ids`. */
export function ranksOf(tiers: Tiers, ids: readonly string[]): number[] {
  const ranks = new Map<string, number>();
  let place = 1;
  for (const tier of tiers) {
    for (const id of tier) ranks.set(id, place);
    place += tier.length;
  }
  return ids.map((id) => ranks.get(id)!);
}

/** Rebuilds tiers from stored ranks. */
export function fromRanks(ids: readonly string[], ranks: readonly number[]): Tiers {
  const places = [...new Set(ranks)].sort((a, b) => a - b);
  return places.map((place) => ids.filter((_, i) => ranks[i] === place));
}

/** True when the reply shares its place with one shown above it. */
export function isTied(tiers: Tiers, id: string): boolean {
  return tiers[tierOf(tiers, id)]!.indexOf(id) > 0;
}

/** Above its equals, or above the tier before when it stands alone. */
export function moveUp(tiers: Tiers, id: string): Tiers {
  const at = tierOf(tiers, id);
  const alone = tiers[at]!.length === 1;
  return insert(without(tiers, id), alone ? Math.max(0, at - 1) : at, id);
}

/** Below its equals, or below the tier after when it stands alone. */
export function moveDown(tiers: Tiers, id: string): Tiers {
  return insert(without(tiers, id), tierOf(tiers, id) + 1, id);
}

/** Joins the tier above; a reply that already shares its place with one above it leaves that place. */
export function toggleTie(tiers: Tiers, id: string): Tiers {
  const at = tierOf(tiers, id);
  if (isTied(tiers, id)) return insert(without(tiers, id), at + 1, id);
  if (at === 0) return tiers;
  const joined = tiers.map((tier, i) => {
    if (i === at - 1) return [...tier, id];
    return tier.filter((other) => other !== id);
  });
  return joined.filter((tier) => tier.length > 0);
}

/** Puts the reply at position `index` of the shown list, in a place of its own. */
export function moveTo(tiers: Tiers, id: string, index: number): Tiers {
  const rest = without(tiers, id);
  let before = 0;
  let at = 0;
  while (at < rest.length && before < index) before += rest[at++]!.length;
  return insert(rest, at, id);
}

const tierOf = (tiers: Tiers, id: string) => tiers.findIndex((tier) => tier.includes(id));

const without = (tiers: Tiers, id: string) =>
  tiers.map((tier) => tier.filter((other) => other !== id)).filter((tier) => tier.length > 0);

const insert = (tiers: Tiers, at: number, id: string): Tiers => [
  ...tiers.slice(0, at),
  [id],
  ...tiers.slice(at),
];
