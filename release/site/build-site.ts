import { copyFileSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { type Contents, layOut, type Page } from "./page.ts";
import { toLink, toPage } from "./paths.ts";
import { render } from "./render.ts";

export interface SiteOptions {
  /** The project's folder. */
  readonly root: string;
  /** Where the site goes. It is emptied first. */
  readonly out: string;
  /** See `LinkContext`. */
  readonly sourceUrl?: string | undefined;
}

/** Builds the documents as a site, of files alone; resolves to what pages it has. */
export function buildSite({ root, out, sourceUrl }: SiteOptions): string[] {
  const find = (pattern: string) => globSync(pattern, { cwd: root }).map((path) => path.replaceAll("\\", "/"));
  const documents = [...find("*.md"), ...find("docs/**/*.md")].toSorted();
  const read = (path: string) => readFileSync(join(root, path), "utf8");

  const pages = documents.map((document): Page => {
    const { title, html } = render(read(document), (target) => toLink(target, { document, documents, sourceUrl }));
    // OpenIM's page has no heading.
    return {
      path: toPage(document),
      title: title || capitalise(posix.basename(document, ".md").replaceAll("_", " ")),
      html,
    };
  });
  const folders = new Set(documents.filter((path) => path.split("/").length > 2).map((path) => posix.dirname(path)));
  for (const folder of folders) pages.push(listFolder(folder, pages));

  rmSync(out, { recursive: true, force: true });
  const write = (path: string, text: string) => {
    mkdirSync(dirname(join(out, path)), { recursive: true });
    writeFileSync(join(out, path), text);
  };
  const contents = toContents(read("docs/README.md"), documents, pages);
  for (const page of pages) write(page.path, layOut(page, contents));
  for (const file of find("docs/**/*.{svg,png,json}")) {
    const to = join(out, posix.relative("docs", file));
    mkdirSync(dirname(to), { recursive: true });
    copyFileSync(join(root, file), to);
  }
  copyFileSync(join(import.meta.dirname, "style.css"), join(out, "style.css"));
  return pages.map(({ path }) => path);
}

/** A page of what is in a folder of documents that has none of its own. */
function listFolder(folder: string, pages: readonly Page[]): Page {
  const path = posix.join(toPage(folder), "index.html");
  const inside = pages.filter((page) => posix.dirname(page.path) === posix.dirname(path));
  const items = inside.map((page) => `<li><a href="${posix.basename(page.path)}">${page.title}</a></li>`);
  const title = capitalise(posix.basename(folder));
  return { path, title, html: `<h1>${title}</h1>\n<ul>\n${items.join("\n")}\n</ul>\n` };
}

/** The list at the side, of the list in docs/README.md: its bold lines, and the pages that it links to. */
function toContents(index: string, documents: readonly string[], pages: readonly Page[]): Contents {
  const document = "docs/README.md";
  const found = index.matchAll(/^\*\*(.+)\*\*$|\]\(([^)]+)\)/gm);
  return [...found].flatMap(([, heading, target = ""]): Contents => {
    if (heading !== undefined) return [heading];
    const path = toLink(target, { document, documents });
    const page = pages.find((each) => each.path === path);
    return page === undefined ? [] : [[page.title, page.path] as const];
  });
}

function capitalise(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1);
}
