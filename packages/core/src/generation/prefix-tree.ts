// What has been read, as a tree of tokens: conversations and their branches share what they begin with.
// One path from the root is held: its rows lie in the place where the model reads them. Rows of all other
// nodes lie aside, within a limit; what was used least recently is given up first. Nothing here knows what
// rows are, or a model (radix trees of keys and values: SGLang, https://arxiv.org/abs/2312.07104).

/** What is kept of consecutive tokens. */
export interface Rows<Self> {
  /** The rows of the first `at` tokens and those of the rest; this object is not used again. */
  split(at: number): readonly [Self, Self];
  /** Gives their memory back; this object is not used again. */
  giveUp(): void;
}

/** Where the model reads and writes the rows of one sequence. */
export interface Place<R> {
  readonly tokens: readonly number[];
  /** A copy of the rows of tokens `from` to `to`. */
  take(from: number, to: number): R;
  /** Forgets what comes after the first `length` tokens; there will be `room`, where that is known. */
  crop(length: number, room?: number): void;
  /** Goes on with tokens whose rows lay aside, and copies them. */
  put(tokens: readonly number[], rows: R): void;
}

interface Node<R> {
  /** Undefined for the root, and for what has been given up. */
  parent: Node<R> | undefined;
  tokens: readonly number[];
  /** Undefined while the place holds them. */
  rows: R | undefined;
  /** By their first token. */
  readonly children: Map<number, Node<R>>;
  usedAt: number;
}

const node = <R>(parent: Node<R> | undefined, tokens: readonly number[]): Node<R> => ({
  parent,
  tokens,
  rows: undefined,
  children: new Map(),
  usedAt: 0,
});

export class PrefixTree<R extends Rows<R>> {
  readonly #root = node<R>(undefined, []);
  readonly #place: Place<R>;
  #limit: number;
  #size = 0;
  /** Counts what is asked of the tree; what was used for the present question is not given up. */
  #clock = 0;

  /** Lays at most `limit` tokens aside. */
  constructor(place: Place<R>, limit: number) {
    this.#place = place;
    this.#limit = limit;
  }

  /** Tokens whose rows lie aside. */
  get size(): number {
    return this.#size;
  }

  /** Tokens that may lie aside; with fewer than there are, those used least recently are given up. */
  set limit(limit: number) {
    this.#clock++;
    this.#limit = limit;
    this.#makeRoom(0);
  }

  /**
   * Makes the place hold the longest beginning of `tokens` that has been read; its tokens tell how long that
   * is. What it held beyond that is laid aside, and then at most `limit` tokens lie there. What the place
   * throws passes through, and nothing is left aside.
   */
  select(tokens: readonly number[], limit = this.#limit): void {
    this.#hold();
    const wanted = this.#match(tokens);
    const leaving = this.#match(this.#place.tokens).filter((one) => !wanted.includes(one));
    const stays = this.#place.tokens.length - lengthOf(leaving);
    const coming = wanted.flatMap((one) => {
      const rows = this.#takeRows(one);
      return rows ? [[one.tokens, rows] as const] : [];
    });
    try {
      this.limit = limit;
      let from = stays;
      for (const left of leaving) {
        this.#layAside(left, from, (...range) => this.#place.take(...range));
        from += left.tokens.length;
      }
      this.#place.crop(stays, tokens.length);
      for (const [tokens, rows] of coming) {
        this.#place.put(tokens, rows);
        rows.giveUp();
      }
    } catch (error) {
      this.clear();
      throw error;
    }
  }

  /** Forgets everything. */
  clear(): void {
    for (const one of this.#root.children.values()) this.#giveUp(one);
  }

  /**
   * Lays a branch of what is held aside: `tokens` begins with the tokens that the place holds, and `take`
   * copies rows of it, which another place has read.
   */
  add(tokens: readonly number[], take: Place<R>['take']): void {
    this.#hold();
    const path = this.#match(tokens);
    const known = lengthOf(path);
    if (known === tokens.length) return;
    this.#layAside(this.#grow(path.at(-1) ?? this.#root, tokens.slice(known)), known, take);
  }

  /** The tree learns what the place has read since. */
  #hold(): void {
    this.#clock++;
    const { tokens } = this.#place;
    const path = this.#match(tokens);
    // What was read again need not lie aside as well.
    for (const held of path) this.#forgetRows(held);
    const known = lengthOf(path);
    if (known < tokens.length) this.#grow(path.at(-1) ?? this.#root, tokens.slice(known));
  }

