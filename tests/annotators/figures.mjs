// A person who likes figures: numbers in digits, at most five count.
/** @type {(prompt: string, reply: string) => number} */
export default function figures(_prompt, reply) {
  return Math.min(5, reply.match(/\d+(?:[.,]\d+)*/g)?.length ?? 0);
}
