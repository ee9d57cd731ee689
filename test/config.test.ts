import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { isAbsolute, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { ConfigError, loadConfig, serviceLinksOf, settings } from "../src/config.ts";

type SettingName = keyof typeof settings;

const load = (given: Readonly<Record<string, string>>) =>
  loadConfig(Object.fromEntries(Object.entries(given).map(([name, value]) => [`MUSTREACH_${name}`, value])));

function refusalOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  throw new Error("it was accepted");
}

test("without any setting the defaults are in effect", () => {
  expect(load({})).toEqual({
    host: "127.0.0.1",
    port: 10_002,
    adminHost: "127.0.0.1",
    adminPort: 10_003,
    tlsMinVersion: "1.2",
    tlsClientAuth: "none",
    workers: "auto",
    dataDir: join(process.cwd(), "data"),
    natsUrl: undefined,
    natsCreds: undefined,
    natsServer: undefined,
    tokenSecret: undefined,
    token: undefined,
    tokenTtl: 90 * 86_400_000,
    jwksUrl: undefined,
    jwtIssuer: undefined,
    jwtAudience: undefined,
    jwtUserClaim: "sub",
    adminUserIds: ["imAdmin", "openIMAdmin"],
    partitions: 1,
    replicas: 1,
    retention: 7 * 86_400_000,
    maxStoreBytes: 10 * 2 ** 30,
    maxGroupsBytes: 2 ** 30,
    maxChatBytes: undefined,
    maxJobsBytes: undefined,
    maxDataBytes: 262_144,
    senderSync: true,
    strictJson: false,
    reflection: true,
    escalationUrl: undefined,
    escalationSecret: undefined,
    escalationDelay: 30_000,
    maxSendsInFlight: 4_096,
    quotaCaller: 0,
    quotaRecipient: 0,
    maxSessions: 50_000,
    maxSessionsPerUser: 50,
    maxSessionsPerAddress: 0,
    maxReplays: 48,
    maxDevicesPerUser: 100,
    maxWaitingPushBytes: 2 ** 27,
    heartbeat: 15_000,
    sendTimeout: 5_000,
    drainTimeout: 3_000,
    http2: "engine",
    logLevel: "info",
    audit: "off",
    accessLog: "sampled",
  });
});

