// An app with OpenIM's JavaScript SDK as it is published, in a process of its own: what the SDK tells it is told to the
// parent process. It is killed, or ends orderly when it is told anything.
import { createRequire } from "node:module";

const { CbEvents, getSDK } = createRequire(import.meta.url)("@openim/client-sdk");
const [settings = "{}"] = process.argv.slice(2);
const sdk = getSDK();

for (const method of ["debug", "warn", "error", "info", "log"]) console[method] = () => {};
for (const event of Object.values(CbEvents)) {
  sdk.on(event, ({ data, errCode, errMsg }) => process.send({ event, data, errCode, errMsg }));
}
process.on("message", () => sdk.logout().finally(() => process.exit(0)));
sdk.login({ logLevel: 5, ...JSON.parse(settings) }).catch(({ errCode, errMsg }) => {
  process.send({ event: "LoginFailed", errCode, errMsg });
});
