import { posix } from "node:path";
import { escapeHtml } from "./render.ts";

export interface Page {
  /** Where it is, in the site. */
  readonly path: string;
  readonly title: string;
  readonly html: string;
}

/** The list at the side: headings, and links with where they lead, in the site. */
export type Contents = readonly (string | readonly [title: string, path: string])[];

/** A whole page. It loads its style and pictures from where it is, and nothing else. */
export function layOut({ path, title, html }: Page, contents: Contents): string {
  const from = posix.dirname(path);
  const entry = ([name, target]: readonly [string, string]) =>
    `<li><a href="${posix.relative(from, target)}"${target === path ? ' aria-current="page"' : ""}>${escapeHtml(name)}</a></li>`;
  const list = contents.map((one) =>
    typeof one === "string" ? `</ul>\n<h2>${escapeHtml(one)}</h2>\n<ul>` : entry([one[0], one[1]]),
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="content-security-policy" content="default-src 'none'; style-src 'self'; img-src 'self'">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(title)} · Mustreach</title>
<link rel="stylesheet" href="${posix.relative(from, "style.css")}">
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<nav aria-label="Documents">
<details open>
<summary>Mustreach</summary>
<ul>
${entry(["Documents", "index.html"])}
${list.join("\n")}
</ul>
</details>
</nav>
<main id="content">
${html}</main>
</body>
</html>
`;
}