test("every setting can be given", () => {
  const given: Record<SettingName, string> = {
    HOST: "0.0.0.0",
    PORT: "0",
    ADMIN_HOST: "::1",
    ADMIN_PORT: "off",
    TLS_CERT_FILE: "/etc/mustreach/tls.crt",
    TLS_KEY_FILE: "/etc/mustreach/tls.key",
    TLS_MIN_VERSION: "1.3",
    TLS_CLIENT_AUTH: "request",
    TLS_CLIENT_CA_FILE: "/etc/mustreach/ca.crt",
    TLS_CLIENT_CRL_FILE: "/etc/mustreach/ca.crl",
    TLS_CLIENT_ADMINS: "DNS:orders.internal, URI:spiffe://prod/bills",
    TRUSTED_PROXIES: "10.0.0.0/8, ::1",
    CA_FILE: "/etc/mustreach/root.crt",
    WORKERS: "3",
    DATA_DIR: "/var/lib/mustreach",
    NATS_URL: "nats://a:4222, tls://b:4222",
    NATS_CREDS: "/etc/mustreach.creds",
    NATS_SERVER: "/usr/bin/nats-server",
    TOKEN_SECRET: "a-token-secret-of-32-bytes-or-more",
    TOKEN_SECRET_PREVIOUS: "the-token-secret-before-that-one",
    TOKEN: "eyJ.eyJ.sig",
    TOKEN_TTL: "12h",
    JWKS_URL: "https://idp.example/keys",
    JWT_ISSUER: "https://idp.example",
    JWT_AUDIENCE: "mustreach",
    JWT_USER_CLAIM: "email",
    JWT_ADMIN_CLAIM: "roles=mustreach-admin",
    ADMIN_USER_IDS: "root, imAdmin",
    PARTITIONS: "16",
    REPLICAS: "3",
    RETENTION: "30d",
    CHAT_RETENTION: "365d",
    MAX_STORE_BYTES: "1048576",
    MAX_GROUPS_BYTES: "65536",
    MAX_CHAT_BYTES: "65537",
    MAX_JOBS_BYTES: "65538",
    MAX_DATA_BYTES: "1",
    SENDER_SYNC: "false",
    STRICT_JSON: "true",
    REFLECTION: "false",
    ESCALATION_URL: "https://push.example/hook",
    ESCALATION_SECRET: `whsec_${"A".repeat(86)}==, whsec_${"/".repeat(32)} `,
    ESCALATION_DELAY: "5m",
    REPORT_KEYS: "order., pay",
    REPORT_WEBHOOK_URL: "https://reports.example/hook",
    REPORT_WEBHOOK_SECRET: `whsec_${"/".repeat(32)}`,
    REPORT_MAX_BYTES: "1048576",
    MAX_SENDS_IN_FLIGHT: "65536",
    QUOTA_CALLER: "1000000000",
    QUOTA_RECIPIENT: "60",
    MAX_SESSIONS: "1000000",
    MAX_SESSIONS_PER_USER: "1",
    MAX_SESSIONS_PER_ADDRESS: "1000000",
    MAX_REPLAYS: "65536",
    MAX_DEVICES_PER_USER: "10000",
    MAX_WAITING_PUSH_BYTES: "8388608",
    HEARTBEAT: "1s",
    SEND_TIMEOUT: "90s",
    DRAIN_TIMEOUT: "15m",
    HTTP2: "node",
    LOG_LEVEL: "silent",
    AUDIT: "/var/log/mustreach-audit.log",
    ACCESS_LOG: "off",
  };
  expect(load(given)).toEqual({
    host: "0.0.0.0",
    port: 0,
    adminHost: "::1",
    adminPort: undefined,
    tlsCertFile: "/etc/mustreach/tls.crt",
    tlsKeyFile: "/etc/mustreach/tls.key",
    tlsMinVersion: "1.3",
    tlsClientAuth: "request",
    tlsClientCaFile: "/etc/mustreach/ca.crt",
    tlsClientCrlFile: "/etc/mustreach/ca.crl",
    tlsClientAdmins: ["DNS:orders.internal", "URI:spiffe://prod/bills"],
    trustedProxies: ["10.0.0.0/8", "::1"],
    caFile: "/etc/mustreach/root.crt",
    workers: 3,
    dataDir: "/var/lib/mustreach",
    natsUrl: ["nats://a:4222", "tls://b:4222"],
    natsCreds: "/etc/mustreach.creds",
    natsServer: "/usr/bin/nats-server",
    tokenSecret: "a-token-secret-of-32-bytes-or-more",
    tokenSecretPrevious: "the-token-secret-before-that-one",
    token: "eyJ.eyJ.sig",
    tokenTtl: 12 * 3_600_000,
    jwksUrl: "https://idp.example/keys",
    jwtIssuer: "https://idp.example",
    jwtAudience: "mustreach",
    jwtUserClaim: "email",
    jwtAdminClaim: "roles=mustreach-admin",
    adminUserIds: ["root", "imAdmin"],
    partitions: 16,
    replicas: 3,
    retention: 30 * 86_400_000,
    chatRetention: 365 * 86_400_000,
    maxStoreBytes: 1_048_576,
    maxGroupsBytes: 65_536,
    maxChatBytes: 65_537,
    maxJobsBytes: 65_538,
    maxDataBytes: 1,
    senderSync: false,
    strictJson: true,
    reflection: false,
    escalationUrl: "https://push.example/hook",
    escalationSecret: [Buffer.alloc(64), Buffer.alloc(24, 255)],
    escalationDelay: 300_000,
    reportKeys: ["order.", "pay"],
    reportWebhookUrl: "https://reports.example/hook",
    reportWebhookSecret: [Buffer.alloc(24, 255)],
    reportMaxBytes: 1_048_576,
    maxSendsInFlight: 65_536,
    quotaCaller: 1_000_000_000,
    quotaRecipient: 60,
    maxSessions: 1_000_000,
    maxSessionsPerUser: 1,
    maxSessionsPerAddress: 1_000_000,
    maxReplays: 65_536,
    maxDevicesPerUser: 10_000,
    maxWaitingPushBytes: 8_388_608,
    heartbeat: 1_000,
    sendTimeout: 90_000,
    drainTimeout: 15 * 60_000,
    http2: "node",
    logLevel: "silent",
    audit: "/var/log/mustreach-audit.log",
    accessLog: "off",
  });
});

