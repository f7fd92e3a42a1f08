// What ordinary programs of two model providers do with a base URL and a key: prints one JSON object, step by step.
// Each step is {ok, value} or {ok, name, status, message}.
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const { OPENAI_BASE_URL, OPENAI_API_KEY, ANTHROPIC_BASE_URL, ANTHROPIC_API_KEY } = process.env;
const openai = new OpenAI({ apiKey: OPENAI_API_KEY, baseURL: OPENAI_BASE_URL, maxRetries: 0 });
const anthropic = new Anthropic({ apiKey: ANTHROPIC_API_KEY, baseURL: ANTHROPIC_BASE_URL, maxRetries: 0 });

const steps = {};
async function step(name, act) {
  try {
    steps[name] = { ok: true, value: await act() };
  } catch (error) {
    steps[name] = { ok: false, name: error.name, status: error.status ?? null, message: error.message };
  }
}

const messages = [{ role: "user", content: "Say hello." }];
await step("openai_models", async () => (await openai.models.list()).data.map((model) => model.id));
await step("openai_chat", async () => {
  const done = await openai.chat.completions.create({ model: "gpt-x", messages });
  return done.choices[0].message.content;
});
await step("openai_stream", async () => {
  let said = "";
  for await (const chunk of await openai.chat.completions.create({ model: "gpt-x", messages, stream: true })) {
    said += chunk.choices[0]?.delta?.content ?? "";
  }
  return said;
});
await step("openai_batch", async () => {
  return openai.batches.create({ input_file_id: "f", endpoint: "/v1/chat/completions", completion_window: "24h" });
});
await step("anthropic_message", async () => {
  const done = await anthropic.messages.create({ model: "claude-x", max_tokens: 9, messages });
  return done.content[0].text;
});
await step("anthropic_stream", async () => {
  let said = "";
  const stream = await anthropic.messages.create({ model: "claude-x", max_tokens: 9, messages, stream: true });
  for await (const event of stream) said += event.type === "content_block_delta" ? event.delta.text : "";
  return said;
});
await step("anthropic_batches", async () => anthropic.messages.batches.create({ requests: [] }));

console.log(JSON.stringify(steps));
