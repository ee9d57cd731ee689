import { readFileSync } from "node:fs";
import { isAbsolute, resolve } from "node:path";
import { z } from "zod";
import { isAddressRange } from "./trusted-proxies.ts";

/** Where the settings are explained; every configuration error points there. */
const documentedAt = "README.md, section Configuration";

/** The shortest token secret, in bytes of UTF-8: the size of an HS256 hash (RFC 7518 section 3.2). */
export const minTokenSecretBytes = 32;

const text = z.string().trim().min(1);
const count = (min: number, max: number) => text.transform(Number).pipe(z.number().int().min(min).max(max));
const flag = z.enum(["true", "false"]).transform((value) => value === "true");
const port = count(0, 65_535);
const list = text
  .transform((value) => value.split(",").map((item) => item.trim()))
  .pipe(z.array(z.string().min(1)).min(1));
const units = { s: 1, m: 60, h: 3_600, d: 86_400 } as const;
const duration = (maxMs: number) =>
  z
    .string()
    .regex(/^[1-9]\d{0,8}[smhd]$/)
    .transform((value) => Number(value.slice(0, -1)) * units[value.slice(-1) as keyof typeof units] * 1_000)
    .pipe(z.number().max(maxMs));
/** What a timer can wait: a longer one would fire at once. */
const wait = duration(24 * 86_400_000);
/** What a broker can keep and a token can say: JetStream counts in nanoseconds, JavaScript in 2^53. */
const age = duration(36_500 * 86_400_000);
const natsUrls = list.pipe(z.array(z.string().regex(/^(nats|tls):\/\/[^\s/]+$/)));
/** An address whose answers nobody on the way can forge. */
const trustedUrl = z.union([
  z.url({ protocol: /^https$/ }),
  z.url({ protocol: /^http$/, hostname: /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/ }),
]);
/** fetch refuses an address with credentials, so that it could never work. */
const webhookUrl = z
  .url({ protocol: /^https?$/ })
  .pipe(z.string().refine((url) => new URL(url).username === "" && new URL(url).password === ""));
/** Keys as Standard Webhooks writes them: `whsec_` and the base64 of 24 to 64 bytes. */
const webhookKeys = text
  .transform((value) => value.split(/[\s,]+/))
  .pipe(
    z.array(
      z
        .string()
        .regex(/^whsec_/)
        .transform((value) => value.slice("whsec_".length)),
    ),
  )
  .pipe(z.array(z.base64().transform((value) => Buffer.from(value, "base64"))))
  .refine((keys) => keys.every(({ length }) => length >= 24 && length <= 64));

/**
 * Every setting: the environment variable without its prefix MUSTREACH_, its default as it would be written there,
 * what is expected, and what it means. README's configuration table is this table.
 */
