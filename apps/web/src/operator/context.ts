// The console's state, handed down by context.
import { createContext } from 'svelte';
import type { Console } from './console.svelte.ts';

export const [useConsole, provideConsole] = createContext<Console>();
