// The K largest of many numbers, in descending order, without allocating: a heap of their indices.

/** Room for up to `capacity` indices, used again at each call. */
export class LargestFirst {
  readonly capacity: number;
  readonly #heap: Int32Array;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.#heap = new Int32Array(capacity);
  }

  /** Indices of the `count` largest values that are at least `floor`, the largest first. */
  of(values: Float64Array, count: number, floor: number): Int32Array {
    const heap = this.#heap;
    const most = Math.min(count, this.capacity);
    let size = 0;
    // The smallest of those kept is on top: what is not larger does not enter.
    for (let i = 0; i < values.length; i++) {
      const value = values[i]!;
      if (value < floor) continue;
      if (size < most) {
        rise(heap, values, size++, i);
      } else if (value > values[heap[0]!]!) {
        sink(heap, values, size, i);
      }
    }
    // Taking the smallest off each time leaves them sorted.
    for (let left = size - 1; left > 0; left--) {
      const smallest = heap[0]!;
      sink(heap, values, left, heap[left]!);
      heap[left] = smallest;
    }
    return heap.subarray(0, size);
  }
}

/** Puts `index` into a free place and lets it rise. */
function rise(heap: Int32Array, values: Float64Array, place: number, index: number): void {
  let at = place;
  while (at > 0) {
    const above = (at - 1) >> 1;
    if (values[heap[above]!]! <= values[index]!) break;
    heap[at] = heap[above]!;
    at = above;
  }
  heap[at] = index;
}

/** Puts `index` in the place of the top and lets it sink. */
function sink(heap: Int32Array, values: Float64Array, size: number, index: number): void {
  let at = 0;
  for (;;) {
    let below = 2 * at + 1;
    if (below >= size) break;
    if (below + 1 < size && values[heap[below + 1]!]! < values[heap[below]!]!) below++;
    if (values[heap[below]!]! >= values[index]!) break;
    heap[at] = heap[below]!;
    at = below;
  }
  heap[at] = index;
}