export const settings = {
  HOST: { is: text, default: "127.0.0.1", expected: "a host name or address", means: "Address to listen on." },
  PORT: {
    is: port,
    default: "10002",
    expected: "a port, 0 to 65535",
    means:
      "Port for gRPC, Connect, gRPC-Web, REST, server-sent events and WebSockets. 0 takes a free one. Absent: `PORT`, as many platforms give it, if that is there.",
  },
  ADMIN_HOST: {
    is: text,
    default: "127.0.0.1",
    expected: "a host name or address",
    means: "Address of the operator's port. Whoever reaches it can read it: there are no tokens.",
  },
  ADMIN_PORT: {
    is: z.union([z.literal("off").transform(() => undefined), port]),
    default: "10003",
    expected: "a port, 0 to 65535, or off",
    means:
      "The operator's port: `/console`, `/metrics`, and `/readyz` with its reasons. 0 takes a free one, `off` opens none.",
  },
  TLS_CERT_FILE: {
    is: text,
    default: undefined,
    expected: "the path of a file",
    means:
      "The certificate of the port, in PEM, with those that lead from it to the root. With it the port speaks TLS, and nothing else (docs/tls.md).",
  },
  TLS_KEY_FILE: {
    is: text,
    default: undefined,
    expected: "the path of a file",
    means: "Its private key, in PEM, without a passphrase. Required with TLS_CERT_FILE.",
  },
  TLS_MIN_VERSION: {
    is: z.enum(["1.2", "1.3"]),
    default: "1.2",
    expected: "1.2 or 1.3",
    means: "The oldest version of TLS that is spoken.",
  },
  TLS_CLIENT_AUTH: {
    is: z.enum(["none", "request", "require"]),
    default: "none",
    expected: "none, request or require",
    means:
      "Whether clients are asked for a certificate of TLS_CLIENT_CA_FILE: `request` serves those without one too, `require` turns them away.",
  },
  TLS_CLIENT_CA_FILE: {
    is: text,
    default: undefined,
    expected: "the path of a file",
    means: "The certificates, in PEM, of those who certify clients. Required where clients are asked.",
  },
  TLS_CLIENT_CRL_FILE: {
    is: text,
    default: undefined,
    expected: "the path of a file",
    means:
      "Their lists of revoked certificates, in PEM: one of each. If a list has expired, no certificate of its authority is accepted until it is renewed.",
  },
  TLS_CLIENT_ADMINS: {
    is: list.pipe(z.array(z.string().regex(/^(DNS|URI|CN):./))),
    default: undefined,
    expected: "names such as DNS:orders.internal, URI:spiffe://prod/orders or CN:orders, separated by commas",
    means:
      "Names of client certificates whose holders are admins without a token, as long as a request has none. Absent: a certificate is no one's token.",
  },
  TRUSTED_PROXIES: {
    is: list.pipe(z.array(z.string().refine(isAddressRange))),
    default: undefined,
    expected: "addresses, or ranges such as 10.0.0.0/8, separated by commas",
    means:
      "Proxies whose `X-Forwarded-For` says where a request comes from, for the log and for limits by address. Absent: it is not looked at.",
  },
  CA_FILE: {
    is: text,
    default: undefined,
    expected: "the path of a file",
    means: "For the command line only: certificates, in PEM, that are believed besides those of the system.",
  },
  WORKERS: {
    is: z.union([z.literal("auto"), count(1, 64)]),
    default: "auto",
    expected: "a whole number, 1 to 64, or auto",
    means:
      "Processes that answer on the one port. 1: the service is one process. `auto`: half as many as the machine has cores.",
  },
  DATA_DIR: {
    is: text.transform((path) => (isAbsolute(path) ? path : resolve(path))),
    default: "data",
    expected: "a path",
    means:
      "Where the embedded broker stores notifications and where a generated token secret is kept. Absent: `STATE_DIRECTORY`, as systemd gives it, if that is there.",
  },
  NATS_URL: {
    is: natsUrls,
    default: undefined,
    expected: "one or more nats:// or tls:// addresses, separated by commas",
    means: "An external NATS JetStream broker, 2.14 or later. Absent: an embedded one is started.",
  },
  NATS_CREDS: {
    is: text,
    default: undefined,
    expected: "the path of a NATS credentials file",
    means: "Credentials for NATS_URL.",
  },
  NATS_SERVER: {
    is: text,
    default: undefined,
    expected: "the path of a nats-server binary, 2.14 or later",
    means: "The binary for the embedded broker. Absent: found on PATH, in the user's cache, or installed there.",
  },
  TOKEN_SECRET: {
    is: z.string().refine((secret) => Buffer.byteLength(secret) >= minTokenSecretBytes),
    default: undefined,
    expected: `at least ${minTokenSecretBytes} bytes`,
    means:
      "The secret that signs tokens (HS256), as OpenIM's share.yml. Absent: an embedded start creates one and keeps it in DATA_DIR; required with NATS_URL.",
  },
  TOKEN_SECRET_PREVIOUS: {
    is: z.string().refine((secret) => Buffer.byteLength(secret) >= minTokenSecretBytes),
    default: undefined,
    expected: `at least ${minTokenSecretBytes} bytes`,
    means:
      "Another secret whose tokens are accepted too, while the secret is changed: the one before, or the one to come ([how](docs/operating.md#changing-the-secret)).",
  },
  TOKEN: {
    is: text,
    default: undefined,
    expected: "a token",
    means: "For the command line only: the token to use, instead of one minted with the secret of this machine.",
  },
  TOKEN_TTL: {
    is: age,
    default: "90d",
    expected: "a duration such as 90s, 15m, 12h or 7d",
    means: "How long a minted token is valid.",
  },
  JWKS_URL: {
    is: trustedUrl,
    default: undefined,
    expected: "an https:// address, or an http:// one of this machine (loopback)",
    means:
      "Public keys (RFC 7517) of an identity provider whose RS256, PS256, ES256 or EdDSA tokens are accepted too. JWT_AUDIENCE is required with it.",
  },
  JWT_ISSUER: {
    is: text,
    default: undefined,
    expected: "text",
    means: "The `iss` that tokens verified by JWKS_URL must have. Absent: not checked.",
  },
  JWT_AUDIENCE: {
    is: text,
    default: undefined,
    expected: "text",
    means: "The `aud` that tokens verified by JWKS_URL must have. Required with it.",
  },
  JWT_USER_CLAIM: {
    is: text,
    default: "sub",
    expected: "the name of a claim",
    means:
      "The claim of tokens verified by JWKS_URL that is the user's id. A user of ADMIN_USER_IDS is taken from a token of JWT_ADMIN_CLAIM only.",
  },
  JWT_ADMIN_CLAIM: {
    is: text.regex(/^[^=]+(=.+)?$/),
    default: undefined,
    expected: "a claim, or claim=value, such as roles=mustreach-admin",
    means:
      "What makes a token verified by JWKS_URL an admin's: that its claim is the value, is a list with the value in it, or, for `scope`, has the value among its words; without a value, that the claim is `true`. Absent: none is.",
  },
  ADMIN_USER_IDS: {
    is: list,
    default: "imAdmin,openIMAdmin",
    expected: "user ids, separated by commas",
    means: "The users whose tokens signed with TOKEN_SECRET may send and administer.",
  },
  PARTITIONS: {
    is: count(1, 256),
    default: "1",
    expected: "a whole number, 1 to 256",
    means:
      "How many inbox streams users are spread over, fixed when they are created. One is fastest on a single broker: waiting writes share a sync to disk. A cluster wants several for each broker.",
  },
  REPLICAS: {
    is: count(1, 5),
    default: "1",
    expected: "a whole number, 1 to 5",
    means: "Copies of every stream in a NATS cluster.",
  },
  RETENTION: {
    is: age,
    default: "7d",
    expected: "a duration such as 90s, 15m, 12h or 7d",
    means: "How long a must-reach notification and its clientMsgID are kept.",
  },
  CHAT_RETENTION: {
    is: age,
    default: undefined,
    expected: "a duration such as 30d",
    means: "How long chat copies (sendMsg) are kept. Absent: for ever.",
  },
  MAX_STORE_BYTES: {
    is: count(1_048_576, Number.MAX_SAFE_INTEGER),
    default: "10737418240",
    expected: "a number of bytes, at least 1048576",
    means: "Space for stored notifications, over all partitions. A full store refuses sends; it never evicts.",
  },
  MAX_GROUPS_BYTES: {
    is: count(65_536, Number.MAX_SAFE_INTEGER),
    default: "1073741824",
    expected: "a number of bytes, at least 65536",
    means: "Space for groups and their members. When it is used up, nobody is added: 90101.",
  },
  MAX_CHAT_BYTES: {
    is: count(65_536, Number.MAX_SAFE_INTEGER),
    default: undefined,
    expected: "a number of bytes, at least 65536",
    means:
      "Space for chat copies (sendMsg) and their conversations. When it is used up, such sends are refused. Absent: as much as MAX_STORE_BYTES.",
  },
  MAX_JOBS_BYTES: {
    is: count(65_536, Number.MAX_SAFE_INTEGER),
    default: undefined,
    expected: "a number of bytes, at least 65536",
    means:
      "Space for sends to groups and lists that wait to be expanded, and again for scheduled sends. When it is used up, such sends are refused. Absent: a tenth of MAX_STORE_BYTES.",
  },
  MAX_DATA_BYTES: {
    is: count(1, 4_194_304),
    default: "262144",
    expected: "a number of bytes, 1 to 4194304",
    means: "The largest `data` of a notification, in bytes of UTF-8.",
  },
  SENDER_SYNC: {
    is: flag,
    default: "true",
    expected: "true or false",
    means: "Whether a notification to a user is also pushed to the sender's own connected devices, as OpenIM does.",
  },
  STRICT_JSON: {
    is: flag,
    default: "false",
    expected: "true or false",
    means:
      "Whether a REST body with a key that is no field is refused with 1001. Otherwise the key is ignored, as OpenIM does, and named in the header Mustreach-Unknown-Fields and in the log.",
  },
  REFLECTION: {
    is: flag,
    default: "true",
    expected: "true or false",
    means:
      "Whether tools such as grpcurl can ask for the protos, by gRPC's server reflection. It needs no token, and shows nothing but the protos.",
  },
  ESCALATION_URL: {
    is: webhookUrl,
    default: undefined,
    expected: "an http:// or https:// address without user:password@",
    means: "A webhook that is handed each must-reach notification that no device has acknowledged in time.",
  },
  ESCALATION_SECRET: {
    is: webhookKeys,
    default: undefined,
    expected: "whsec_ and the base64 of 24 to 64 random bytes; several are separated by spaces or commas",
    means:
      "The key that signs the webhook's requests (Standard Webhooks). Several, the newest first, while it is changed. Required with ESCALATION_URL.",
  },
  ESCALATION_DELAY: {
    is: wait,
    default: "30s",
    expected: "a duration such as 30s or 5m",
    means: "How long a notification may be unacknowledged before the webhook gets it.",
  },
  REPORT_KEYS: {
    is: list,
    default: undefined,
    expected: "beginnings of keys, separated by commas, or *",
    means:
      "What becomes of must-reach notifications whose key begins with one of these is reported, as if each had been sent with `report` ([docs/reports.md](docs/reports.md)). `*`: of all. Absent: only of those sent with it.",
  },
  REPORT_WEBHOOK_URL: {
    is: webhookUrl,
    default: undefined,
    expected: "an http:// or https:// address without user:password@",
    means: "A webhook that is handed the reports, in order, up to 100 at a time.",
  },
  REPORT_WEBHOOK_SECRET: {
    is: webhookKeys,
    default: undefined,
    expected: "whsec_ and the base64 of 24 to 64 random bytes; several are separated by spaces or commas",
    means:
      "The key that signs that webhook's requests (Standard Webhooks). Several, the newest first, while it is changed. Required with REPORT_WEBHOOK_URL.",
  },
  REPORT_MAX_BYTES: {
    is: count(1_048_576, Number.MAX_SAFE_INTEGER),
    default: undefined,
    expected: "a number of bytes, at least 1048576",
    means:
      "Space for reports; the oldest make room, which whoever has not taken them is told by a gap. Absent: a tenth of MAX_STORE_BYTES, or 16 of the largest notifications if that is more.",
  },
  MAX_SENDS_IN_FLIGHT: {
    is: count(16, 65_536),
    default: "4096",
    expected: "a whole number, 16 to 65536",
    means:
      "Sends that each worker has under way at a time, eight of a batch as one, at most: fewer while writes take long. One more is refused with 429 ([docs/operating.md](docs/operating.md#overload)).",
  },
  QUOTA_CALLER: {
    is: count(0, 1_000_000_000),
    default: "0",
    expected: "a whole number, 0 to 1000000000",
    means:
      "Notifications that one caller may send to this instance a minute, as many of them at once. One more is refused with 429. 0: no quota.",
  },
  QUOTA_RECIPIENT: {
    is: count(0, 1_000_000_000),
    default: "0",
    expected: "a whole number, 0 to 1000000000",
    means:
      "Notifications that may be sent by this instance to one user, or to one group as a whole, a minute, as many of them at once. One more is refused with 429. 0: no quota.",
  },
  MAX_SESSIONS: {
    is: count(1, 1_000_000),
    default: "50000",
    expected: "a whole number, 1 to 1000000",
    means: "Sessions that one instance holds at a time. One more is refused with 1601.",
  },
  MAX_SESSIONS_PER_USER: {
    is: count(1, 1_000_000),
    default: "50",
    expected: "a whole number, 1 to 1000000",
    means:
      "Sessions of one user, so devices, that one instance holds at a time, and twice as many that one may open within a moment. One more is refused with 1601.",
  },
  MAX_SESSIONS_PER_ADDRESS: {
    is: count(0, 1_000_000),
    default: "0",
    expected: "a whole number, 0 to 1000000",
    means:
      "Sessions from one address that one instance holds at a time. One more is refused with 1601. 0: no limit, since behind a proxy that is not in TRUSTED_PROXIES all have its address.",
  },
  MAX_REPLAYS: {
    is: count(1, 65_536),
    default: "48",
    expected: "a whole number, 1 to 65536",
    means:
      "First reads of inboxes, as sessions are opened, that each worker has under way at a time. The next wait for their turn, 5 s at most, and are then refused with 1601 and a time to come back ([docs/operating.md](docs/operating.md#overload)).",
  },
  MAX_DEVICES_PER_USER: {
    is: count(1, 10_000),
    default: "100",
    expected: "a whole number, 1 to 10000",
    means:
      "Devices of one user whose cursors are stored. One more takes the place of the one that has acknowledged nothing for the longest time.",
  },
  MAX_WAITING_PUSH_BYTES: {
    is: count(8_388_608, Number.MAX_SAFE_INTEGER),
    default: "134217728",
    expected: "a number of bytes, at least 8388608",
    means:
      "Memory of one instance for online pushes that wait for slow devices. Beyond it the device that has had some waiting longest loses the oldest.",
  },
  HEARTBEAT: {
    is: wait,
    default: "15s",
    expected: "a duration such as 15s",
    means: "How often an idle session sends a heartbeat and looks into the inbox again.",
  },
  SEND_TIMEOUT: {
    is: wait,
    default: "5s",
    // A cluster begins to elect a leader 4 to 9 s after it has lost one (nats-server, raft.go).
    defaultWithReplicas: "12s",
    expected: "a duration such as 5s",
    means: "How long a send waits for the broker before it is answered with 90004.",
  },
  DRAIN_TIMEOUT: {
    is: wait,
    default: "3s",
    expected: "a duration such as 3s",
    means: "How long a stop waits for requests under way.",
  },
  HTTP2: {
    is: z.enum(["engine", "node"]),
    default: "engine",
    expected: "engine or node",
    means:
      "What serves HTTP/2: Mustreach's own, at a fraction of the CPU and memory, or the one of Node, the way back (docs/http2.md).",
  },
  LOG_LEVEL: {
    is: z.enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"]),
    default: "info",
    expected: "trace, debug, info, warn, error, fatal or silent",
    means: "The least severe lines that are logged.",
  },
  AUDIT: {
    is: text,
    default: "off",
    expected: "off, on, or the path of a file",
    means:
      "Whether each call with an admin's or a sender's rights has a line `audit` with who, what about and what came of it: `on` in the log, or in a file. Never with tokens or data.",
  },
  ACCESS_LOG: {
    is: z.enum(["sampled", "all", "off"]),
    default: "sampled",
    expected: "sampled, all or off",
    means:
      "Lines of calls that were answered, and of those refused: of each method and error ten a second and one that sums the others, each, or none but of refusals. Faults and streams have theirs in any case.",
  },
} as const satisfies Record<string, Setting>;

