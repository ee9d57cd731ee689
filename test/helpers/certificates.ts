import "reflect-metadata";
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";
import { onTestFinished } from "vitest";

x509.cryptoProvider.set(crypto);

const day = 86_400_000;
const algorithms = {
  ecdsa: { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" },
  rsa: {
    name: "RSASSA-PKCS1-v1_5",
    hash: "SHA-256",
    publicExponent: new Uint8Array([1, 0, 1]),
    modulusLength: 2_048,
  },
} as const;

/** What a certificate is to be. */
export interface CertificateRequest {
  /** Its common name. Default: none. */
  readonly name?: string;
  /** Its alternative names. Default: none. */
  readonly dns?: readonly string[];
  readonly ip?: readonly string[];
  readonly uri?: readonly string[];
  readonly usage?: "server" | "client";
  readonly algorithm?: keyof typeof algorithms;
  /** When it ends, from now, in milliseconds. Default: a day. */
  readonly lastsMs?: number;
}

/** A certificate and its key, in PEM. */
export interface Issued {
  readonly cert: string;
  readonly key: string;
  readonly serialNumber: string;
}

/** An authority of the test's own, made anew each time. */
export interface Authority {
  readonly cert: string;
  /** The hash of its public key, as Chromium takes it. */
  readonly spki: string;
  issue(request: CertificateRequest): Promise<Issued>;
  /** A list of revoked certificates. */
  revoke(serialNumbers: readonly string[], lastsMs?: number): Promise<string>;
}

export async function createAuthority(name = "Test CA"): Promise<Authority> {
  const keys = await crypto.subtle.generateKey(algorithms.ecdsa, true, ["sign", "verify"]);
  const issuer = `CN=${name}`;
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    name: issuer,
    keys,
    signingAlgorithm: algorithms.ecdsa,
    notBefore: new Date(Date.now() - day),
    notAfter: new Date(Date.now() + day),
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const publicKey = Buffer.from(await crypto.subtle.exportKey("spki", keys.publicKey));
  let lastSerial = 0x1000;

  return {
    cert: `${root.toString("pem")}\n`,
    spki: createHash("sha256").update(publicKey).digest("base64"),
    async issue({ name: subject, dns = [], ip = [], uri = [], usage = "server", algorithm = "ecdsa", lastsMs = day }) {
      const own = await crypto.subtle.generateKey(algorithms[algorithm], true, ["sign", "verify"]);
      const serialNumber = (++lastSerial).toString(16).toUpperCase();
      const names: x509.JsonGeneralNames = [
        ...dns.map((value) => ({ type: "dns" as const, value })),
        ...ip.map((value) => ({ type: "ip" as const, value })),
        ...uri.map((value) => ({ type: "url" as const, value })),
      ];
      const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;
      const certificate = await x509.X509CertificateGenerator.create({
        serialNumber,
        subject: subject === undefined ? "" : `CN=${subject}`,
        issuer,
        publicKey: own.publicKey,
        signingKey: keys.privateKey,
        signingAlgorithm: algorithms.ecdsa,
        notBefore: new Date(Date.now() - day),
        notAfter: new Date(Date.now() + lastsMs),
        extensions: [
          new x509.ExtendedKeyUsageExtension([usage === "server" ? serverAuth : clientAuth]),
          await x509.AuthorityKeyIdentifierExtension.create(keys.publicKey),
          ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names)] : []),
        ],
      });
      const key = Buffer.from(await crypto.subtle.exportKey("pkcs8", own.privateKey)).toString("base64");
      const lines = key.match(/.{1,64}/g) ?? [];
      return {
        cert: `${certificate.toString("pem")}\n`,
        key: ["-----BEGIN PRIVATE KEY-----", ...lines, "-----END PRIVATE KEY-----", ""].join("\n"),
        serialNumber,
      };
    },
    async revoke(serialNumbers, lastsMs = day) {
      const list = await x509.X509CrlGenerator.create({
        issuer,
        thisUpdate: new Date(Date.now() - day),
        nextUpdate: new Date(Date.now() + lastsMs),
        entries: serialNumbers.map((serialNumber) => ({ serialNumber, revocationDate: new Date(Date.now() - 1_000) })),
        signingAlgorithm: algorithms.ecdsa,
        signingKey: keys.privateKey,
      });
      return `${list.toString("pem").replaceAll(" CRL-", " X509 CRL-")}\n`;
    },
  };
}

/** What every server of the tests is called. */
export const local: CertificateRequest = { dns: ["localhost"], ip: ["127.0.0.1", "::1"] };

/** A directory of files, until the end of the test. */
export async function useFiles(files: Readonly<Record<string, string>>) {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-tls-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const path = (name: string) => join(dir, name);
  const write = (name: string, content: string) => writeFile(path(name), content);
  for (const [name, content] of Object.entries(files)) await write(name, content);
  return { path, write };
}
