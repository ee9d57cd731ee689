import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { snippets } from "../../src/console/page/snippets.js";
import { useServer } from "../helpers/server.ts";

const server = useServer();
const run = promisify(execFile);
const data = `{"it's":"a \\"quote\\"","line\\n":"$HOME \`x\` \\u0000 ü 😀"}`;

test.each([
  ["curl", (code: string) => ["sh", "-c", code]],
  ["JavaScript", (code: string) => [process.execPath, "--input-type=module", "-e", code]],
] as const)("%s sends what the form has", async (language, toCommand) => {
  const id = `by ${language}'s`;
  const body = {
    sendUserID: "imAdmin",
    recvUserID: "alice",
    key: "k",
    data,
    reliabilityLevel: 2,
    clientMsgID: id,
    sendMsg: true,
  };
  const token = await server.adminToken();
  const [program = "", ...args] = toCommand(
    snippets[language]?.(`${server.url}/msg/send_business_notification`, body) ?? "",
  );
  const { stdout } = await run(program, args, { env: { ...process.env, TOKEN: token } });
  expect(stdout).toContain(id);
  const alice = await server.userToken("alice");
  const pulled = await server.post("/msg/pull_messages", { conversationID: "si_alice_imAdmin" }, alice);
  const copy = expect.objectContaining({ clientMsgID: id, data });
  expect(pulled.json.data?.messages).toContainEqual(expect.objectContaining({ notification: copy }));
});

test("every language has the whole body and takes the token from the environment", () => {
  expect(Object.keys(snippets)).toEqual(["curl", "JavaScript", "Python", "Go", "Java", "C#"]);
  for (const write of Object.values(snippets)) {
    const code = write("http://api.example/path", { recvUserID: "alice", sendMsg: true });
    expect(code).toMatch(/recvUserID.*alice/s);
    expect(code).toContain("http://api.example/path");
    expect(code).toContain("TOKEN");
  }
});
