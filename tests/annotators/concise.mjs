// A person who likes few words; nothing at all is worst.
/** @type {(prompt: string, reply: string) => number} */
export default function concise(_prompt, reply) {
  const words = reply.split(/\s+/).filter(Boolean).length;
  return words < 3 ? -1000 : -words;
}