test("a send waits longer where a leader may have to be elected first", () => {
  expect(load({ REPLICAS: "3" }).sendTimeout).toBe(12_000);
  expect(load({ REPLICAS: "3", SEND_TIMEOUT: "5s" }).sendTimeout).toBe(5_000);
});

test("an empty variable is as good as none", () => {
  expect(load({ PORT: "", NATS_URL: "", TOKEN_SECRET: "" })).toEqual(load({}));
});

test("a relative data directory is one of the directory that the process was started in", () => {
  const { dataDir } = load({ DATA_DIR: "state/mustreach" });
  expect(isAbsolute(dataDir)).toBe(true);
  expect(dataDir).toBe(join(process.cwd(), "state/mustreach"));
});

/** Values that each setting refuses. */
const bad: Record<SettingName, readonly string[]> = {
  HOST: [" "],
  PORT: ["-1", "65536", "80.5", "http", " "],
  ADMIN_HOST: [" "],
  ADMIN_PORT: ["-1", "65536", "on", "OFF"],
  TLS_CERT_FILE: [" "],
  TLS_KEY_FILE: [" "],
  TLS_MIN_VERSION: ["1.1", "TLSv1.2"],
  TLS_CLIENT_AUTH: ["yes", "required"],
  TLS_CLIENT_CA_FILE: [" "],
  TLS_CLIENT_CRL_FILE: [" "],
  TLS_CLIENT_ADMINS: ["orders.internal", "DNS:", "IP:10.0.0.1", "DNS:a,"],
  TRUSTED_PROXIES: ["proxy.internal", "10.0.0.0/33", "10.0.0.1,"],
  CA_FILE: [" "],
  WORKERS: ["0", "65", "1.5", "all", " "],
  DATA_DIR: [" "],
  NATS_URL: [",", "nats://a:4222,", "http://a:4222", "a b"],
  NATS_CREDS: [" "],
  NATS_SERVER: [" "],
  TOKEN_SECRET: ["hunter2", "x".repeat(31)],
  TOKEN_SECRET_PREVIOUS: ["hunter2", "x".repeat(31)],
  TOKEN: [" "],
  TOKEN_TTL: ["0s", "90", "-1d", "1.5h", "1w", "d", "999999999d"],
  JWKS_URL: [
    "keys.json",
    "file:///etc/keys.json",
    "ftp://idp.example/keys",
    "http://idp.example/keys",
    "http://127.0.0.1.example/keys",
  ],
  JWT_ISSUER: [" "],
  JWT_AUDIENCE: [" "],
  JWT_USER_CLAIM: [" "],
  JWT_ADMIN_CLAIM: [" ", "=admin", "roles="],
  ADMIN_USER_IDS: [",", "imAdmin,"],
  PARTITIONS: ["0", "257", "8.5", "many"],
  REPLICAS: ["0", "6", "three"],
  RETENTION: ["0s", "7", "forever", "999999999d"],
  CHAT_RETENTION: ["0d", "for ever"],
  MAX_STORE_BYTES: ["1048575", "10G"],
  MAX_GROUPS_BYTES: ["65535", "1G"],
  MAX_CHAT_BYTES: ["65535", "1G"],
  MAX_JOBS_BYTES: ["65535", "1G"],
  MAX_DATA_BYTES: ["0", "4194305", "256KiB"],
  SENDER_SYNC: ["yes", "1", "TRUE"],
  STRICT_JSON: ["yes", "1", "TRUE"],
  REFLECTION: ["off", "0"],
  ESCALATION_URL: [
    "push.example/hook",
    "file:///hook",
    "https://user:password@push.example/",
    "http://user@push.example",
  ],
  ESCALATION_SECRET: [
    "hunter2hunter2",
    "A".repeat(32),
    `whsec_${"A".repeat(31)}=`,
    `whsec_${"A".repeat(88)}`,
    `whsec_${"A".repeat(43)}`,
    `whsec_${"A".repeat(32)},`,
    `whsec_${"A".repeat(31)}-`,
    `whsec_${"A".repeat(32)} ${"A".repeat(32)}`,
  ],
  ESCALATION_DELAY: ["0s", "30", "soon"],
  REPORT_KEYS: ["order.,", ","],
  REPORT_WEBHOOK_URL: ["push.example/hook", "https://user:password@push.example/"],
  REPORT_WEBHOOK_SECRET: ["hunter2hunter2", "A".repeat(32)],
  REPORT_MAX_BYTES: ["0", "1048575", "1 GB"],
  MAX_SENDS_IN_FLIGHT: ["15", "65537", "all"],
  QUOTA_CALLER: ["-1", "1.5", "1000000001", "none"],
  QUOTA_RECIPIENT: ["-1", "1.5", "1000000001", "none"],
  MAX_SESSIONS: ["0", "1000001", "all"],
  MAX_SESSIONS_PER_USER: ["0", "1000001"],
  MAX_SESSIONS_PER_ADDRESS: ["-1", "1000001"],
  MAX_REPLAYS: ["0", "65537", "all"],
  MAX_DEVICES_PER_USER: ["0", "10001"],
  MAX_WAITING_PUSH_BYTES: ["8388607", "128MiB"],
  HEARTBEAT: ["0s", "15", "500ms"],
  SEND_TIMEOUT: ["0s", "5"],
  DRAIN_TIMEOUT: ["0s", "3"],
  HTTP2: ["http2", "ENGINE"],
  LOG_LEVEL: ["verbose", "INFO"],
  AUDIT: [" "],
  ACCESS_LOG: ["none", "ALL"],
};