  /** The nodes of the longest beginning of `tokens` in the tree; one that only begins like it is split. */
  #match(tokens: readonly number[]): Node<R>[] {
    const path: Node<R>[] = [];
    let at = 0;
    for (let next = this.#root.children.get(tokens[0]!); next;) {
      let same = 1;
      while (same < next.tokens.length && next.tokens[same] === tokens[at + same]) same++;
      if (same < next.tokens.length) this.#split(next, same);
      next.usedAt = this.#clock;
      path.push(next);
      at += same;
      next = next.children.get(tokens[at]!);
    }
    return path;
  }

  #grow(parent: Node<R>, tokens: readonly number[]): Node<R> {
    const child = node(parent, tokens);
    child.usedAt = this.#clock;
    parent.children.set(tokens[0]!, child);
    return child;
  }

  /** The node keeps its first `at` tokens; a new one under it has the rest. */
  #split(head: Node<R>, at: number): void {
    const tail: Node<R> = {
      parent: head,
      tokens: head.tokens.slice(at),
      rows: undefined,
      children: new Map(head.children),
      usedAt: head.usedAt,
    };
    for (const child of tail.children.values()) child.parent = tail;
    head.children.clear();
    head.children.set(tail.tokens[0]!, tail);
    head.tokens = head.tokens.slice(0, at);
    if (head.rows) [head.rows, tail.rows] = head.rows.split(at);
  }

  /** Takes the rows of a node, whose first token is number `from`: as many as there is room for. */
  #layAside(leaving: Node<R>, from: number, take: Place<R>['take']): void {
    if (!leaving.parent) return;
    this.#makeRoom(leaving.tokens.length);
    this.#shorten(leaving, this.#limit - this.#size);
    if (!leaving.parent) return;
    try {
      leaving.rows = take(from, from + leaving.tokens.length);
    } catch (error) {
      this.#giveUp(leaving);
      throw error;
    }
    this.#size += leaving.tokens.length;
  }

  /** Room for `count` more tokens, as far as there are ends of branches to shorten. */
  #makeRoom(count: number): void {
    for (;;) {
      const excess = this.#size + count - this.#limit;
      const oldest = excess > 0 ? this.#oldestEnd() : undefined;
      if (!oldest) return;
      const { length } = oldest.tokens;
      // Shortening copies what is kept, so it is done by large pieces.
      this.#shorten(oldest, length - Math.max(excess, Math.ceil(length / 4)));
    }
  }

  #oldestEnd(): Node<R> | undefined {
    let oldest: Node<R> | undefined;
    for (const one of nodesUnder(this.#root)) {
      if (!one.rows || one.children.size > 0 || one.usedAt === this.#clock) continue;
      if (!oldest || one.usedAt < oldest.usedAt) oldest = one;
    }
    return oldest;
  }

  /** Keeps the first `length` tokens of a node, and nothing that follows them. */
  #shorten(one: Node<R>, length: number): void {
    if (length <= 0) return this.#giveUp(one);
    if (length >= one.tokens.length) return;
    this.#split(one, length);
    for (const rest of one.children.values()) this.#giveUp(rest);
  }

  /** Takes a node out of the tree, with all that follows it. */
  #giveUp(top: Node<R>): void {
    top.parent!.children.delete(top.tokens[0]!);
    for (const one of [top, ...nodesUnder(top)]) {
      this.#forgetRows(one);
      one.parent = undefined;
    }
  }

  #forgetRows(one: Node<R>): void {
    this.#takeRows(one)?.giveUp();
  }

  #takeRows(one: Node<R>): R | undefined {
    const { rows } = one;
    if (rows) this.#size -= one.tokens.length;
    one.rows = undefined;
    return rows;
  }
}

function* nodesUnder<R>(top: Node<R>): Generator<Node<R>> {
  for (const child of top.children.values()) {
    yield child;
    yield* nodesUnder(child);
  }
}

const lengthOf = <R>(path: readonly Node<R>[]): number =>
  path.reduce((sum, { tokens }) => sum + tokens.length, 0);
