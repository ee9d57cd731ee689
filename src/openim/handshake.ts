import { platformName } from "../auth/platform.ts";
import { failure } from "../errors.ts";

/** What a client says of itself when it connects. */
export interface Handshake {
  readonly sendId: string;
  readonly token: string;
  readonly platformId: number;
  readonly operationId: string;
  readonly sdk: "js" | "go";
  readonly isCompressed: boolean;
  /** Whether the first message is to say how the handshake went. */
  readonly isAnswered: boolean;
}

/** A parameter of a handshake, by its name. */
type Parameters = ReadonlyMap<string, string>;

/** Reads the parameters of a URL, which neither SDK encodes: as they are, and decoded where they happen to be encoded. */
export function readParameters(url: string): Parameters {
  const query = url.slice(url.indexOf("?") + 1);
  // Bytes as Node has them; text is UTF-8.
  const text = Buffer.from(query, "latin1").toString();
  return new Map(
    text.split("&").map((parameter): [string, string] => {
      const [name = "", ...value] = parameter.split("=");
      return [name, decode(value.join("="))];
    }),
  );
}

/** @throws ArgsError (1001) for what is missing or unknown. */
export function readHandshake(parameters: Parameters): Handshake {
  const read = (name: string) => parameters.get(name) ?? "";
  const platformId = Number(read("platformID"));
  for (const name of ["sendID", "token", "platformID"]) {
    if (read(name) === "") throw failure("ArgsError", `${name} is required`);
  }
  if (platformName(platformId) === undefined) throw failure("ArgsError", "platformID must be one of OpenIM's");
  const sdk = read("sdkType") || "go";
  if (sdk !== "go" && sdk !== "js") throw failure("ArgsError", "sdkType must be go or js");
  const compression = read("compression");
  if (compression !== "" && compression !== "gzip") throw failure("ArgsError", "compression must be gzip or absent");
  return {
    ...{ platformId, sdk },
    sendId: read("sendID"),
    token: read("token"),
    operationId: read("operationID"),
    isCompressed: compression === "gzip",
    isAnswered: isAnswered(parameters),
  };
}

/** Whether the first message is to say how the handshake went, also of one that is refused. */
export function isAnswered(parameters: Parameters): boolean {
  return parameters.get("isMsgResp") === "true";
}

function decode(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}
