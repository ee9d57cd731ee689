import { registerHooks } from "node:module";

/**
 * Loaded before the service: puts a bug into its code, as the address says that this is imported by. A bug that finds no
 * place ends it.
 */
const bugs: readonly { readonly file: string; readonly from: string; readonly to: string }[] = JSON.parse(
  new URL(import.meta.url).searchParams.get("places") ?? "[]",
);

registerHooks({
  load(url, context, next) {
    const loaded = next(url, context);
    const ofFile = bugs.filter(({ file }) => url.endsWith(`/src/${file}`));
    if (ofFile.length === 0) return loaded;
    let source = String(loaded.source);
    for (const { file, from, to } of ofFile) {
      if (!source.includes(from)) throw new Error(`${file} has no such place any more: ${from}`);
      source = source.replace(from, to);
    }
    return { ...loaded, source };
  },
});
