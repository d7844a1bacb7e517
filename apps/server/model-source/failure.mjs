// Errors of code that runs before anything is installed, in the shape of RapportError.

/**
 * An error with a stable code and the next step, like RapportError, which is TypeScript and so out
 * of reach before `npm install`.
 *
 * @param {string} code `model/what`
 * @param {string} message what was met and what was expected
 * @param {string} remedy the next step, one sentence
 * @param {unknown} [cause]
 * @returns {Error & {code: string, remedy: string}}
 */
export function failure(code, message, remedy, cause) {
  const error = new Error(message, cause === undefined ? undefined : { cause });
  error.name = 'RapportError';
  return Object.assign(error, { code, remedy });
}

/**
 * The whole chain of causes in one line: fetch hides "connection refused" two causes deep.
 *
 * @param {unknown} error
 * @returns {string}
 */
export function reasonOf(error) {
  if (!(error instanceof Error)) return String(error);
  const inner = error instanceof AggregateError ? error.errors[0] : error.cause;
  if (inner === undefined || inner === null) return error.message;
  const reason = reasonOf(inner);
  return error.message.includes(reason) ? error.message : `${error.message}: ${reason}`;
}
