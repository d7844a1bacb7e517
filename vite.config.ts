// Builds the client: `npx vite build` writes apps/web/dist, which the server serves.
import { defineConfig } from 'vite';
import { webConfig } from './apps/web/vite.ts';

export default defineConfig(webConfig);
