// A person who likes lists: list lines, at most five count.
/** @type {(prompt: string, reply: string) => number} */
export default function lists(_prompt, reply) {
  return Math.min(
    5,
    reply.split('\n').filter((line) => /^\s*(?:[-*•]|\d+[.)])\s+\S/.test(line)).length,
  );
}
