// One tour: a fixed list of steps through one server, by a real client. The two TypeScript clients
// (ts_v1.mjs, ts_v2.mjs) bring an adapter; the Python client (py.py) is the same in Python.
//
// stdin:  {"jobs": [{"name", "target": {"url"} | {"command", "args", "env", "cwd"}, "steps": [...],
//          "namePrefix", "uriPrefix"}]}
// stdout: one line, {"<job name>": {"<step>": outcome}}
//
// An outcome is what the client's caller sees: the result, or {"error": {code, message, data}}. The
// tour knows nothing about proxies except the two prefixes of the job, which it puts before the
// names and URIs it asks for.
import { createHash } from 'node:crypto';

const WAIT_MS = 5000; // for one notification
const STEP_MS = 60000; // for one step
const LONG = 2048; // a longer string is shown by its hash

const listKeys = { tools: 'tools', prompts: 'prompts', resources: 'resources', templates: 'resourceTemplates' };

export function brief(value) {
  if (typeof value === 'string') {
    if (value.length <= LONG) return value;
    return `sha256:${createHash('sha256').update(value, 'utf8').digest('hex')}`;
  }
  if (Array.isArray(value)) return value.map(brief);
  if (value && typeof value === 'object') {
    return Object.fromEntries(Object.keys(value).sort().filter(k => value[k] !== undefined).map(k => [k, brief(value[k])]));
  }
  return value;
}

function within(promise, ms, what) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`${what}: nothing within ${ms} ms`)), ms); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Notifications as they arrive, and a wait for the next that matches. */
class Heard {
  constructor() { this.all = []; this.waiting = new Set(); }
  add(method, params) {
    this.all.push({ method, params });
    for (const wake of this.waiting) wake();
  }
  of(method) { return this.all.filter(n => n.method === method).map(n => n.params); }
  /** True when `count` matching ones are there within `ms`. */
  async until(method, count, ms = WAIT_MS) {
    const end = Date.now() + ms;
    while (this.of(method).length < count) {
      const left = end - Date.now();
      if (left <= 0) return false;
      await new Promise(resolve => {
        const done = () => { clearTimeout(timer); this.waiting.delete(done); resolve(); };
        const timer = setTimeout(done, left);
        this.waiting.add(done);
      });
    }
    return true;
  }
  clear() { this.all = []; }
}

