// `npm start`: the front door. Only the Node version is looked at here, in words that any Node reads;
// the rest is in setup/.
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
const fits = major === 20 ? minor >= 19 : major === 22 ? minor >= 12 : major > 22;

if (!fits) {
  console.error(
    `Rapport needs Node 20.19 or newer (or 22.12 or newer); this is ${process.version}.`,
  );
  console.error('Install a current Node from https://nodejs.org, then run npm start again.');
  process.exit(1);
}

const { start } = await import('./setup/start.mjs');
await start(process.argv.slice(2));
