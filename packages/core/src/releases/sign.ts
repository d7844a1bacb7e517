// Signing a document and checking who signed it. It knows keys and roles, not what documents mean.
import * as v from 'valibot';
import { RapportError } from '../error.ts';
import { canonicalBytes, fromHex, sha256Hex } from './canonical.ts';
import { SignedSchema, type Role, type Root, type Signed } from './documents.ts';
import { signBytes, verifyBytes, type KeyPair } from './ed25519.ts';

/** `document` with a signature by each key. */
export async function signDocument<T>(document: T, keys: readonly KeyPair[]): Promise<Signed<T>> {
  const message = canonicalBytes(document);
  const signatures = await Promise.all(
    keys.map(async ({ id, secretKey }) => ({
      key: id,
      signature: await signBytes(message, secretKey),
    })),
  );
  return { signed: document, signatures };
}

/**
 * Gives the document inside `envelope` when enough keys of `role` in `root` signed it. Throws
 * `releases/unsigned` when they did not, `releases/malformed` when it does not have the shape.
 */
export async function verifySigned<S extends v.GenericSchema>(
  envelope: unknown,
  schema: S,
  role: Role,
  root: Root,
): Promise<v.InferOutput<S>> {
  const outer = parse(SignedSchema, envelope, role);
  const { keys, threshold } = root.roles[role];
  const message = canonicalBytes(outer.signed);
  const good = new Set<string>();
  for (const { key, signature } of outer.signatures) {
    if (good.has(key) || !keys.includes(key) || !Object.hasOwn(root.keys, key)) continue;
    const publicKey = fromHex(root.keys[key]!);
    if ((await sha256Hex(publicKey)) !== key) continue;
    if (await verifyBytes(message, fromHex(signature), publicKey)) good.add(key);
  }
  if (good.size < threshold)
    throw new RapportError(
      'releases/unsigned',
      `The ${role} document has ${good.size} of the ${threshold} signatures it needs.`,
      'Keep the current model; tell the operator of this server if it lasts.',
    );
  return parse(schema, outer.signed, role);
}

/** Parses with a named error. */
export function parse<S extends v.GenericSchema>(
  schema: S,
  value: unknown,
  what: string,
): v.InferOutput<S> {
  const parsed = v.safeParse(schema, value, { abortEarly: true });
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  throw new RapportError(
    'releases/malformed',
    `The ${what} document is wrong at ${v.getDotPath(issue) ?? 'its top'}: ${issue.message}.`,
    'Keep the current model; reload the page if the server was updated.',
  );
}
