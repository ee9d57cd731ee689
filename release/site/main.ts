import { join, resolve } from "node:path";
import { buildSite } from "./build-site.ts";

// Of Markdown by `marked`, which installs 0.6 MB and nothing else, where VitePress brings Vue, Vite and Shiki.
const root = resolve(import.meta.dirname, "../..");
const out = join(root, "dist", "site");
const pages = buildSite({ root, out, sourceUrl: process.env.DOCS_SOURCE_URL });
process.stdout.write(`${pages.length} pages: ${join(out, "index.html")}\n`);
