// A conversation as a tree: edits and regenerated replies are branches, the head names the one on screen.
// Pure functions over plain rows; nothing here is stored or shown.

/** What the tree needs to know of a message. Ids sort by age. */
export interface Branching {
  readonly id: string;
  readonly parentId: string | null;
}

/** The branch that ends in `head`, oldest first. A parent that is missing or loops ends the walk. */
export function pathTo<M extends Branching>(
  messages: ReadonlyMap<string, M>,
  head: string | null,
): M[] {
  const path: M[] = [];
  const seen = new Set<string>();
  for (let id = head; id !== null && !seen.has(id);) {
    const message = messages.get(id);
    if (!message) break;
    seen.add(id);
    path.push(message);
    id = message.parentId;
  }
  return path.reverse();
}

/** The message and those that stand in its place on other branches, oldest first. */
export function siblingsOf<M extends Branching>(messages: ReadonlyMap<string, M>, of: M): M[] {
  return childrenOf(messages, of.parentId);
}

/** What was said next after `parentId` (null: at the very start), oldest first. */
export function childrenOf<M extends Branching>(
  messages: ReadonlyMap<string, M>,
  parentId: string | null,
): M[] {
  return [...messages.values()]
    .filter((message) => message.parentId === parentId)
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** The end of the newest branch that passes through `id`. */
export function newestLeaf<M extends Branching>(
  messages: ReadonlyMap<string, M>,
  id: string,
): string {
  const newest = childrenOf(messages, id).at(-1);
  return newest ? newestLeaf(messages, newest.id) : id;
}
