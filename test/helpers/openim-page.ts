import { CbEvents, getSDK } from "@openim/client-sdk";
import type { SdkEvent } from "./openim-app.ts";

/** The part of the SDK that is used; its own types do not have `on`. */
interface Sdk {
  on(event: string, listener: (event: SdkEvent) => void): void;
  login(settings: object): Promise<unknown>;
}

/** A page with OpenIM's JavaScript SDK as it is published. */
export interface OpenimPage {
  /** Every event so far, in their order. */
  readonly events: SdkEvent[];
  login(settings: object): Promise<unknown>;
}

const sdk = getSDK() as unknown as Sdk;
const page: OpenimPage = { events: [], login: (settings) => sdk.login(settings) };
for (const event of Object.values(CbEvents)) sdk.on(event, ({ data }) => page.events.push({ event, data }));

Object.assign(globalThis, { page });
