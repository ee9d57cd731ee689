import type { JsonSchema } from "./json-schema.ts";
import type { toOpenApi } from "./openapi.ts";
import { escapeHtml, type Html, toHtml } from "./page-text.ts";

type OpenApi = ReturnType<typeof toOpenApi>;
type Operation = OpenApi["paths"][string]["post"];

/** The page that shows the document: plain HTML, without a script, so that the policy of its content can forbid all. */
export function toPage(document: OpenApi): Html {
  const { info, tags, paths, components } = document;
  const operations = Object.entries(paths);
  const sections = tags.map(({ name, description }) => {
    const own = operations.filter(([, { post }]) => post.tags.includes(name));
    return `<section id="${name}"><h2>${escapeHtml(name)}</h2>${toHtml(description)}
${own.map(([path, { post }]) => toArticle(path, post, document)).join("\n")}</section>`;
  });
  const schemas = Object.entries(components.schemas).map(
    ([name, schema]) =>
      `<details id="${anchor(name)}"><summary><code>${escapeHtml(name)}</code></summary>${toSchema(schema)}</details>`,
  );
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(info.title)} API</title>
<link rel="stylesheet" href="docs.css">
<header><h1>${escapeHtml(info.title)} API <small>${escapeHtml(info.version)}</small></h1>
${toHtml(info.description)}
<p>For machines: <a href="openapi.json">openapi.json</a> (OpenAPI 3.1), <a href="asyncapi.json">asyncapi.json</a>
(AsyncAPI 3: events and webhooks).</p></header>
<nav>${tags.map(({ name }) => `<a href="#${name}">${escapeHtml(name)}</a>`).join(" ")} <a href="#schemas">Schemas</a></nav>
<main>${sections.join("\n")}
<section id="schemas"><h2>Schemas</h2>${schemas.join("\n")}</section></main>
</html>
`;
}

function toArticle(path: string, operation: Operation, { servers }: OpenApi): Html {
  const body = operation.requestBody.content["application/json"];
  const answer = operation.responses[200].content["application/json"];
  const example = "example" in body ? toCurl(`${servers[0]?.url ?? ""}${path}`, operation, body.example) : "";
  const exampleAnswer = "example" in answer ? toCode(answer.example) : "";
  const [success = {}] = answer.schema.oneOf ?? [];
  return `<details id="${anchor(path)}"><summary><b>POST</b> <code>${escapeHtml(path)}</code>
<span>${escapeHtml(operation.summary)}</span></summary>
${toHtml(operation.description)}
<p>Who may call it: ${escapeHtml(operation["x-access"])}.</p>
<h3>Body</h3>${toSchema(body.schema)}${example}
<h3>Answer</h3>${toSchema(success.properties?.data ?? { description: "No `data`." })}${exampleAnswer}
</details>`;
}

function toCurl(url: string, { security }: Operation, example: unknown): Html {
  const token = security.length === 0 ? "" : ' -H "token: $TOKEN"';
  const body = JSON.stringify(example).replaceAll("'", "'\\''");
  return `<pre><code>${escapeHtml(`curl -sS ${url} -H "operationID: $(date +%s)"${token} \\\n  -d '${body}'`)}</code></pre>`;
}

function toCode(value: unknown): Html {
  return `<pre><code>${escapeHtml(JSON.stringify(value, undefined, 2))}</code></pre>`;
}

function toSchema(schema: JsonSchema): Html {
  if (schema.$ref !== undefined) return `<p>${toLink(schema.$ref)}</p>`;
  if (schema.properties === undefined) return `${toHtml(schema.description)}<p>${toType(schema)}</p>`;
  const rows = Object.entries(schema.properties).map(([name, field]) => {
    const isRequired = schema.required?.includes(name) === true;
    return `<tr><td><code>${escapeHtml(name)}</code>${isRequired ? " *" : ""}</td><td>${toType(field)}</td><td>${toHtml(field.description)}</td></tr>`;
  });
  return `${toHtml(schema.description)}<table><thead><tr><th>field (* always)</th><th>type</th><th>what it is</th></tr></thead>
<tbody>${rows.join("\n")}</tbody></table>`;
}

function toType({ $ref, type, items, additionalProperties, enum: values, ...limits }: JsonSchema): Html {
  if ($ref !== undefined) return toLink($ref);
  if (items !== undefined) return `list of ${toType(items)}${toBounds("", limits.minItems, limits.maxItems)}`;
  if (additionalProperties !== undefined) return `map of ${toType(additionalProperties)}`;
  if (values !== undefined) return values.map((value) => `<code>${escapeHtml(String(value))}</code>`).join(" ");
  const length = toBounds(" characters", limits.minLength, limits.maxLength);
  const isWholeRange = limits.format === "int32" && (limits.minimum ?? 0) < -1;
  return `${escapeHtml(String(type ?? "any"))}${length}${isWholeRange ? "" : toBounds("", limits.minimum, limits.maximum)}`;
}

function toBounds(unit: string, from: number | undefined, to: number | undefined): Html {
  if (from === undefined && to === undefined) return "";
  const text = to === undefined ? `from ${from}` : `${from ?? 0} to ${to.toLocaleString("en")}`;
  return ` <small>(${text}${unit})</small>`;
}

function toLink(reference: string): Html {
  const name = reference.slice(reference.lastIndexOf("/") + 1);
  return `<a href="#${anchor(name)}"><code>${escapeHtml(name)}</code></a>`;
}

function anchor(name: string): string {
  return encodeURIComponent(name);
}