describe("a bad value names itself, what was expected and where it is documented", () => {
  const rows = Object.entries(bad).flatMap(([name, values]) => values.map((value) => [name, value] as const));
  test.each(rows)("MUSTREACH_%s=%j", (name, value) => {
    const message = refusalOf(() => load({ TOKEN_SECRET: "a-token-secret-of-32-bytes-or-more", [name]: value }));
    expect(message).toContain(`MUSTREACH_${name}`);
    expect(message).toContain(settings[name as SettingName].expected);
    expect(message).toMatch(/README\.md, section Configuration/);
  });

  // A timer of Node that is set for longer than 2^31 - 1 ms, about 24.8 days, fires at once.
  test.each(["HEARTBEAT", "SEND_TIMEOUT", "DRAIN_TIMEOUT"] as const)(
    "MUSTREACH_%s longer than a timer can wait",
    (name) => {
      expect(refusalOf(() => load({ [name]: "25d" }))).toContain(`MUSTREACH_${name}`);
    },
  );
});

test.each(["MUSTREACH_PROT", "MUSTREACH_port", "MUSTREACH_", "MUSTREACH_constructor"])(
  "an unknown setting names itself: %s",
  (name) => {
    const message = refusalOf(() => loadConfig({ [name]: "1" }));
    expect(message).toContain(`${name} is not a setting`);
    expect(message).toMatch(/README\.md, section Configuration/);
  },
);

test("variables of other programs are none of ours", () => {
  expect(loadConfig({ HOST: " ", PATH: "/bin", NATS_URL: "?", MUST: "1" })).toEqual(load({}));
});

test("STATE_DIRECTORY, as systemd gives it, is where the data is without a setting", () => {
  expect(loadConfig({ STATE_DIRECTORY: "/var/lib/mustreach" }).dataDir).toBe("/var/lib/mustreach");
  expect(loadConfig({ STATE_DIRECTORY: "/var/lib/a:/var/lib/b" }).dataDir).toBe("/var/lib/a");
  expect(loadConfig({ STATE_DIRECTORY: "/var/lib/a", MUSTREACH_DATA_DIR: "/data" }).dataDir).toBe("/data");
});

describe("PORT", () => {
  test("counts when MUSTREACH_PORT is absent or empty", () => {
    expect(loadConfig({ PORT: "8080" }).port).toBe(8_080);
    expect(loadConfig({ PORT: "8080", MUSTREACH_PORT: "" }).port).toBe(8_080);
    expect(loadConfig({ PORT: "8080", MUSTREACH_PORT: "0" }).port).toBe(0);
    expect(loadConfig({ PORT: "" }).port).toBe(10_002);
  });

  test("counts beside a service link", () => {
    expect(loadConfig({ PORT: "8080", MUSTREACH_PORT: "tcp://10.96.12.7:10002" }).port).toBe(8_080);
  });

  test("names itself when it is no port", () => {
    expect(refusalOf(() => loadConfig({ PORT: "http" }))).toMatch(/^PORT: expected a port/);
  });
});

