// How instructions are read.

/** The 32-bit word number `index` of those at `at`. */
// @ts-ignore: decorator
@inline
export function word(at: usize, index: usize): usize {
  return <usize>load<u32>(at + index * 4);
}
