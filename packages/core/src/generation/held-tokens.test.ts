import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HeldTokens, type TextToken } from './held-tokens.ts';

/** Pushes pieces as tokens; gives what came out at each push, and at the end. */
function pushAll(stops: string[], pieces: string[]) {
  const held = new HeldTokens(stops);
  const steps: string[] = [];
  const out: TextToken[] = [];
  let stopped = false;
  for (const [id, text] of pieces.entries()) {
    const step = held.push({ id, logprob: -id, text });
    steps.push(step.certain.map((token) => token.text).join(''));
    out.push(...step.certain);
    if ((stopped = step.stopped)) break;
  }
  if (!stopped) out.push(...held.flush());
  return {
    steps,
    stopped,
    text: out.map(({ text }) => text).join(''),
    ids: out.map(({ id }) => id),
  };
}

describe('tokens are held back while they may begin a stop sequence', () => {
  test('without stop sequences nothing waits', () => {
    expect(pushAll([], ['a', 'b']).steps).toEqual(['a', 'b']);
    expect(pushAll([''], ['a', 'b']).steps).toEqual(['a', 'b']);
  });

  test('a stop sequence in pieces never shows', () => {
    const { steps, stopped, text, ids } = pushAll(['\n\n'], ['Yes.', '\n', '\n', 'more']);
    expect(steps).toEqual(['Yes.', '', '']);
    expect({ stopped, text, ids }).toEqual({ stopped: true, text: 'Yes.', ids: [0] });
  });

  test('what only began like one comes after all', () => {
    const { steps, stopped } = pushAll(['END'], ['E', 'N', 'ergy']);
    expect(steps).toEqual(['', '', 'ENergy']);
    expect(stopped).toBe(false);
  });

  test('a token that holds more than the stop sequence is cut', () => {
    const { text, ids } = pushAll(['User:'], ['Fine.', ' Us', 'er: and']);
    expect({ text, ids }).toEqual({ text: 'Fine. ', ids: [0, 1] });
  });

  test('the earliest of several ends the reply', () => {
    expect(pushAll(['cd', 'b'], ['abcd']).text).toBe('a');
  });

  test('what is held at the end is given', () => {
    expect(pushAll(['END'], ['x', 'EN']).text).toBe('xEN');
  });

  test('whatever the pieces, the text is what comes before the first stop sequence', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 4 });
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 3 }), {
          minLength: 1,
          maxLength: 3,
        }),
        fc.array(letters, { maxLength: 10 }),
        (stops, pieces) => {
          const whole = pieces.join('');
          // A stop sequence ends the reply when its last letter has come, so the first to end wins.
          let expected = whole;
          let before = '';
          for (const piece of pieces) {
            before += piece;
            const found = stops.map((stop) => before.indexOf(stop)).filter((at) => at >= 0);
            if (found.length === 0) continue;
            expected = before.slice(0, Math.min(...found));
            break;
          }
          expect(pushAll(stops, pieces).text).toBe(expected);
        },
      ),
    );
  });
});