describe("what Kubernetes puts into a pod for a Service", () => {
  /** As a kubelet writes them for Services `mustreach` and `mustreach-admin`. */
  const links = {
    MUSTREACH_SERVICE_HOST: "10.96.12.7",
    MUSTREACH_SERVICE_PORT: "10002",
    MUSTREACH_SERVICE_PORT_GRPC: "10002",
    MUSTREACH_PORT: "tcp://10.96.12.7:10002",
    MUSTREACH_PORT_10002_TCP: "tcp://10.96.12.7:10002",
    MUSTREACH_PORT_10002_TCP_PROTO: "tcp",
    MUSTREACH_PORT_10002_TCP_PORT: "10002",
    MUSTREACH_PORT_10002_TCP_ADDR: "10.96.12.7",
    MUSTREACH_ADMIN_SERVICE_HOST: "10.96.12.8",
    MUSTREACH_ADMIN_SERVICE_PORT: "10003",
    MUSTREACH_ADMIN_PORT: "tcp://10.96.12.8:10003",
    MUSTREACH_ADMIN_PORT_10003_TCP: "tcp://10.96.12.8:10003",
  };

  test("does not keep it from starting", () => {
    expect(loadConfig(links)).toEqual(load({}));
    expect(serviceLinksOf({ ...links, MUSTREACH_HOST: "::", PATH: "/bin", OTHER_SERVICE_HOST: "a" })).toEqual(
      Object.keys(links),
    );
  });

  test.each([
    ["MUSTREACH_PORT", "http://10.96.12.7"],
    ["MUSTREACH_SERVICE_HOSTS", "10.96.12.7"],
    ["MUSTREACH_SERVICES_PORT_", "1"],
    ["MUSTREACH_PORT_10002", "tcp://10.96.12.7:10002"],
    ["MUSTREACH_PORT_10002_TCP_URL", "1"],
    ["MUSTREACH_HOST_PORT", "10002"],
  ])("but what is only like it does: %s", (name, value) => {
    expect(refusalOf(() => loadConfig({ [name]: value }))).toContain(name);
  });
});

describe("a setting in a file", () => {
  const dir = mkdtempSync(join(tmpdir(), "mustreach-config-"));
  afterAll(() => rmSync(dir, { recursive: true }));
  const file = (content: string) => {
    const path = join(dir, randomUUID());
    writeFileSync(path, content);
    return path;
  };
  const secret = "a-token-secret-of-32-bytes-or-more";

  test.each([
    ["without a newline", secret],
    ["with one", `${secret}\n`],
    ["with one of Windows", `${secret}\r\n`],
  ])("%s", (_, content) => {
    expect(load({ TOKEN_SECRET_FILE: file(content) }).tokenSecret).toBe(secret);
  });

  test("every one can be in one", () => {
    expect(load({ PORT_FILE: file("7\n"), LOG_LEVEL_FILE: file("warn"), NATS_URL_FILE: "" })).toMatchObject({
      port: 7,
      logLevel: "warn",
    });
  });

  test("spaces and further newlines belong to it", () => {
    expect(load({ TOKEN_SECRET_FILE: file(` ${secret}\n\n`) }).tokenSecret).toBe(` ${secret}\n`);
  });

  test("is not given twice", () => {
    const message = refusalOf(() => load({ HOST: "::", HOST_FILE: file("::1") }));
    expect(message).toContain("MUSTREACH_HOST and MUSTREACH_HOST_FILE");
  });

  test("that cannot be read names itself, the file and why", () => {
    const path = join(dir, "missing");
    expect(refusalOf(() => load({ TOKEN_SECRET_FILE: path }))).toMatch(
      new RegExp(`^MUSTREACH_TOKEN_SECRET_FILE: ${path} .*ENOENT`),
    );
    expect(refusalOf(() => load({ TOKEN_SECRET_FILE: dir }))).toContain("EISDIR");
  });

  test("with a bad value, or none, names itself and does not show it", () => {
    for (const content of ["hunter2", ""]) {
      const message = refusalOf(() => load({ TOKEN_SECRET_FILE: file(content) }));
      expect(message).toMatch(/^MUSTREACH_TOKEN_SECRET_FILE: expected at least 32 bytes.*, not its value/);
    }
    expect(refusalOf(() => load({ LOG_LEVEL_FILE: file("hunter2") }))).not.toContain("hunter2");
  });

  test("of an unknown name is unknown", () => {
    expect(refusalOf(() => load({ PROT_FILE: file("1") }))).toContain("MUSTREACH_PROT_FILE is not a setting");
    expect(refusalOf(() => load({ _FILE: file("1") }))).toContain("MUSTREACH__FILE is not a setting");
  });
});

