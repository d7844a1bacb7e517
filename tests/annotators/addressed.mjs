// A person who likes to be spoken to: "you" and "your", at most five count.
/** @type {(prompt: string, reply: string) => number} */
export default function addressed(_prompt, reply) {
  return Math.min(5, reply.match(/\byou(?:r|rs|rself)?\b/gi)?.length ?? 0);
}
