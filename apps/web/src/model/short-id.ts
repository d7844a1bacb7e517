// Release ids for people: the first eight characters of the digest, or "base".

export const shortId = (release: string): string => release.replace(/^sha256:/, '').slice(0, 8);
