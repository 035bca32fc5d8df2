// The tour in the TypeScript SDK v1 (legacy revisions only). Run by tests/interop.rs.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { answers, main } from './tour.mjs';

// The packages lie in the install folder, not above this file: $NODE_MODULES names it.
const require = createRequire(`${process.env.NODE_MODULES}/`);
const load = name => import(pathToFileURL(require.resolve(`@modelcontextprotocol/sdk/${name}`).replace('/cjs/', '/esm/')).href);
const { Client } = await load('client/index.js');
const { StdioClientTransport } = await load('client/stdio.js');
const { StreamableHTTPClientTransport } = await load('client/streamableHttp.js');
const { CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema } = await load('types.js');
const schemas = { elicitation: ElicitRequestSchema, sampling: CreateMessageRequestSchema, roots: ListRootsRequestSchema };
const methods = { elicitation: 'elicitation/create', sampling: 'sampling/createMessage', roots: 'roots/list' };

await main(async (target, heard, declares) => {
  const client = new Client({ name: 'tour-ts-v1', version: '1.0.0' }, { capabilities: Object.fromEntries(declares.map(d => [d, {}])) });
  for (const d of declares) client.setRequestHandler(schemas[d], answers[methods[d]]);
  client.fallbackNotificationHandler = async n => heard.add(n.method, n.params ?? {});
  const transport = target.url
    ? new StreamableHTTPClientTransport(new URL(target.url))
    : new StdioClientTransport({ command: target.command, args: target.args, env: { ...process.env, ...target.env }, cwd: target.cwd, stderr: 'ignore' });
  await client.connect(transport);
  return {
    revision: () => transport.protocolVersion ?? transport._protocolVersion ?? '2025-11-25',
    about: () => ({ capabilities: client.getServerCapabilities(), instructions: client.getInstructions() }),
    list: (kind, cursor) => {
      const params = cursor === undefined ? {} : { cursor };
      return { tools: () => client.listTools(params), prompts: () => client.listPrompts(params), resources: () => client.listResources(params),
        templates: () => client.listResourceTemplates(params) }[kind]();
    },
    call: (params, options) => client.callTool(params, undefined, options),
    read: params => client.readResource(params),
    prompt: params => client.getPrompt(params),
    complete: params => client.complete(params),
    level: level => client.setLoggingLevel(level),
    ping: () => client.ping(),
    async watch(filter) {
      const uris = filter.resourceSubscriptions ?? [];
      for (const uri of uris) await client.subscribeResource({ uri });
      return async () => { for (const uri of uris) await client.unsubscribeResource({ uri }); };
    },
    async close() {
      if (target.url) await transport.terminateSession();
      await client.close();
    },
  };
});
