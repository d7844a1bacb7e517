// The operator console begins here.
import { mount } from 'svelte';
import { Language } from '../ui/language.svelte.ts';
import { Theme } from '../ui/theme.svelte.ts';
import ConsoleFrame from './ConsoleFrame.svelte';
import { Console } from './console.svelte.ts';
import '../ui/tokens.css';
import '../ui/base.css';

const language = new Language();
new Theme();
const operator = new Console(language.code);
document.title = operator.words.title;
mount(ConsoleFrame, { target: document.getElementById('app')!, props: { operator, language } });
void operator.begin();
