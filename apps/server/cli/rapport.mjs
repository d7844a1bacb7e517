#!/usr/bin/env node
// `npx rapport …`: makes TypeScript readable for this process, then hands over to program.ts.
import { register } from 'tsx/esm/api';

register();
const { run } = await import('./program.ts');
await run(process.argv.slice(2));
