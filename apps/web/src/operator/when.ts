// A moment for a table: date and time in the reader's own zone and custom.

const format = new Intl.DateTimeFormat(undefined, { dateStyle: 'short', timeStyle: 'short' });

export const when = (at: number | string | null): string =>
  at === null ? '–' : format.format(new Date(at));
