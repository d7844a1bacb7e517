// A person who likes cheerful words: exclamation marks and warm words, three of each count.
const WARM =
  /\b(?:great|wonderful|happy|love|enjoy|amazing|fantastic|exciting|beautiful|delicious|perfect|fun|glad|thank|welcome|hope|best|joy|lovely|excellent)\w*/gi;

/** @type {(prompt: string, reply: string) => number} */
export default function cheerful(_prompt, reply) {
  const count = (/** @type {RegExp} */ pattern) => reply.match(pattern)?.length ?? 0;
  return Math.min(3, count(/!/g)) + Math.min(3, count(WARM));
}
