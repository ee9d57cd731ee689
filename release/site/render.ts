import { Marked, type Tokens } from "marked";
import { toAnchors } from "./anchors.ts";

export interface Rendered {
  readonly title: string;
  readonly html: string;
}

const escapes: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => escapes[character] ?? character);
}

/**
 * A document as HTML without scripts and styles.
 *
 * @param toLink the link for that of the document; undefined: it leads nowhere, and is shown as text.
 */
export function render(markdown: string, toLink: (target: string) => string | undefined): Rendered {
  const marked = new Marked();
  const tokens = marked.lexer(markdown);
  const headings: Tokens.Heading[] = [];
  marked.walkTokens(tokens, (token) => {
    if (token.type === "heading") headings.push(token as Tokens.Heading);
  });
  const anchors = toAnchors(headings.map(({ text }) => text));
  marked.use({
    renderer: {
      heading(heading) {
        const anchor = anchors[headings.indexOf(heading)] ?? "";
        const content = this.parser.parseInline(heading.tokens);
        return `<h${heading.depth} id="${anchor}"><a href="#${anchor}">${content}</a></h${heading.depth}>\n`;
      },
      link({ href, tokens: inner }) {
        const link = toLink(href);
        const content = this.parser.parseInline(inner);
        return link === undefined
          ? `<span class="file">${content}</span>`
          : `<a href="${escapeHtml(link)}">${content}</a>`;
      },
      image({ href, text }) {
        return `<img src="${escapeHtml(toLink(href) ?? href)}" alt="${escapeHtml(text)}" loading="lazy">`;
      },
      code({ text, lang }) {
        const language = (lang ?? "").split(" ")[0];
        return `<pre><code${language ? ` class="language-${language}"` : ""}>${escapeHtml(text)}\n</code></pre>\n`;
      },
      html: ({ text }) => (text.startsWith("<!--") ? "" : escapeHtml(text)),
    },
  });
  // Tables that are too wide scroll by themselves.
  const html = marked
    .parser(tokens)
    .replaceAll("<table>", '<div class="table"><table>')
    .replaceAll("</table>", "</table></div>")
    .replaceAll(/ align="(left|right|center)"/g, ' class="$1"');
  const [first] = headings;
  return { title: first === undefined ? "" : first.text.replaceAll("`", ""), html };
}
