// One streamed chat completion as an async iterator of what matters in it.

import { ApiError, call, errorFrom } from "./api.js";

// Yields {text}, {reasoning}, {tools}, {finish} and {usage}; throws ApiError.
export async function* complete(request, signal) {
  const response = await call("/v1/chat/completions", {
    method: "POST",
    headers: { "x-priority": request.priority }, // A full node looks here before it reads the body.
    signal,
    body: { ...request, stream: true, stream_options: { include_usage: true } },
  });
  let finished = false;
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw errorFrom(event.error);
    for (const part of parts(event)) {
      finished ||= Boolean(part.finish);
      yield part;
    }
  }
  if (!finished) throw new ApiError("", { code: "connection_lost" });
}

function* parts(event) {
  const choice = event.choices?.[0];
  const delta = choice?.delta ?? {};
  const reasoning = delta.reasoning_content ?? delta.reasoning;
  if (reasoning) yield { reasoning };
  if (delta.content) yield { text: delta.content };
  if (delta.tool_calls) yield { tools: delta.tool_calls };
  if (choice?.finish_reason) yield { finish: choice.finish_reason };
  if (event.usage) yield { usage: event.usage };
}

// The data of server-sent events, one by one.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  try {
    for (;;) {
      const { value, done } = await read(reader);
      if (done) return;
      const lines = (buffer + value).split(/\r?\n/);
      buffer = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data:")) yield line.slice(5).trimStart();
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(String(error.message), { code: "connection_lost" });
  }
}
