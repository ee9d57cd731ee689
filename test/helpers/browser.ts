import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { rolldown } from "rolldown";
import { beforeAll, onTestFinished } from "vitest";
import { findChromium } from "./chromium.ts";
import { listen } from "./listen.ts";
import type { Tab } from "./tab.ts";

/** What reaches the network besides the pages of the tests is switched off. */
const args = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** What a tab is opened with. */
export interface TabSettings {
  readonly baseUrl: string;
  readonly token: string;
  readonly deviceId?: string;
  readonly shareStream?: "false";
  readonly cursorStore?: "localStorage" | "indexedDB";
}

/** A page of the test's origin with `test/helpers/tab.ts` in it. */
export interface OpenTab {
  readonly page: Page;
  /** Reads from the tab. */
  read<T>(read: (tab: Tab) => T | Promise<T>): Promise<T>;
  /** Whether it holds a Web Lock of ours. */
  leads(): Promise<boolean>;
}

/** A profile of its own, in which tabs know each other. */
export interface Profile {
  /** Opens a page, with a Content-Security-Policy if one is given. */
  open(settings: TabSettings, policy?: string): Promise<OpenTab>;
}

/** The browser of a file's tests. */
export interface TestBrowser {
  profile(): Promise<Profile>;
  /** A page of any address, in a profile of its own. */
  visit(url: string, options?: BrowserContextOptions): Promise<Page>;
}

/**
 * A headless Chromium for all tests of a file, and an origin for its pages.
 *
 * @param module of this folder, what is in each page.
 */
export function useBrowser(module = "tab.ts"): TestBrowser {
  const holder: { browser?: Browser; origin?: string } = {};

  beforeAll(async () => {
    const script = await bundle(fileURLToPath(new URL(module, import.meta.url)));
    const server = createServer(({ url = "/" }, response) => {
      const isScript = url === "/tab.js";
      const policy = new URL(url, "http://localhost").searchParams.get("policy");
      if (policy !== null) response.setHeader("content-security-policy", policy);
      response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
      response.end(isScript ? script : '<!doctype html><title>tab</title><script src="/tab.js"></script>');
    });
    holder.origin = `http://127.0.0.1:${await listen(server)}`;
    holder.browser = await chromium.launch({ executablePath: findChromium(), args, headless: true });
    return async () => {
      await holder.browser?.close();
      server.close();
      server.closeAllConnections();
    };
  });

  async function newContext(options?: BrowserContextOptions): Promise<BrowserContext> {
    if (holder.browser === undefined) throw new Error("the browser is there inside tests only");
    const context = await holder.browser.newContext(options);
    onTestFinished(() => context.close());
    return context;
  }

  return {
    async visit(url, options) {
      const page = await (await newContext(options)).newPage();
      await page.goto(url);
      return page;
    },
    async profile() {
      const context = await newContext();
      return {
        open(settings, policy) {
          const query = policy === undefined ? "" : `?${new URLSearchParams({ policy })}`;
          return openTab(context, `${holder.origin}/${query}#${new URLSearchParams({ ...settings })}`);
        },
      };
    },
  };
}

async function openTab(context: BrowserContext, url: string): Promise<OpenTab> {
  const page = await context.newPage();
  await page.goto(url);
  return {
    page,
    read: (read) => page.evaluate(`(${read})(globalThis.tab)`),
    leads: () =>
      page.evaluate(async () => {
        const probe = crypto.randomUUID();
        return navigator.locks.request(probe, async () => {
          const { held = [] } = await navigator.locks.query();
          const own = held.find(({ name }) => name === probe)?.clientId;
          return held.some(({ name, clientId }) => name?.startsWith("mustreach ") && clientId === own);
        });
      }),
  };
}

/** One script of a module and all that it imports. */
async function bundle(input: string): Promise<string> {
  const build = await rolldown({ input, platform: "browser", logLevel: "silent" });
  const { output } = await build.generate({ format: "iife", codeSplitting: false });
  await build.close();
  return output[0].code;
}
