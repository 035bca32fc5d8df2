// The tour in the TypeScript SDK v2, which prefers 2026-07-28. Run by tests/interop.rs.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { answers, main } from './tour.mjs';

// The packages lie in the install folder, not above this file: $NODE_MODULES names it.
const require = createRequire(`${process.env.NODE_MODULES}/`);
const load = name => import(pathToFileURL(require.resolve(`@modelcontextprotocol/client${name}`).replace(/\.cjs$/, '.mjs')).href);
const { Client, LOG_LEVEL_META_KEY, StreamableHTTPClientTransport } = await load('');
const { StdioClientTransport } = await load('/stdio');
const methods = { elicitation: 'elicitation/create', sampling: 'sampling/createMessage', roots: 'roots/list' };

await main(async (target, heard, declares) => {
  const client = new Client({ name: 'tour-ts-v2', version: '1.0.0' },
    { capabilities: Object.fromEntries(declares.map(d => [d, {}])), versionNegotiation: { mode: 'auto', probe: { timeoutMs: 20000 } } });
  for (const d of declares) client.setRequestHandler(methods[d], answers[methods[d]]);
  client.fallbackNotificationHandler = async n => heard.add(n.method, n.params ?? {});
  const transport = target.url
    ? new StreamableHTTPClientTransport(new URL(target.url))
    : new StdioClientTransport({ command: target.command, args: target.args, env: { ...process.env, ...target.env }, cwd: target.cwd, stderr: 'ignore' });
  await client.connect(transport);
  const modern = client.getNegotiatedProtocolVersion() >= '2026';
  const fresh = { cacheMode: 'refresh' }; // the tour asks the server, not the client's cache
  return {
    revision: () => client.getNegotiatedProtocolVersion(),
    about: () => ({ capabilities: client.getServerCapabilities(), instructions: client.getInstructions() }),
    list: kind => ({ tools: () => client.listTools(undefined, fresh), prompts: () => client.listPrompts(undefined, fresh),
      resources: () => client.listResources(undefined, fresh), templates: () => client.listResourceTemplates(undefined, fresh) })[kind](),
    call: (params, options, level) => client.callTool(
      modern && level ? { ...params, _meta: { ...params._meta, [LOG_LEVEL_META_KEY]: level } } : params, options),
    read: params => client.readResource(params, fresh),
    prompt: params => client.getPrompt(params),
    complete: params => client.complete(params),
    level: async level => { if (!modern) await client.setLoggingLevel(level); },
    ping: modern ? undefined : () => client.ping(),
    async watch(filter) {
      if (modern) {
        const subscription = await client.listen(filter);
        return () => subscription.close();
      }
      const uris = filter.resourceSubscriptions ?? [];
      for (const uri of uris) await client.subscribeResource({ uri });
      return async () => { for (const uri of uris) await client.unsubscribeResource({ uri }); };
    },
    async close() {
      if (target.url && !modern) await transport.terminateSession();
      await client.close();
    },
  };
});
