import type { X509Certificate } from "node:crypto";
import type { Certificate } from "../http2/exchange.ts";

/** How many names of a certificate are looked at: one with more has the first of them. */
const maxNames = 64;

/** What a peer's certificate says. It has been verified already. */
export function readCertificate(x509: X509Certificate | undefined): Certificate | undefined {
  if (x509 === undefined) return undefined;
  // Of a certificate without a subject there is none, whatever its type says.
  const { subject, subjectAltName }: { subject?: string; subjectAltName: string | undefined } = x509;
  const names = [...readAlternativeNames(subjectAltName ?? ""), ...readCommonName(subject ?? "")].slice(0, maxNames);
  return { names, validFromMs: x509.validFromDate.getTime(), expiresAtMs: x509.validToDate.getTime() };
}

/** `DNS:…` and `URI:…`. What Node puts in quotes has a character that could pass for the end of a name: it is none. */
function readAlternativeNames(text: string): string[] {
  const entry = /([^:,"]+):("(?:\\.|[^"\\])*"|[^,"]*)(?:, |$)/gy;
  return [...text.matchAll(entry)].flatMap(([, kind = "", value = ""]) =>
    /^(DNS|URI)$/.test(kind) && !value.startsWith('"') ? [`${kind}:${value}`] : [],
  );
}

/** `CN:…` of a subject with one common name; with several, nobody can say which is meant. */
function readCommonName(subject: string): string[] {
  const found = subject.split("\n").filter((line) => line.startsWith("CN="));
  const [only, ...more] = found;
  return only === undefined || more.length > 0 || /[\\+"]/.test(only) ? [] : [`CN:${only.slice("CN=".length)}`];
}
