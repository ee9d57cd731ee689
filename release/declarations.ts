import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

/** What a file of JavaScript or of types refers to by a relative path. */
const relativeImport = /((?:from|import)\s*\(?\s*")(\.{1,2}\/[^"]+)\.ts(?=")/g;

/**
 * Copies files of types with all that they refer to, and nothing else. Their imports name the `.js` beside them, which
 * every resolution of TypeScript understands.
 *
 * @param entries paths below `from`.
 */
export function copyDeclarations(from: string, to: string, entries: readonly string[]): void {
  const paths = new Set(entries.map((entry) => join(from, entry)));
  for (const path of paths) {
    const text = readFileSync(path, "utf8");
    for (const [, , target = ""] of text.matchAll(relativeImport)) paths.add(join(dirname(path), `${target}.d.ts`));
    const copy = join(to, relative(from, path));
    mkdirSync(dirname(copy), { recursive: true });
    writeFileSync(copy, text.replace(relativeImport, "$1$2.js"));
  }
}

/** Copies files of JavaScript. */
export function copyJavaScript(from: string, to: string): void {
  cpSync(from, to, { recursive: true, filter: (path) => !path.endsWith(".d.ts") });
}