/** One row of {@link settings}. */
export interface Setting {
  readonly is: z.ZodType;
  readonly default: string | undefined;
  /** The default where REPLICAS, which is read before, is above 1. Default: none of its own. */
  readonly defaultWithReplicas?: string;
  readonly expected: string;
  readonly means: string;
}

type Row = typeof settings;
type CamelCase<S extends string> = S extends `${infer A}_${infer B}`
  ? `${Lowercase<A>}${Capitalize<CamelCase<B>>}`
  : Lowercase<S>;

/** The settings in effect, by camelCase name; durations are in milliseconds. One without default may be undefined. */
export type Config = {
  readonly [K in keyof Row as CamelCase<K>]:
    | z.output<Row[K]["is"]>
    | (Row[K]["default"] extends string ? never : undefined);
};

/** A setting that cannot be used. The message says which, what was expected and where it is documented. */
export class ConfigError extends Error {
  override name = "ConfigError";
}

/** Environment variables, such as those of the process. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads the settings from environment variables, or from the files that those with `_FILE` at their end name. PORT, as
 * many platforms give it, counts when MUSTREACH_PORT is absent, and STATE_DIRECTORY, as systemd gives it, when
 * MUSTREACH_DATA_DIR is.
 *
 * @throws {ConfigError} for the first variable that is unknown or has a bad value, and for a file that cannot be read.
 */
