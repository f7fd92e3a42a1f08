// What an ordinary @slack/web-api program does with SLACK_API_URL and SLACK_TOKEN: prints one JSON object, step by step.
// Each step is {ok, value} or {ok, name, status, error, text}.
import { LogLevel, WebClient } from "@slack/web-api";

const client = new WebClient(process.env.SLACK_TOKEN, {
  slackApiUrl: process.env.SLACK_API_URL,
  logLevel: LogLevel.ERROR,
});

const steps = {};
async function step(name, act) {
  try {
    steps[name] = { ok: true, value: await act() };
  } catch (error) {
    const body = typeof error.body === "string" ? error.body : JSON.stringify(error.body ?? error.data ?? null);
    steps[name] = { ok: false, name: error.name, status: error.statusCode ?? null, error: error.code, text: body };
  }
}

const text = "from web-api";
const blocks = [{ type: "section", text: { type: "mrkdwn", text: "from *web-api*" } }];
await step("post", async () => (await client.chat.postMessage({ channel: "#engineering", text, blocks })).channel);
await step("elsewhere", async () => (await client.chat.postMessage({ channel: "#random", text })).channel);
await step("everybody", async () => (await client.chat.postMessage({ channel: "#engineering", text: "<!here>" })).channel);
await step("members", async () => (await client.conversations.list()).channels.length);
await step("search", async () => (await client.search.messages({ query: "from" })).messages);

console.log(JSON.stringify(steps));
