import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { chromium, type Page } from "playwright-core";
import { findChromium } from "../helpers/chromium.ts";
import { listen } from "../helpers/listen.ts";
import { createLines, type Program } from "./program.ts";

const contentTypes: Readonly<Record<string, string>> = { ".html": "text/html", ".js": "text/javascript" };

/** A Chromium with one profile, whose pages are the folder's, and get their token from a path of their own origin. */
export async function startBrowser(dir: string): Promise<Program> {
  const tokenFiles: string[] = [];
  const server = createServer(async ({ url = "/" }, response) => {
    const { pathname } = new URL(url, "http://localhost");
    const [, index] = /^\/token\/(\d+)$/.exec(pathname) ?? [];
    const file = index === undefined ? join(dir, pathname.slice(1)) : tokenFiles[Number(index)];
    const content = await readFile(file ?? "").catch(() => undefined);
    response.writeHead(content === undefined ? 404 : 200, {
      "content-type": contentTypes[extname(pathname)] ?? "text/plain",
    });
    response.end(content);
  });
  const origin = `http://127.0.0.1:${await listen(server)}`;
  const browser = await chromium.launch({
    executablePath: findChromium(),
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
    headless: true,
  });
  const context = await browser.newContext();

  return {
    async run(args, { address, tokenFile, deviceId, stateFile }) {
      const page: Page = await context.newPage();
      const lines = createLines();
      let complaints = "";
      page.on("console", (message) => {
        if (message.type() === "log") lines.push(message.text());
        else complaints += `${message.text()}\n`;
      });
      page.on("pageerror", (error) => {
        complaints += `${error.stack}\n`;
      });
      page.on("close", () => lines.end());
      const tokenUrl = `/token/${tokenFiles.push(tokenFile) - 1}`;
      const settings = { base: `http://${address}`, tokenUrl, deviceId, record: stateFile };
      const query = new URLSearchParams({ ...settings, args: JSON.stringify(args) });
      await page.goto(`${origin}/index.html?${query}`);
      return {
        nextLine: () => lines.next(),
        async kill() {
          await page.close();
        },
        get complaints() {
          return complaints;
        },
      };
    },
    async stop() {
      await browser.close();
      server.close();
      server.closeAllConnections();
    },
  };
}
