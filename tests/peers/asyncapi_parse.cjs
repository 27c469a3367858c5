// Parses AsyncAPI documents with the official parser. Standard input: one JSON object per line,
// {"name", "text"}; standard output: one per line, what the parser makes of it.
const { Parser } = require('@asyncapi/parser');
const readline = require('node:readline');

const ERROR = 0;

function read(document) {
  const channels = {};
  for (const channel of document.channels().all()) {
    channels[channel.address() ?? ''] = channel.parameters().all().map((p) => p.id()).sort();
  }
  const operations = document.operations().all().map((operation) => ({
    action: operation.action(),
    channels: operation.channels().all().map((channel) => channel.address()),
    messages: operation.messages().all().length,
  }));
  const messages = document.messages().all().map((message) => ({
    name: message.name() ?? null,
    contentType: message.contentType() ?? null,
    payload: message.hasPayload(),
    headers: message.hasHeaders(),
  }));
  return {
    title: document.info().title(),
    servers: document.servers().all().map((server) => [server.id(), server.protocol()]),
    channels, operations, messages,
  };
}

async function main() {
  const parser = new Parser();
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { name, text } = JSON.parse(line);
    const { document, diagnostics } = await parser.parse(text);
    const errors = diagnostics.filter((one) => one.severity === ERROR);
    const answer = {
      name,
      errors: errors.map((one) => ({ code: one.code, message: one.message, path: one.path, line: one.range.start.line + 1 })),
      read: document ? read(document) : null,
    };
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
}

main();
