import { posix } from "node:path";

/** Where the page of a document is, in the site: what is in `docs`, and what is in the project's own folder. */
export function toPage(document: string): string {
  const inDocs = posix.relative("docs", document);
  if (inDocs === "README.md") return "index.html";
  // `SECURITY.md` and `docs/security.md` are two.
  const name = inDocs.startsWith("..") ? `project/${posix.basename(document).toLowerCase()}` : inDocs;
  return name.replace(/\.md$/, ".html");
}

export interface LinkContext {
  /** The document that the link stands in, from the project's folder. */
  readonly document: string;
  /** The documents that have a page. */
  readonly documents: readonly string[];
  /** Where the source is shown, such as `https://git.example/mustreach/blob/main/`. Absent: nowhere. */
  readonly sourceUrl?: string | undefined;
}

/** The link of a page for that of its document; undefined for a file of the source that is shown nowhere. */
export function toLink(target: string, { document, documents, sourceUrl }: LinkContext): string | undefined {
  if (/^[a-z]+:/.test(target)) return target;
  const [path = "", anchor] = target.split("#");
  const hash = anchor === undefined ? "" : `#${anchor}`;
  if (path === "") return hash;
  const file = posix.join(posix.dirname(document), path).replace(/\/$/, "");
  const from = posix.dirname(toPage(document));
  if (documents.includes(file)) return posix.relative(from, toPage(file)) + hash;
  if (file === "docs") return posix.relative(from, "index.html");
  if (documents.some((each) => each.startsWith(`${file}/`))) {
    return posix.relative(from, posix.join(toPage(file), "index.html"));
  }
  if (file.startsWith("docs/")) return posix.relative(from, posix.relative("docs", file));
  return sourceUrl === undefined ? undefined : new URL(file + hash, sourceUrl).href;
}
