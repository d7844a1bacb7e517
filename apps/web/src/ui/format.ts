// Numbers for people, in the language of the page.

/** 98,362,432 → "98.4 MB". */
export function formatBytes(bytes: number, tag: string): string {
  const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte'] as const;
  const step = Math.min(3, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)));
  const number = bytes / 1000 ** step;
  return new Intl.NumberFormat(tag, {
    style: 'unit',
    unit: units[step]!,
    unitDisplay: 'short',
    maximumFractionDigits: step > 1 && number < 100 ? 1 : 0,
  }).format(number);
}

/** Whole seconds, minutes or hours, rounded up so that a wait is never shorter than said. */
export function formatDuration(seconds: number, tag: string): string {
  const [value, unit] =
    seconds < 90
      ? [seconds, 'second']
      : seconds < 5400
        ? [seconds / 60, 'minute']
        : [seconds / 3600, 'hour'];
  return new Intl.NumberFormat(tag, {
    style: 'unit',
    unit: unit as string,
    unitDisplay: 'short',
    maximumFractionDigits: 0,
  }).format(Math.ceil(value as number));
}

/** "14:05" today, "3 Nov" before. */
export function formatWhen(at: number, tag: string, now = Date.now()): string {
  const day = new Date(at).toDateString() === new Date(now).toDateString();
  const format: Intl.DateTimeFormatOptions = day
    ? { hour: '2-digit', minute: '2-digit' }
    : { day: 'numeric', month: 'short' };
  return new Intl.DateTimeFormat(tag, format).format(at);
}