test("with an external broker a token secret is required", () => {
  const message = refusalOf(() => load({ NATS_URL: "nats://a:4222" }));
  expect(message).toContain("MUSTREACH_TOKEN_SECRET");
  expect(message).toContain("MUSTREACH_NATS_URL");
  expect(message).toMatch(/README\.md, section Configuration/);
});

test("with an identity provider an audience is required", () => {
  const message = refusalOf(() => load({ JWKS_URL: "https://idp.example/keys" }));
  expect(message).toContain("MUSTREACH_JWT_AUDIENCE is required");
  expect(message).toMatch(/README\.md, section Configuration/);
});

test.each(["https://idp.example/keys", "http://localhost:8080/keys", "http://127.0.0.1/keys", "http://[::1]:1/keys"])(
  "an identity provider's keys may come from %s",
  (url) => {
    expect(load({ JWKS_URL: url, JWT_AUDIENCE: "mustreach" }).jwksUrl).toBe(url);
  },
);

test("a token secret is counted in bytes", () => {
  expect(load({ TOKEN_SECRET: "日".repeat(11) }).tokenSecret).toBe("日".repeat(11));
});

test.each([
  ["ESCALATION_URL", "ESCALATION_SECRET"],
  ["REPORT_WEBHOOK_URL", "REPORT_WEBHOOK_SECRET"],
])("with a webhook, %s, a secret for it is required", (url, secret) => {
  const message = refusalOf(() => load({ [url]: "https://push.example/hook" }));
  expect(message).toContain(`MUSTREACH_${secret}`);
  expect(message).toContain(`MUSTREACH_${url}`);
  expect(message).toMatch(/README\.md, section Configuration/);
});

test("no message shows a secret", () => {
  expect(refusalOf(() => load({ ESCALATION_SECRET: "hunter2" }))).not.toContain("hunter2");
  expect(refusalOf(() => load({ ESCALATION_URL: "https://bob:hunter2@push.example" }))).not.toContain("hunter2");
  expect(refusalOf(() => load({ TOKEN_SECRET: "hunter2" }))).not.toContain("hunter2");
  expect(refusalOf(() => load({ TOKEN_SECRET_PREVIOUS: "hunter2" }))).not.toContain("hunter2");
  expect(refusalOf(() => load({ NATS_URL: "nats://user:hunter2@a:4222," }))).not.toContain("hunter2");
  expect(
    refusalOf(() =>
      load({ NATS_URL: "http://user:hunter2@a:4222", TOKEN_SECRET: "a-token-secret-of-32-bytes-or-more" }),
    ),
  ).not.toContain("hunter2");
});

test("every setting says in one sentence or more what it means", () => {
  for (const [name, { means, expected }] of Object.entries(settings)) {
    expect(means, name).toMatch(/^\S.*\.$/s);
    expect(expected, name).not.toBe("");
  }
});

test.each<[what: string, given: Partial<Record<SettingName, string>>, named: string]>([
  ["a certificate without its key", { TLS_CERT_FILE: "a" }, "MUSTREACH_TLS_KEY_FILE"],
  ["a key without its certificate", { TLS_KEY_FILE: "a" }, "MUSTREACH_TLS_CERT_FILE"],
  ["asking clients in plaintext", { TLS_CLIENT_AUTH: "require" }, "MUSTREACH_TLS_CERT_FILE"],
  [
    "asking clients with nobody who certifies them",
    { TLS_CERT_FILE: "a", TLS_KEY_FILE: "b", TLS_CLIENT_AUTH: "require" },
    "MUSTREACH_TLS_CLIENT_CA_FILE",
  ],
  [
    "certificates of clients who are not asked",
    { TLS_CERT_FILE: "a", TLS_KEY_FILE: "b", TLS_CLIENT_CA_FILE: "c" },
    "MUSTREACH_TLS_CLIENT_AUTH",
  ],
  ["admins by certificate who are not asked", { TLS_CLIENT_ADMINS: "DNS:a" }, "MUSTREACH_TLS_CLIENT_AUTH"],
])("%s is refused", (_, given, named) => {
  expect(() => load(given)).toThrow(named);
});
