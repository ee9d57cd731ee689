import { globSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";

const root = resolve(import.meta.dirname, "../..");
const read = (path: string) => readFileSync(join(root, path), "utf8");
const sectionOf = (title: string) => read("docs/clients.md").split(`\n## ${title}\n`)[1]?.split("\n## ")[0] ?? "";

/** Where the code of a language is that docs/clients.md shows. */
const sources: Readonly<Record<string, string>> = {
  python: "clients/python/*.py",
  go: "clients/go/*.go",
  rust: "clients/rust/src/*.rs",
  java: "clients/java/src/main/java/*.java",
  csharp: "clients/csharp/*.cs",
  js: "clients/browser/*.js",
  sh: "clients/curl/*.sh",
};

const snippetOf = (title: string, language: string) =>
  new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, "ms").exec(sectionOf(title))?.[1] ?? "";

const codeOf = (files: string) => globSync(files, { cwd: root }).map(read).join("\n");

/** Without what the code is indented by. */
const outdent = (code: string) => code.replace(/^[ \t]+/gm, "").trim();

test.each(Object.entries(sources))("how errors are read in %s is shown as the client does it", (language, files) => {
  const snippet = snippetOf("Errors", language);
  const code = codeOf(files);
  expect(outdent(snippet)).not.toBe("");
  expect(outdent(code)).toContain(outdent(snippet));
  for (const detail of ["ErrorInfo", "RetryInfo", "BadRequest"]) {
    // tonic-types names them by functions.
    const snake = detail.replace(/(?<=[a-z])[A-Z]/g, (letter) => `_${letter}`).toLowerCase();
    expect(snippet.includes(detail) || snippet.includes(snake), detail).toBe(true);
  }
});

test.each(["python", "go", "rust", "java", "sh"])("how %s speaks TLS is shown as the client does it", (language) => {
  const snippet = outdent(snippetOf("Over TLS", language));
  expect(snippet).not.toBe("");
  expect(outdent(codeOf(sources[language] ?? ""))).toContain(snippet);
});
