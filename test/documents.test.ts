import { existsSync, globSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { withSettingsTable } from "../.ci/settings-table.ts";
import { toAnchors } from "../release/site/anchors.ts";
import { settings } from "../src/config.ts";
import { errorTable } from "../src/errors.ts";
import { GroupService } from "../src/gen/mustreach/directory/v1/directory_pb.ts";
import { ReportService } from "../src/gen/mustreach/msg/v1/report_pb.ts";
import { OpenimService } from "../src/gen/mustreach/openim/v1/openim_pb.ts";
import { restPath } from "../src/json/rest-path.ts";
import { services } from "../src/openapi/services.ts";

const root = resolve(import.meta.dirname, "..");
const read = (path: string) => readFileSync(join(root, path), "utf8");

/** Those of the project: not what is installed, built or generated. */
const documents = globSync("{*,{.github,bench,clients,deploy,docs,release,src,test}/**/*}.md", { cwd: root })
  .map((path) => path.replaceAll("\\", "/"))
  .filter((path) => !/(^|\/)(node_modules|gen|target|dist|\.venv|site-packages)\//.test(path))
  .toSorted();

const contract = [...services, ReportService];
const methods = contract.flatMap((service) => service.methods.map((method) => ({ service, method })));
const routes = new Set([
  ...methods.flatMap(({ method }) => restPath(method) ?? []),
  // What is no method of the protos.
  ...["/events", "/ws", "/healthz", "/readyz", "/metrics", "/console", "/docs", "/openapi.json", "/asyncapi.json"],
]);

/** What the documents name because it is not there. */
const absentPaths = ["/msg/send_msg", "/msg/batch_send_msg"];

/** What is made when it is needed. */
const madeFolders = ["bench/results"];

test("all are found by the reader of README", () => {
  const reached = new Set(["README.md"]);
  for (const document of reached) {
    for (const { path } of linksOf(document)) {
      if (path.endsWith(".md")) reached.add(path);
      else if (isFolder(path)) for (const inside of documents) if (inside.startsWith(`${path}/`)) reached.add(inside);
    }
  }
  // Those beside code, and of the repository's host, are found where they are.
  const own = documents.filter((path) => path.startsWith("docs/") || path === "CHANGELOG.md");
  expect(own.filter((path) => !reached.has(path))).toEqual([]);
});

describe.each(documents)("%s", (document) => {
  test("links only to what exists", () => {
    const broken = linksOf(document).filter(({ path, anchor }) => {
      if (!existsSync(join(root, path))) return true;
      return anchor !== undefined && path.endsWith(".md") && !anchorsOf(path).includes(anchor);
    });
    expect(broken).toEqual([]);
  });

  test("names only settings that exist", () => {
    const named = [...read(document).matchAll(/\bMUSTREACH_([A-Z][A-Z_]*[A-Z])\b/g)].map(([, name]) => name);
    expect(named.filter((name = "") => !(name in settings || name.replace(/_FILE$/, "") in settings))).toEqual([]);
  });

  test("names only services, methods and paths that are served", () => {
    const text = read(document);
    const typeNames = contract.map(({ typeName }) => typeName);
    const named = [...text.matchAll(/\b(mustreach\.\w+\.v1\.\w+Service)\b/g)].map(([, name = ""]) => name);
    expect(named.filter((name) => !typeNames.includes(name))).toEqual([]);

    const calls = [...text.matchAll(/\b(\w+Service)[./]([A-Z]\w+)/g)].map(
      ([, service, method]) => `${service}.${method}`,
    );
    const known = new Set(methods.map(({ service, method }) => `${service.name}.${method.name}`));
    expect(
      calls.filter((call) => typeNames.some((name) => name.endsWith(`.${call.split(".")[0]}`)) && !known.has(call)),
    ).toEqual([]);

    const prefixes = new Set([...routes].map((path) => path.split("/")[1]));
    const paths = [...text.matchAll(/(?<=[\s`"(]|10002|\$URL)\/([a-z]+)(\/[a-z_]+)+(?![\w./*…-])/g)].map(
      ([path]) => path,
    );
    const served = (path: string) => routes.has(path) || absentPaths.includes(path);
    expect(paths.filter((path) => prefixes.has(path.split("/")[1]) && !served(path))).toEqual([]);
  });

  test("names only files that exist", () => {
    const named = [...prose(document).matchAll(/`((?:src|test|bench|deploy|docs|proto|release|\.ci)\/[\w./-]+)`/g)];
    expect(
      named.map(([, path = ""]) => path).filter((path) => !existsSync(join(root, path)) && !madeFolders.includes(path)),
    ).toEqual([]);
  });
});

test("README's table of settings is that of src/config.ts", () => {
  const readme = read("README.md");
  expect(readme).toBe(withSettingsTable(readme));
});

test("README gives a reason for every dependency", () => {
  const { dependencies, devDependencies, optionalDependencies } = JSON.parse(read("package.json"));
  const section = read("README.md").split("## Dependencies\n")[1] ?? "";
  const names = Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies });
  expect(names.filter((name) => !section.includes(`\`${name}\``))).toEqual([]);
});

test("each room of src is in the table of docs/architecture.md", () => {
  const [, table = ""] = read("docs/architecture.md").split("| room |");
  const rooms = globSync("src/*/", { cwd: root }).map((path) => path.replaceAll("\\", "/").split("/")[1]);
  expect(rooms.length).toBeGreaterThan(30);
  expect(rooms.filter((room) => !table.includes(`\`${room}\``))).toEqual([]);
});

test("the service config of gRPC clients has each call in it that may be repeated as it is", () => {
  const named: { service: string; method?: string }[] = JSON.parse(read("clients/service-config.json")).methodConfig[0]
    .name;
  const has = (service: string, method: string) =>
    named.some((name) => name.service === service && (name.method ?? method) === method);
  const left = methods.filter(({ service, method }) => !has(service.typeName, method.name));
  // Groups, and what is there for OpenIM's SDKs, as a whole.
  const others = left.filter(({ service }) => service !== GroupService && service !== OpenimService);
  expect(others.map(({ method }) => method.name)).toEqual(["ReplayDeadLetters"]);
  expect(left.length).toBe(GroupService.methods.length + OpenimService.methods.length + 1);
});

test("every error code is listed with its name", () => {
  const rows = [...read("docs/operating.md").matchAll(/^\| (\d+) \| `(\w+)` \|/gm)].map(([, code, name]) => ({
    errCode: Number(code),
    name,
  }));
  expect(rows).toEqual(Object.entries(errorTable).map(([name, { errCode }]) => ({ errCode, name })));
});

test("every header that is stored with a notification is named", () => {
  const layout = read("docs/nats-layout.md");
  const source = read("src/inbox/items.ts");
  const headers = new Set(source.match(/"Mustreach-[\w-]+"/g));
  expect(headers.size).toBeGreaterThan(0);
  for (const header of headers) expect(layout).toContain(`\`${header.slice(1, -1)}\``);
});

describe("each test that covers a threat of docs/security.md is there", () => {
  const rows = read("docs/security.md")
    .split("\n")
    .filter((line) => /^\|.*\.test\.ts\)/.test(line));

  test.each(rows)("%s", (row) => {
    // Titles stand after the file that they are in.
    const [, ...covers] = row.split(/(?=\]\(\.\.\/test\/)/);
    for (const cover of covers) {
      const [, path = ""] = /^\]\(\.\.\/([^)]+)\)/.exec(cover) ?? [];
      const source = read(path);
      const titles = [...cover.matchAll(/“([^”]+)”/g)].map(([, title = ""]) => title);
      expect(titles, path).not.toEqual([]);
      expect(
        titles.filter((title) => !runs(source, title)),
        path,
      ).toEqual([]);
    }
  });

  test("and each threat names one", () => {
    const threats = read("docs/security.md")
      .split("\n")
      .filter((line) => /^\| (?!threat)[a-z].*\|.*\|.*\|$/.test(line));
    expect(rows.length).toBeGreaterThan(30);
    expect(threats.filter((threat) => !rows.includes(threat))).toEqual([]);
  });
});

/** Whether a file of tests has one of this title, also one for each of a table, that is run wherever the others are. */
function runs(source: string, title: string): boolean {
  if (/\bdescribe(?:\.\w+)*\.(?:skip|skipIf|runIf|todo)\b/.test(source)) return false;
  const at = ['"', "'", "`"].flatMap((quote) => {
    const place = source.indexOf(`${quote}${title}${quote}`);
    return place >= 0 && source.slice(0, place).trimEnd().endsWith("(") ? [place] : [];
  });
  return at.some((place) => {
    // The statement in which the title stands is the last that begins before it.
    const [, name, ways = ""] =
      [...source.slice(0, place).matchAll(/^ *(test|it|describe)\b((?:\.\w+)*)/gm)].at(-1) ?? [];
    return (name === "test" || name === "it") && !/\.(?:skip|skipIf|runIf|todo|fails)\b/.test(ways);
  });
}

/** Whether a link leads to a folder of documents; else it is to a picture, or data. */
function isFolder(path: string): boolean {
  return path.startsWith("docs/") && statSync(join(root, path)).isDirectory();
}

/** A document without its code. */
function prose(document: string): string {
  return read(document).replace(/^ *```.*?^ *```$/gms, "");
}

/** The relative links of a document. */
function linksOf(document: string): { path: string; anchor: string | undefined }[] {
  return [...prose(document).matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, target = ""]) => {
    if (/^[a-z]+:/.test(target)) return [];
    const [path = "", anchor] = target.split("#");
    return [{ path: path === "" ? document : relative(root, resolve(root, dirname(document), path)), anchor }];
  });
}

function anchorsOf(document: string): string[] {
  return toAnchors([...prose(document).matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) => heading));
}