const verbs = {
  async connect(s) {
    const { capabilities, instructions } = s.about();
    return { capabilities: Object.keys(capabilities ?? {}).sort(), instructions: instructions ?? null };
  },

  async list(s, step) {
    const items = [];
    let cursor;
    do {
      const page = await s.list(step.kind, cursor);
      items.push(...page[listKeys[step.kind]]);
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    return { items };
  },

  async call(s, step, job) {
    const progress = [];
    s.heard.clear();
    if (step.level) await s.level(step.level);
    const result = await s.call({ name: job.namePrefix + step.name, arguments: step.arguments ?? {}, ...(step.meta && { _meta: step.meta }) },
      { ...(step.progress && { onprogress: p => progress.push({ ...p }) }) }, step.level);
    if (step.logs) await s.heard.until('notifications/message', step.logs);
    const logs = s.heard.of('notifications/message').map(({ level, logger, data }) => ({ level, logger, data }));
    return { result, ...(step.progress && { progress }), ...(step.logs !== undefined && { logs }) };
  },

  async read(s, step, job) { return { result: await s.read({ uri: job.uriPrefix + step.uri }) }; },
  async prompt(s, step, job) { return { result: await s.prompt({ name: job.namePrefix + step.name, arguments: step.arguments ?? {} }) }; },

  async complete(s, step, job) {
    const ref = step.ref.uri ? { type: 'ref/resource', uri: job.uriPrefix + step.ref.uri } : { type: 'ref/prompt', name: job.namePrefix + step.ref.name };
    return { result: await s.complete({ ref, argument: step.argument, ...(step.context && { context: { arguments: step.context } }) }) };
  },

  // The call is repeated, because before 2026-07-28 nothing tells a client that its event stream is open.
  async subscribe(s, step, job) {
    const uri = job.uriPrefix + step.uri;
    s.heard.clear();
    const stop = await s.watch({ resourceSubscriptions: [uri] });
    let seen = false;
    for (let attempt = 0; attempt < 4 && !seen; attempt += 1) {
      await s.call({ name: job.namePrefix + step.then.name, arguments: step.then.arguments ?? {} }, {});
      seen = await s.heard.until('notifications/resources/updated', 1, WAIT_MS / 4);
    }
    await stop();
    return { updated: [...new Set(s.heard.of('notifications/resources/updated').map(p => p.uri))] };
  },

  async changed(s, step, job) {
    s.heard.clear();
    const stop = await s.watch({ [`${step.kind}ListChanged`]: true });
    const names = async () => (await verbs.list(s, step)).items.map(i => i.name);
    const before = await names();
    let announced = false;
    for (let attempt = 0; attempt < 4 && !announced; attempt += 1) {
      await s.call({ name: job.namePrefix + step.then.name, arguments: step.then.arguments ?? {} }, {});
      announced = await s.heard.until(`notifications/${step.kind}/list_changed`, 1, WAIT_MS / 4);
    }
    const after = await names();
    await s.call({ name: job.namePrefix + step.undo.name, arguments: step.undo.arguments ?? {} }, {});
    await stop();
    return { announced, added: after.filter(n => !before.includes(n)), removed: before.filter(n => !after.includes(n)) };
  },

  async cancel(s, step, job) {
    const controller = new AbortController();
    let started;
    const begun = new Promise(resolve => { started = resolve; });
    const call = s.call({ name: job.namePrefix + step.name, arguments: step.arguments ?? {} }, { signal: controller.signal, onprogress: started });
    const settled = call.then(() => 'answered', () => 'abandoned');
    await within(begun, WAIT_MS, 'progress');
    controller.abort('the tour cancels');
    const local = await settled;
    return { local, result: await s.call({ name: job.namePrefix + step.outcome.name, arguments: step.outcome.arguments ?? {} }, {}) };
  },

  // Many calls at once, each with its own answer and its own progress.
  async parallel(s, step, job) {
    return { results: await Promise.all(step.calls.map(async c => {
      const progress = [];
      const result = await s.call({ name: job.namePrefix + c.name, arguments: c.arguments ?? {} }, { onprogress: p => progress.push({ ...p }) });
      return { result, progress };
    })) };
  },

  async ping(s) { return s.ping ? { result: await s.ping() } : { result: {} }; },
};

function failure(e) {
  if (e && Number.isInteger(e.code)) return { error: { code: e.code, message: e.message, ...(e.data !== undefined && { data: e.data }) } };
  return { thrown: `${e?.name ?? 'Error'}: ${e?.message ?? e}` };
}

async function tour(adapter, job) {
  const heard = new Heard();
  const outcomes = {};
  let session;
  try {
    session = await within(adapter(job.target, heard, job.declares ?? []), STEP_MS, 'connect');
  } catch (e) {
    return { connect: failure(e) };
  }
  session.heard = heard;
  outcomes['(revision)'] = session.revision();
  for (const step of job.steps) {
    try {
      outcomes[step.step] = brief(await within(verbs[step.do](session, step, job), STEP_MS, step.step));
    } catch (e) {
      outcomes[step.step] = brief(failure(e));
    }
  }
  await within(session.close(), WAIT_MS, 'close').catch(() => {});
  return outcomes;
}

/** What the clients answer when a server asks for something; `declares` says what they declare. */
export const answers = {
  'elicitation/create': () => ({ action: 'accept', content: { name: 'Alice', response: 'yes', ok: true, color: 'green', context: 'tour' } }),
  'sampling/createMessage': () => ({ role: 'assistant', model: 'tour', content: { type: 'text', text: 'an answer' } }),
  'roots/list': () => ({ roots: [{ uri: 'file:///tour', name: 'tour' }] }),
};

export async function main(adapter) {
  let input = '';
  for await (const chunk of process.stdin) input += chunk;
  const results = {};
  for (const job of JSON.parse(input).jobs) results[job.name] = await tour(adapter, { namePrefix: '', uriPrefix: '', ...job });
  process.stdout.write(JSON.stringify(results) + '\n', () => process.exit(0));
}
