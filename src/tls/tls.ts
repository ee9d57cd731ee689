import { constants, createHash } from "node:crypto";
import type { Socket } from "node:net";
import { createServer, type TLSSocket } from "node:tls";
import type { Certificate } from "../http2/exchange.ts";
import type { Log } from "../http2/protocol.ts";
import { readCertificate } from "./peer-certificate.ts";

/** What a port shows, and whom it believes: the content of files in PEM. */
export interface TlsMaterial {
  /** The certificate, and those that lead from it to the root. */
  readonly cert: string;
  readonly key: string;
  /** Whose certificates of clients are believed. Undefined: nobody is asked for one. */
  readonly clientCa?: string | undefined;
  /** Which of those are not any more. */
  readonly clientCrl?: string | undefined;
}

export interface TlsOptions {
  readonly material: TlsMaterial;
  readonly minVersion: "1.2" | "1.3";
  /** Whether clients are asked for a certificate, and whether one without a good one is turned away. */
  readonly clientAuth: "none" | "request" | "require";
}

/** A peer with whom all is agreed. */
export interface SecurePeer {
  readonly socket: TLSSocket;
  readonly isHttp2: boolean;
  /** The one that it has shown, verified. */
  readonly certificate: Certificate | undefined;
}

/** The TLS of a port. */
export interface Tls {
  /** Begins TLS on a connection that another server has accepted, and of which perhaps something was read. */
  begin(socket: Socket): void;
  /** Puts other certificates in force, for what begins from now on. */
  renew(material: TlsMaterial): void;
}

/** The protocols that there are, by their names in ALPN (RFC 7301). Who offers none speaks HTTP/1.1. */
const protocols = ["h2", "http/1.1"];

/**
 * Those of TLS 1.3, and of TLS 1.2 what has forward secrecy and authenticated encryption, which none of the ciphers has
 * that HTTP/2 forbids (RFC 9113, appendix A).
 */
const ciphers = [
  ...["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"],
  ...["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"],
  ...["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"],
  ...["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"],
].join(":");

interface TlsDeps {
  /** Told when a handshake has come to its end, of the connection that it was begun on. */
  readonly onSecure: (connection: Socket, peer: SecurePeer) => void;
  /** How long a handshake may take, in milliseconds. */
  readonly handshakeTimeoutMs: number;
  /** How many may be under way; with one more, the oldest of them is destroyed. */
  readonly maxHandshakes: number;
  /** Counts one that is destroyed for a limit. */
  readonly refuse: (limit: "maxHandshakes") => void;
  readonly log: Log;
}

/** A handshake under way. */
interface Handshake {
  readonly connection: Socket;
  readonly timer: NodeJS.Timeout;
}

/**
 * Creates the TLS of a port.
 *
 * @throws for material that cannot be used.
 */
export function createTls({ material, minVersion, clientAuth }: TlsOptions, deps: TlsDeps): Tls {
  const { onSecure, log } = deps;
  const asks = clientAuth !== "none";
  const settings = { minVersion: `TLSv${minVersion}`, ciphers, honorCipherOrder: false, asks } as const;
  // It never listens: like the servers of HTTP, it is handed sockets.
  const server = createServer({
    ...toContext(material, settings),
    ALPNProtocols: protocols,
    requestCert: asks,
    rejectUnauthorized: clientAuth === "require",
  });
  /** By the two ends of the connection, in order of arrival. */
  const handshakes = new Map<string, Handshake>();

  function begin(connection: Socket): void {
    if (handshakes.size >= deps.maxHandshakes) {
      deps.refuse("maxHandshakes");
      const [oldest] = handshakes;
      if (oldest !== undefined) {
        handshakes.delete(oldest[0]);
        oldest[1].connection.destroy();
      }
    }
    const ends = endsOf(connection);
    // After a stall of the event loop timers run before reads: what has come in time is read first.
    const timer = setTimeout(() => setImmediate(giveUp), deps.handshakeTimeoutMs).unref();
    const handshake = { connection, timer };
    const giveUp = () => {
      if (handshakes.get(ends) === handshake) connection.destroy();
    };
    handshakes.set(ends, handshake);
    connection.once("close", () => {
      clearTimeout(timer);
      if (handshakes.get(ends) === handshake) handshakes.delete(ends);
    });
    // Who ends in the middle of a handshake gets no answer.
    connection.allowHalfOpen = false;
    server.emit("connection", connection);
  }

  server.on("secureConnection", (socket) => {
    const ends = endsOf(socket);
    const handshake = handshakes.get(ends);
    if (handshake === undefined) {
      socket.destroy();
      return;
    }
    handshakes.delete(ends);
    clearTimeout(handshake.timer);
    socket.allowHalfOpen = true;
    // For good: an error without a listener would end the process.
    socket.on("error", (err) => log.debug({ err }, "tls connection failed"));
    const isBelieved = asks && socket.authorized;
    if (asks && !isBelieved)
      log.debug({ reason: socket.authorizationError }, "a client has no certificate that counts");
    const certificate = isBelieved ? readCertificate(socket.getPeerX509Certificate()) : undefined;
    onSecure(handshake.connection, { socket, isHttp2: socket.alpnProtocol === "h2", certificate });
  });
  server.on("tlsClientError", (err, socket) => {
    log.debug({ err }, "tls handshake failed");
    socket.destroy();
  });
  return {
    begin,
    renew: (next) => server.setSecureContext(toContext(next, settings)),
  };
}

interface ContextSettings {
  readonly minVersion: "TLSv1.2" | "TLSv1.3";
  readonly ciphers: string;
  readonly honorCipherOrder: boolean;
  readonly asks: boolean;
}

/** What a connection is told by, below and above TLS. */
function endsOf({ localAddress, remoteAddress, remotePort }: Socket): string {
  return `${localAddress} ${remoteAddress} ${remotePort}`;
}

function toContext({ cert, key, clientCa, clientCrl }: TlsMaterial, { asks, ...settings }: ContextSettings) {
  // A session that is resumed is not verified again: where certificates count, each connection shows its own.
  const noTickets = asks ? constants.SSL_OP_NO_TICKET : 0;
  return {
    ...settings,
    ...{ cert, key },
    ...(asks && { ca: clientCa, crl: clientCrl }),
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION | noTickets,
    // Of one context, so that no session of an earlier one is taken.
    sessionIdContext: createHash("sha256").update(`${cert}${clientCa}${clientCrl}`).digest("hex").slice(0, 32),
  };
}
