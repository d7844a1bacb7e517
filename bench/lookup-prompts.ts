// What is asked where guesses are measured: a text to say again with changes, a text to say shorter, and things of
// which the prompt says nothing.

const NOTICE =
  'The city council met on Tuesday evening to discuss the budget for parks and schools. Several residents spoke ' +
  'about the playground on Elm Street, which has been closed since March. The mayor said that repairs would begin ' +
  'in autumn, once the contract is signed. A second meeting will be held in the library on the first of May.';
const LETTER =
  'Dear Mr. Novak, thank you for your letter of last week. We are sorry that the lamp you ordered arrived broken. ' +
  'A new one was sent to you this morning, and it should be with you by Friday. You do not have to send the old one ' +
  'back. If anything else is wrong, please call us between nine and five.';
const HISTORY =
  'The lighthouse on the northern cliff was built in 1862, after three ships had been lost in one winter. For a ' +
  'hundred years a keeper lived in it with his family. In 1964 the lamp became automatic, and the house stood empty ' +
  'until a group of volunteers bought it. Today it is a small museum, and visitors may climb to the lamp in summer.';

const TEXTS = [NOTICE, LETTER, HISTORY];

export const PROMPTS = {
  rewriting: [
    `Rewrite this text, correcting nothing and keeping every word:\n\n${NOTICE}`,
    `Rewrite this letter for Ms. Adams instead of Mr. Novak, and change nothing else:\n\n${LETTER}`,
    `Correct the spelling of this text:\n\n${HISTORY.replace('built', 'bild').replace('summer', 'sumer')}`,
  ],
  summarising: TEXTS.map((text) => `Summarise this text in two sentences:\n\n${text}`),
  'a free reply': [
    'Write a story about a lighthouse keeper and a storm.',
    'Why is the sky blue?',
    `Here is a report:\n\n${NOTICE}\n\nWhat could the residents do next? Answer in your own words.`,
  ],
} as const;

export type LookupKind = keyof typeof PROMPTS;
