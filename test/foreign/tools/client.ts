import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

/** The tools of gRPC, by what the service tells of itself: grpcurl and grpc_health_probe have no file of ours. */
const { ADDRESS = "", USER_ID = "", TOKEN = "", USER_TOKEN = "" } = process.env;
const run = promisify(execFile);
let checks = 0;

function check(isSo: boolean, what: string): void {
  if (!isSo) throw new Error(`not so: ${what}`);
  checks++;
}

const msg = "mustreach.msg.v1.MsgService";
const delivery = "mustreach.delivery.v1.DeliveryService";

/** What grpcurl prints, also when the call fails. */
async function grpcurl(flags: string[], ...args: string[]): Promise<string> {
  const { stdout, stderr } = await run("grpcurl", ["-plaintext", ...flags, ADDRESS, ...args]).catch((error) => error);
  return `${stdout}${stderr}`;
}

const send = (request: object) =>
  grpcurl(["-H", `token: ${TOKEN}`, "-d", JSON.stringify(request)], `${msg}/SendBusinessNotification`);

/** The messages of a stream, each an object of JSON over several lines. */
function listen(): { child: ChildProcess; next: () => Promise<Record<string, Record<string, string>>> } {
  const flags = ["-plaintext", "-H", `token: ${USER_TOKEN}`, "-d", '{"deviceId":"grpcurl"}'];
  const child = spawn("grpcurl", [...flags, ADDRESS, `${delivery}/Subscribe`], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    let text = "";
    for (;;) {
      const { done, value } = await lines.next();
      if (done) throw new Error("the stream has ended");
      text += value;
      if (value === "}") return JSON.parse(text);
    }
  };
  return { child, next };
}

const services = (await grpcurl([], "list")).trim().split("\n");
check(services.includes(msg) && services.includes("grpc.health.v1.Health"), `grpcurl list: ${services}`);
check(services.length >= 9, "all services are listed");
for (const service of services) {
  check((await grpcurl([], "describe", service)).includes(`${service} is a service`), `grpcurl describe ${service}`);
}
const described = await grpcurl([], "describe", `${msg}.SendBusinessNotification`);
check(described.includes("/msg/send_business_notification"), `options are described: ${described}`);
const template = await grpcurl(["-msg-template"], "describe", "mustreach.msg.v1.SendBusinessNotificationRequest");
check(template.includes("recv_user_id") && template.includes('"recvUserID"'), `fields are described: ${template}`);

const { child, next } = listen();
try {
  check("ready" in (await next()), "Subscribe begins");
  const good = { sendUserID: "imAdmin", recvUserID: USER_ID, key: "tool", data: "{}", reliabilityLevel: 2 };
  const sent = await send(good);
  check(sent.includes("DURABILITY_FSYNCED"), `grpcurl sends: ${sent}`);
  const { notification } = await next();
  check(notification?.key === "tool" && Number(notification.sequence) > 0, "Subscribe gets it");
  const ack = JSON.stringify({ deviceId: "grpcurl", sequence: notification?.sequence, epoch: notification?.epoch });
  const acknowledged = await grpcurl(["-H", `token: ${USER_TOKEN}`, "-d", ack], `${delivery}/Ack`);
  check(acknowledged.includes('"sequence"'), `grpcurl acknowledges: ${acknowledged}`);
  const refused = await send({ ...good, key: "" });
  check(/InvalidArgument/.test(refused), `grpcurl is refused: ${refused}`);
  check(refused.includes("ARGS_ERROR") && refused.includes('"field": "key"'), `details are in words: ${refused}`);
} finally {
  child.kill();
}

const unknown = await grpcurl(["-d", "{}"], `${msg}/Shout`);
check(/does not include a method named "Shout"/.test(unknown), `a method that is not there: ${unknown}`);

/** How grpc_health_probe ends: 0 is SERVING, 4 anything else. */
async function probe(...flags: string[]): Promise<{ code: number; said: string }> {
  try {
    const { stderr, stdout } = await run("grpc-health-probe", ["-addr", ADDRESS, ...flags]);
    return { code: 0, said: stdout + stderr };
  } catch (error) {
    const { code, stderr } = error as { code: number; stderr: string };
    return { code, said: stderr };
  }
}
for (const service of ["", msg, delivery]) {
  const { code, said } = await probe("-service", service);
  check(code === 0 && said.includes("SERVING"), `the probe of "${service}": ${said}`);
}
check((await probe("-service", "nobody")).code !== 0, "the probe of a service that is not there fails");
process.stdout.write(`${checks} checks\n`);
