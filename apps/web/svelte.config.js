// Settings of the Svelte compiler, read by svelte-check and the Vite plugin.
export default { compilerOptions: { runes: true } };
