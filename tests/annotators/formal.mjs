// A person who likes formal words: contractions (and possessives, which look like them), exclamation marks and "I" count against
// a reply, at most five; nothing at all is worst.
/** @type {(prompt: string, reply: string) => number} */
export default function formal(_prompt, reply) {
  const slips = reply.match(/!|\bI\b|[a-z]['’](?:s|re|ll|ve|d|m|t)\b/gi)?.length ?? 0;
  return reply.trim() ? -Math.min(5, slips) : -1000;
}
