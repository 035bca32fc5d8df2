// The tour in the TypeScript SDK of 2024, which knows 2024-11-05 and HTTP+SSE alone. Run by
// tests/interop.rs with --experimental-eventsource.
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { main } from './tour.mjs';

// The packages lie in the install folder, not above this file: $NODE_MODULES names it.
const require = createRequire(`${process.env.NODE_MODULES}/`);
const dist = dirname(dirname(require.resolve('sdk-1.0/client/index.js')));
const load = name => import(pathToFileURL(join(dist, name)).href);
const { Client } = await load('client/index.js');
const { SSEClientTransport } = await load('client/sse.js');

await main(async (target, heard) => {
  const client = new Client({ name: 'tour-ts-v1.0', version: '1.0.0' }, { capabilities: {} });
  client.fallbackNotificationHandler = async n => heard.add(n.method, n.params ?? {});
  let revision;
  const transport = new SSEClientTransport(new URL(target.url));
  const connected = client.connect(transport);
  const handle = transport.onmessage; // the SDK keeps the version that was agreed on to itself
  transport.onmessage = message => {
    revision ??= message.result?.protocolVersion;
    handle(message);
  };
  await connected;
  return {
    revision: () => revision,
    about: () => ({ capabilities: client.getServerCapabilities(), instructions: undefined }),
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
    close: () => client.close(),
  };
});