export function loadConfig(env: Environment): Config {
  const links = new Set(serviceLinksOf(env));
  for (const name of Object.keys(env)) {
    const setting = name.slice("MUSTREACH_".length);
    const isKnown = Object.hasOwn(settings, setting) || Object.hasOwn(settings, setting.replace(/_FILE$/, ""));
    if (name.startsWith("MUSTREACH_") && !isKnown && !links.has(name)) {
      throw new ConfigError(`${name} is not a setting of Mustreach. The settings are listed in ${documentedAt}.`);
    }
  }
  const config: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries<Setting>(settings)) {
    const variable = `MUSTREACH_${name}`;
    const fallback = (Number(config.replicas) > 1 && setting.defaultWithReplicas) || setting.default;
    const { source, value = fallback } = readValue(env, variable, links.has(variable));
    const parsed = value === undefined ? undefined : setting.is.safeParse(value);
    if (parsed?.success === false) {
      // A bad secret is named, not shown.
      const isShown = source !== `${variable}_FILE` && !/TOKEN$|_SECRET(_PREVIOUS)?$/.test(name);
      const shown = isShown ? JSON.stringify(value).replace(/[^"\s,/]*@/g, "***@") : "its value";
      throw new ConfigError(`${source}: expected ${setting.expected}, not ${shown}. See ${documentedAt}.`);
    }
    config[toCamelCase(name)] = parsed?.data;
  }
  const complete = config as Config;
  if (complete.natsUrl !== undefined && complete.tokenSecret === undefined) {
    throw new ConfigError(
      `MUSTREACH_TOKEN_SECRET is required with MUSTREACH_NATS_URL: all instances must share it. See ${documentedAt}.`,
    );
  }
  if (complete.jwksUrl !== undefined && complete.jwtAudience === undefined) {
    throw new ConfigError(
      `MUSTREACH_JWT_AUDIENCE is required with MUSTREACH_JWKS_URL: else a token that the identity provider made for any other service would be accepted. See ${documentedAt}.`,
    );
  }
  if (complete.escalationUrl !== undefined && complete.escalationSecret === undefined) {
    throw new ConfigError(
      `MUSTREACH_ESCALATION_SECRET is required with MUSTREACH_ESCALATION_URL: the webhook could not tell who calls. See ${documentedAt}.`,
    );
  }
  if (complete.reportWebhookUrl !== undefined && complete.reportWebhookSecret === undefined) {
    throw new ConfigError(
      `MUSTREACH_REPORT_WEBHOOK_SECRET is required with MUSTREACH_REPORT_WEBHOOK_URL: the webhook could not tell who calls. See ${documentedAt}.`,
    );
  }
  checkTls(complete);
  return complete;
}

function checkTls({ tlsCertFile, tlsKeyFile, tlsClientAuth, ...config }: Config): void {
  const { tlsClientCaFile, tlsClientCrlFile, tlsClientAdmins } = config;
  const asks = tlsClientAuth !== "none";
  const wrong =
    (tlsCertFile === undefined) !== (tlsKeyFile === undefined)
      ? "MUSTREACH_TLS_CERT_FILE and MUSTREACH_TLS_KEY_FILE belong together: give both."
      : asks && tlsCertFile === undefined
        ? "MUSTREACH_TLS_CLIENT_AUTH asks over TLS only: give MUSTREACH_TLS_CERT_FILE and MUSTREACH_TLS_KEY_FILE."
        : asks && tlsClientCaFile === undefined
          ? "MUSTREACH_TLS_CLIENT_CA_FILE is required with MUSTREACH_TLS_CLIENT_AUTH: else nobody says whose certificates count."
          : !asks && (tlsClientCaFile ?? tlsClientCrlFile ?? tlsClientAdmins) !== undefined
            ? "MUSTREACH_TLS_CLIENT_AUTH is none, so that no client would be asked for a certificate: set it to request or require, or remove the other MUSTREACH_TLS_CLIENT_… settings."
            : undefined;
  if (wrong !== undefined) throw new ConfigError(`${wrong} See ${documentedAt}.`);
}

const linkToAddress = /^MUSTREACH_([A-Z0-9_]+_)?PORT$/;
const otherLink =
  /^MUSTREACH_([A-Z0-9_]+_)?(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$/;

/**
 * The variables that Kubernetes puts into every pod of a namespace for a Service whose name begins with `mustreach`
 * (enableServiceLinks): `MUSTREACH_PORT=tcp://10.96.12.7:10002` and others of the same form. They are no settings.
 */
export function serviceLinksOf(env: Environment): string[] {
  const isAddress = (name: string) => /^(tcp|udp|sctp):\/\//.test(env[name] ?? "");
  return Object.keys(env).filter((name) => otherLink.test(name) || (linkToAddress.test(name) && isAddress(name)));
}

/** Variables of others that count when a setting is absent: of many platforms, and of systemd. */
const elsewhere: Readonly<Record<string, string>> = {
  MUSTREACH_PORT: "PORT",
  MUSTREACH_DATA_DIR: "STATE_DIRECTORY",
};

/** What is given for a setting, and by which variable. An empty variable is as good as none; an empty file is not. */
function readValue(env: Environment, variable: string, isLink: boolean): { source: string; value?: string } {
  const value = isLink ? "" : (env[variable] ?? "");
  const path = env[`${variable}_FILE`] ?? "";
  if (path === "") {
    if (value !== "") return { source: variable, value };
    const instead = elsewhere[variable] ?? "";
    if (!env[instead]) return { source: variable };
    // systemd separates directories by colons, and ours is the first.
    return { source: instead, value: env[instead]?.split(":")[0] ?? "" };
  }
  if (value !== "") throw new ConfigError(`${variable} and ${variable}_FILE are both given: give one of them.`);
  try {
    // Editors and `echo` end a file with a newline that is none of the value.
    return { source: `${variable}_FILE`, value: readFileSync(path, "utf8").replace(/\r?\n$/, "") };
  } catch (error) {
    const reason = error instanceof Error && "code" in error ? error.code : "unknown";
    throw new ConfigError(`${variable}_FILE: ${path} cannot be read (${reason}). See ${documentedAt}.`);
  }
}

function toCamelCase(name: string): string {
  return name.toLowerCase().replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
