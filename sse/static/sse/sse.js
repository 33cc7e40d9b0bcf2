/* Listens to the streams of the Django app `sse`:

     import { listen } from "/static/sse/sse.js";
     const listening = listen("/events/room-42/", {
       message: (data, event) => show(data.text),
     });
     listening.close();

   A durable event is handed over once and in order, over lost connections, restarts of the
   server and changes of tabs. Tabs of one browser that listen to the same URL with the same token
   share a connection: one of them, the leader, has it and passes on what comes.
*/

// Without a word for so long a connection is dead. The server's heartbeats come every 15 s unless
// it is set up otherwise: what is seen of them says more.
const SILENCE_MS = 45_000;
const LEAST_SILENCE_MS = 5_000;
const MOST_SILENCE_MS = 300_000;
const SILENT_BEATS = 3;
const RETRY_MS = 1_000;
// From the second try on: the server's `retry`, within these, doubled with each.
const BACKOFF_MS = [1_000, 3_000, 30_000];
// A stream that held for so long was a good one: the next failure begins a new backoff.
const SETTLED_MS = 10_000;
// Other refusals may pass: of a busy server, or one that is going away.
const PASSING = new Set([408, 425, 429]);
// Between tabs: how often is looked, when a leader is asked whether it is there, and how long it
// may take to say so.
const LOOK_MS = 5_000;
const QUIET_MS = 15_000;
const ANSWER_MS = 5_000;
// A browser lets the timers of hidden pages come late: a page that is looked at leads better.
const HIDDEN_MS = 30_000;
// What every tab keeps, for those that are a little behind it when it becomes the leader.
const RECENT_EVENTS = 64;

/**
 * Listen to a stream; every handler is called with (data, event).
 *
 * url: may have `?last_event_id=`, where to begin; else with what is sent from now on.
 * handlers: by the event's name; "*" gets what has none of its own. data: parsed JSON, else the
 *   text; event: {type, data, id}. id is "" for an ephemeral event.
 * named: false for streams whose events are JSON envelopes: dispatched by their `type`, with their
 *   `payload` as data and {type, payload, timestamp, id} as event.
 * share: one connection for all tabs. A text keeps those apart that give another one, where a
 *   login is not part of the URL or the token. Without Web Locks (plain http) nothing is shared.
 * token: sent as `Authorization: Bearer`; without one, cookies are sent.
 * onstate({state, …}): "connecting"; "open" with `connected`, the payload of the first frame, and
 *   its `event`, which has `received`, the time here; "waiting" for another try, with `ms` and,
 *   if the server said them, `status` and `code`; "refused" for good, with `status`, `code`,
 *   `message` and `details`; "closed".
 * onreset(reason): events were missed that cannot be had any more: read the state again.
 */
export function listen(
  url,
  handlers,
  { named = true, share = true, token = "", onstate = () => {}, onreset = () => {} } = {},
) {
  const listener = new Listener(url, handlers, { named, share, token, onstate, onreset });
  return { close: () => listener.close() };
}

/** The frames of an event stream, as the HTML standard has it read. */
export class Parser {
  /** The last `retry:` in milliseconds, or null. */
  retry = null;
  #decoder = new TextDecoder();
  #line = "";
  #afterReturn = false;
  #name = "";
  #data = [];
  #id = null;

  /**
   * Takes bytes, gives the frames they complete: {name, data, id}. `id` is null where a frame has
   * none of its own; `data` is null where a frame has an id and no data, and is no event.
   */
  push(bytes) {
    const frames = [];
    let text = this.#decoder.decode(bytes, { stream: true });
    if (this.#afterReturn && text) {
      this.#afterReturn = false;
      if (text.startsWith("\n")) text = text.slice(1);
    }
    if (text.endsWith("\r")) this.#afterReturn = true;
    const lines = text.split(/\r\n|\n|\r/);
    lines[0] = this.#line + lines[0];
    this.#line = lines.pop();
    for (const line of lines) {
      if (line) this.#take(line);
      else this.#end(frames);
    }
    return frames;
  }

  #take(line) {
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#name = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "retry" && /^[0-9]+$/.test(value)) this.retry = Number(value);
  }

  #end(frames) {
    const data = this.#data.length ? this.#data.join("\n") : null;
    if (data !== null || this.#id !== null) {
      frames.push({ name: this.#name || "message", data, id: this.#id });
    }
    this.#name = "";
    this.#data = [];
    this.#id = null;
  }
}

/* A connection that does not give up, with the cursor of what has been handed over. */
class Connection {
  #request;
  #named;
  #callbacks;
  #attempts = 0;
  #retry = RETRY_MS;
  #silence = SILENCE_MS;
  #heardAt = 0;
  #beatAt = 0;
  #openedAt = 0;
  #abort = null;
  #watch = null;
  #hurry = null;

  /** callbacks: onevent(event), onreset(reason, event), onstate(state). */
  constructor({ url, token, named }, cursor, callbacks) {
    this.#request = { url, token };
    this.#named = named;
    this.#callbacks = callbacks;
    this.cursor = cursor;
    this.closed = false;
    this.#run();
  }

  close() {
    this.closed = true;
    clearTimeout(this.#watch);
    this.#abort?.abort();
    this.#hurry?.();
  }

  /** Now may be a better time than the one that is waited for. */
  hurry() {
    if (this.#hurry) this.#hurry();
    else this.#look();
  }

  async #run() {
    // Whoever has begun this knows it by the time of the first callback.
    await null;
    while (!this.closed) {
      this.#callbacks.onstate({ state: "connecting" });
      if (this.closed) return;
      const { least = 0, final, ...refusal } = await this.#read();
      clearTimeout(this.#watch);
      if (this.closed) return;
      if (final) {
        this.closed = true;
        this.#callbacks.onstate({ state: "refused", ...refusal });
        return;
      }
      const ms = Math.max(this.#wait(), least);
      this.#callbacks.onstate({ state: "waiting", ms, ...refusal });
      if (!this.closed) await this.#pause(ms, least);
    }
  }

  /** Until the connection ends, or there is none. Resolves to what was refused, if it was. */
  async #read() {
    const { url, token } = this.#request;
    const abort = (this.#abort = new AbortController());
    this.#openedAt = this.#beatAt = 0;
    this.#hear();
    this.#arm();
    let answer;
    try {
      answer = await fetch(url, {
        headers: {
          Accept: "text/event-stream",
          ...(token && { Authorization: `Bearer ${token}` }),
          ...(this.cursor && { "Last-Event-ID": this.cursor }),
        },
        cache: "no-store",
        credentials: token ? "omit" : "include",
        signal: abort.signal,
      });
    } catch {
      return {}; // no answer, for whatever reason: the browser tells no more
    }
    if (this.closed) return {};
    const type = answer.headers.get("Content-Type") ?? "";
    if (answer.status !== 200 || !/^text\/event-stream\s*(;|$)/i.test(type)) {
      return refusalOf(answer, abort);
    }
    const parser = new Parser();
    const reader = answer.body.getReader();
    for (;;) {
      let part;
      try {
        part = await reader.read();
      } catch {
        return {};
      }
      if (this.closed || part.done) return {};
      this.#hear();
      for (const frame of parser.push(part.value)) {
        if (parser.retry !== null) this.#retry = parser.retry;
        this.#take(frame);
        if (this.closed) return {};
      }
    }
  }

  #take({ name, data, id }) {
    if (data === null) {
      this.cursor = id;
      return;
    }
    const event = { ...(this.#named ? { type: name, data } : envelope(data)), id: id ?? "" };
    const { onstate, onreset, onevent } = this.#callbacks;
    const payload = () => (this.#named ? parsed(data) : event.payload);
    switch (this.#named ? /^sse-(.+)/.exec(name)?.[1] : event.type) {
      case "connected":
        this.#openedAt = Date.now();
        event.received = this.#openedAt;
        if (isAt(this.cursor, event.id)) this.cursor = event.id;
        onstate({ state: "open", connected: payload(), event });
        return;
      case "heartbeat":
        this.#learn();
        return;
      case "goodbye":
        this.#attempts = 0;
        this.#retry = payload()?.retry_ms ?? this.#retry;
        return;
      case "reset":
        this.cursor = event.id;
        onreset(payload()?.reason ?? "", event);
        return;
    }
    this.#beatAt = 0;
    onevent(event);
    if (event.id) this.cursor = event.id;
  }

  #wait() {
    if (this.#openedAt && Date.now() - this.#openedAt > SETTLED_MS) this.#attempts = 0;
    const [least, most, longest] = BACKOFF_MS;
    const attempt = this.#attempts++;
    // The server spreads its clients itself.
    if (attempt === 0) return this.#retry;
    const step = Math.min(most, Math.max(least, this.#retry));
    return Math.min(longest, step * 2 ** (attempt - 1)) * (0.75 + Math.random() / 2);
  }

  /** Hurried, not before `least`: so long the server has asked for. */
  #pause(ms, least) {
    const began = Date.now();
    return new Promise((resolve) => {
      const done = () => {
        this.#hurry = null;
        resolve();
      };
      let timer = setTimeout(done, ms);
      this.#hurry = () => {
        clearTimeout(timer);
        const left = this.closed ? 0 : began + least - Date.now();
        if (left > 0) timer = setTimeout(done, left);
        else done();
      };
    });
  }

  // --- silence ----------------------------------------------------------------------------

  #hear() {
    this.#heardAt = Date.now();
  }

  /** What lies between two heartbeats in a row is the server's measure. */
  #learn() {
    const now = Date.now();
    if (this.#beatAt) {
      const silence = SILENT_BEATS * (now - this.#beatAt);
      this.#silence = Math.min(MOST_SILENCE_MS, Math.max(LEAST_SILENCE_MS, silence));
      this.#arm();
    }
    this.#beatAt = now;
  }

  #arm() {
    clearTimeout(this.#watch);
    const due = this.#heardAt + this.#silence - Date.now();
    this.#watch = setTimeout(() => this.#look(), Math.max(0, due));
  }

  #look() {
    if (this.closed || this.#hurry) return;
    if (Date.now() - this.#heardAt < this.#silence) {
      this.#arm();
      return;
    }
    // Its heartbeats may be further apart than is thought here.
    if (this.#openedAt && !this.#beatAt) {
      this.#silence = Math.min(MOST_SILENCE_MS, 2 * this.#silence);
    }
    this.#abort.abort();
  }
}

async function refusalOf(answer, abort) {
  const { status } = answer;
  const least = waitOf(answer.headers.get("Retry-After"));
  let error = null;
  if (answer.status !== 200) {
    try {
      error = parsed(await answer.text())?.error;
    } catch {
      // Cut off. The status says enough.
    }
  }
  abort.abort();
  const { code, message = "", details = {} } = error ?? {};
  return {
    final: status < 500 && !PASSING.has(status),
    least,
    status,
    code: code ?? (answer.ok ? "NOT_A_STREAM" : "ERROR"),
    message,
    details,
  };
}

/** Milliseconds of a Retry-After, a little more for each client than for the one before. */
function waitOf(text) {
  if (!text) return 0;
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return ms > 0 ? ms * (1 + Math.random() / 4) : 0;
}

function envelope(data) {
  const event = parsed(data);
  return typeof event?.type === "string" ? event : { type: "message", payload: event };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/* What one call of `listen` began: its handlers and its place in the stream. */
class Listener {
  #handlers;
  #stream;
  #onstate;
  #onreset;
  #key = null;
  #source = null;
  #state = "";
  #over = false;
  #away = false;
  #ready = false;
  #hiddenAt = isVisible() ? null : Date.now();
  #events = new AbortController();

  constructor(url, handlers, { named, share, token, onstate, onreset }) {
    const address = new URL(url, document.baseURI);
    // As the server joins them.
    this.cursor = address.searchParams.getAll("last_event_id").filter(Boolean).join("~");
    if (this.cursor) address.searchParams.delete("last_event_id");
    address.hash = "";
    this.#handlers = handlers;
    this.#stream = { url: address.href, token, named };
    this.#onstate = onstate;
    this.#onreset = onreset;
    this.#attend();
    this.#prepare(share);
  }

  close() {
    if (this.#over) return;
    this.#end();
    this.tell({ state: "closed" });
  }

  /** How long nobody has looked at this page. */
  get hiddenMs() {
    return this.#hiddenAt === null ? 0 : Date.now() - this.#hiddenAt;
  }

  /** The connection is this listener's own from now on. */
  goAlone() {
    this.#key = null;
    this.#source?.close();
    this.#source = null;
    this.#begin();
  }

  connect(callbacks) {
    return new Connection(this.#stream, this.cursor, callbacks);
  }

  tell(state) {
    if (state.state === this.#state) return;
    this.#state = state.state;
    if (state.state === "refused") this.#end();
    this.#call(this.#onstate, state);
  }

  deliver(event) {
    if (this.#over) return;
    const { type } = event;
    const handler = Object.hasOwn(this.#handlers, type)
      ? this.#handlers[type]
      : this.#handlers["*"];
    if (!handler) return;
    this.#call(handler, this.#stream.named ? parsed(event.data) : event.payload, event);
  }

  reset(reason) {
    if (!this.#over) this.#call(this.#onreset, reason);
  }

  /** What a handler throws is the page's, and no reason to stop listening. */
  #call(callback, ...given) {
    try {
      callback(...given);
    } catch (error) {
      reportError(error);
    }
  }

  async #prepare(share) {
    if (share && globalThis.navigator?.locks && globalThis.BroadcastChannel) {
      const { url, token, named } = this.#stream;
      this.#key = await digest(JSON.stringify([url, token, named, share]));
    }
    this.#ready = true;
    this.#begin();
  }

  #begin() {
    if (this.#over || this.#away || this.#source || !this.#ready) return;
    if (this.#key) this.#source = new Member(this, this.#key);
    else {
      const connection = this.connect({
        onstate: (state) => {
          this.cursor = connection.cursor;
          this.tell(state);
        },
        onevent: (event) => {
          this.deliver(event);
          if (event.id) this.cursor = event.id;
        },
        onreset: (reason, { id }) => {
          this.cursor = id;
          this.reset(reason);
        },
      });
      this.#source = connection;
    }
  }

  #attend() {
    const { signal } = this.#events;
    const hurry = () => {
      this.#hiddenAt = isVisible() ? null : (this.#hiddenAt ?? Date.now());
      if (this.#hiddenAt === null) this.#source?.hurry();
    };
    // A page that is kept aside holds neither a connection nor the lead.
    const leave = () => {
      this.#away = true;
      this.#source?.close();
      this.#source = null;
      this.#state = "";
    };
    const comeBack = () => {
      this.#away = false;
      this.#begin();
    };
    addEventListener("online", hurry, { signal });
    document.addEventListener("visibilitychange", hurry, { signal });
    addEventListener("pagehide", leave, { signal });
    addEventListener("pageshow", ({ persisted }) => persisted && comeBack(), { signal });
    document.addEventListener("freeze", leave, { signal });
    document.addEventListener("resume", comeBack, { signal });
  }

  #end() {
    this.#over = true;
    this.#events.abort();
    this.#source?.close();
    this.#source = null;
  }
}

/* A listener's place among all those, in this browser, of the same stream.

   It is in one of four modes:
   - seeking: no leader has told it yet where it stands;
   - following: it hands over what the leader passes on;
   - catching: the leader does not have all that it needs any more, so it reads with a connection
     of its own, until that has brought it to where the leader was when it asked;
   - leading: it has the lock and the connection.

   Positions decide what is handed over: {epoch: number of the last event}, for each target of the
   stream. An event has a step in one of them, and whoever is there already has had it. So it does
   not matter by which way, how often, or behind whose back an event comes.
*/
class Member {
  #id = crypto.randomUUID();
  #listener;
  #key;
  #channel;
  #mode = "seeking";
  // Of the leader that is known: the time of its beginning. Who began later leads.
  #term = 0;
  #connection = null;
  #state = { state: "connecting" };
  #position;
  #recent = null;
  // The leader's: who has asked before it knew where it stands.
  #asking = [];
  #closed = false;
  #release = null;
  #queueing = null;
  #stealing = false;
  #heardAt = Date.now();
  #askedAt = 0;
  #looking;

  constructor(listener, key) {
    this.#listener = listener;
    this.#key = key;
    // undefined: from now on; null: given, but not as a cursor.
    this.#position = listener.cursor ? read(listener.cursor) : undefined;
    this.#channel = new BroadcastChannel(key);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    this.#looking = setInterval(() => this.#look(), LOOK_MS);
    this.#campaign();
    this.#join({ hurry: true });
    listener.tell(this.#state);
  }

  close() {
    this.#closed = true;
    clearInterval(this.#looking);
    this.#channel.close();
    this.#drop();
    this.#queueing?.abort();
    this.#release?.();
  }

  hurry() {
    this.#connection?.hurry();
    if (this.#mode !== "leading") this.#ask({ hurry: true });
  }

  // --- the lead ---------------------------------------------------------------------------

  /** Wait for the lead; when it is over, wait again. */
  async #campaign() {
    while (!this.#closed) {
      const steal = this.#stealing;
      this.#stealing = false;
      this.#queueing = new AbortController();
      const options = steal ? { steal } : { signal: this.#queueing.signal };
      try {
        await navigator.locks.request(this.#key, options, () => this.#lead());
      } catch (error) {
        if (this.#closed) return;
        if (error.name !== "AbortError") {
          // As in a sandbox.
          this.#listener.goAlone();
          return;
        }
      }
      if (this.#mode === "leading" && !this.#closed) this.#step();
    }
  }

  /** Until it is released; or stolen, by one who has not heard from us. */
  #lead() {
    if (this.#closed) return null;
    const held = new Promise((resolve) => {
      this.#release = resolve;
    });
    const whole = this.#mode === "following" && has(this.#recent.end, this.#position);
    if (!whole) this.#recent = this.#position ? new Recent(this.#position) : null;
    this.#mode = "leading";
    this.#stealing = false;
    this.#term = Math.max(Date.now(), this.#term + 1);
    this.#state = this.#connection ? this.#state : { state: "connecting" };
    this.#announce({ kind: "state", state: this.#state });
    if (!this.#connection) this.#connect();
    return held;
  }

  /** Back into the line. */
  #step() {
    this.#drop();
    this.#release?.();
    this.#mode = "seeking";
    this.#asking = [];
    this.#join();
  }

  #steal() {
    this.#stealing = true;
    this.#queueing.abort();
  }

  #connect() {
    this.#connection = this.#listener.connect({
      onstate: (state) => this.#onState(state),
      onevent: (event) => this.#onEvent(event),
      onreset: (reason, event) => this.#onReset(reason, event),
    });
  }

  #drop() {
    this.#connection?.close();
    this.#connection = null;
  }

  // --- what comes over a connection of one's own ------------------------------------------

  #onState(state) {
    this.#state = state;
    if (state.state === "open") {
      if (!read(state.event.id)) {
        // Not a server whose places can be compared.
        this.#listener.goAlone();
        return;
      }
      this.#move(read(this.#connection.cursor));
    }
    if (this.#mode === "leading") {
      this.#announce({ kind: "state", state });
      this.#answer();
    }
    this.#listener.tell(state);
    this.#meet();
  }

  #onEvent(event) {
    const at = event.id && read(event.id);
    const step = at ? stepTo(this.#position, at) : null;
    if (this.#mode === "leading") {
      if (step) this.#recent?.add(event, step);
      this.#announce({ kind: "event", event, step });
    }
    this.#listener.deliver(event);
    if (at) this.#move(at);
    this.#meet();
  }

  #onReset(reason, { id }) {
    const at = read(id);
    if (this.#mode === "leading") {
      this.#recent = new Recent(at);
      this.#announce({ kind: "reset", reason, cursor: id });
    }
    this.#move(at);
    this.#answer();
    this.#listener.reset(reason);
    this.#meet();
  }

  #move(at) {
    if (this.#closed || !at) return;
    this.#position = at;
    this.#listener.cursor = written(at);
    if (this.#mode === "leading") this.#recent ??= new Recent(at);
  }

  /** Go on as a follower, once all has been read that the leader did not have. */
  #meet() {
    if (this.#closed || this.#mode !== "catching" || !this.#position) return;
    if (!has(this.#position, this.#recent.since)) return;
    this.#drop();
    this.#follow();
  }

  // --- what comes from the others ---------------------------------------------------------

  #post(message) {
    if (!this.#closed) this.#channel.postMessage({ ...message, from: this.#id });
  }

  /** As the leader. */
  #announce(message) {
    this.#post({ ...message, term: this.#term });
  }

  #join({ hurry = false } = {}) {
    this.#post({ kind: "join", cursor: this.#listener.cursor, visible: isVisible(), hurry });
  }

  /** Is there a leader that answers? */
  #ask({ hurry = false } = {}) {
    if (this.#mode === "seeking") this.#join({ hurry });
    else this.#post({ kind: "ping", visible: isVisible(), hurry });
    this.#askedAt ||= Date.now();
  }

  #look() {
    if (this.#mode === "leading") return;
    const now = Date.now();
    if (this.#askedAt && now - this.#askedAt >= ANSWER_MS) {
      this.#askedAt = 0;
      this.#heardAt = now;
      this.#steal();
    } else if (now - this.#heardAt >= QUIET_MS) this.#ask();
  }

  #hear(message) {
    if (this.#closed || (message.to && message.to !== this.#id)) return;
    const { term } = message;
    if (term === undefined) {
      if (this.#mode === "leading") this.#hearFollower(message);
    } else if (term > this.#term) {
      this.#term = term;
      if (this.#mode === "leading") this.#step();
      else {
        this.#mode = "seeking";
        if (message.kind !== "welcome") this.#join();
      }
      this.#hearLeader(message);
    } else if (term === this.#term && this.#mode !== "leading") this.#hearLeader(message);
  }

  #hearFollower({ kind, from, cursor, visible, hurry }) {
    if (kind === "join") this.#asking.push({ from, cursor });
    this.#announce({ kind: "state", to: from, state: this.#state });
    this.#answer();
    if (!visible) return;
    // A page that nobody looks at lets one lead that is looked at.
    if (this.#listener.hiddenMs >= HIDDEN_MS) this.#announce({ kind: "yield", to: from });
    else if (hurry) this.#connection.hurry();
  }

  /** Tell those who have asked where they stand, and what they have not had. */
  #answer() {
    if (this.#mode !== "leading" || !this.#recent) return;
    for (const { from, cursor } of this.#asking.splice(0)) {
      const events = cursor ? this.#recent.after(read(cursor)) : [];
      const at = this.#recent.end;
      this.#announce({ kind: "welcome", to: from, state: this.#state, at, events });
    }
  }

  #hearLeader(message) {
    this.#heardAt = Date.now();
    this.#askedAt = 0;
    switch (message.kind) {
      case "state":
        this.#mirror(message.state);
        break;
      case "welcome":
        this.#enter(message);
        break;
      case "event":
        this.#pass(message.event, message.step);
        break;
      case "reset":
        this.#passReset(message.reason, read(message.cursor));
        break;
      case "yield":
        this.#steal();
    }
  }

  #mirror(state) {
    // Whoever has a connection goes by that.
    if (this.#connection) return;
    const lost = state.state === "waiting" && this.#state.state !== "waiting";
    this.#state = state;
    if (lost && isVisible()) this.#ask();
    // Open it is for a follower that knows where it stands.
    if (state.state !== "open" || this.#mode === "following") this.#listener.tell(state);
  }

  /** `events`: what this one has not had; null if the leader cannot say. */
  #enter({ state, at, events }) {
    if (this.#mode === "following") return;
    this.#recent = new Recent(at);
    if (this.#position === undefined) this.#move(at);
    if (events) {
      this.#recent = new Recent(this.#position, at, events);
      this.#drop();
      this.#state = state;
      this.#follow();
    } else {
      if (!this.#connection) this.#connect();
      this.#mode = "catching";
      this.#meet();
    }
  }

  #follow() {
    this.#mode = "following";
    this.#listener.tell(this.#state);
    for (const [event, step] of [...this.#recent.events]) this.#deliver(event, step);
  }

  #pass(event, step) {
    if (this.#mode === "seeking") return;
    if (step) this.#recent.add(event, step);
    if (this.#mode !== "following") return;
    if (step) this.#deliver(event, step);
    // Where the leader is behind, what it passes on belongs to what has been.
    else if (has(this.#recent.end, this.#position)) this.#listener.deliver(event);
  }

  #deliver(event, step) {
    if (this.#closed || has(this.#position, step)) return;
    this.#listener.deliver(event);
    this.#move({ ...this.#position, ...step });
  }

  #passReset(reason, at) {
    if (this.#mode === "seeking") return;
    this.#recent = new Recent(at);
    if (this.#mode === "following" && !(has(this.#position, at) && has(at, this.#position))) {
      this.#move(at);
      this.#listener.reset(reason);
    }
    this.#meet();
  }
}

/* The last events that a leader has passed on: all those after `since`, up to `end`. */
class Recent {
  constructor(since, end = since, events = []) {
    this.since = { ...since };
    this.end = { ...end };
    this.events = events;
  }

  add(event, step) {
    this.events.push([event, step]);
    Object.assign(this.end, step);
    if (this.events.length > RECENT_EVENTS) Object.assign(this.since, this.events.shift()[1]);
  }

  /** Those that come after a position; null if it is from before these, or of another log. */
  after(position) {
    if (!position || !has(position, this.since)) return null;
    if (Object.keys(position).some((epoch) => !(epoch in this.end))) return null;
    return this.events.filter(([, step]) => !has(position, step));
  }
}

const isVisible = () => document.visibilityState !== "hidden";

/** The position that a cursor of the server says, null for what is none. */
function read(cursor) {
  const position = {};
  for (const part of cursor.split("~")) {
    const found = /^([0-9a-f]+)-([0-9]+)$/.exec(part);
    if (!found) return null;
    position[found[1]] = Number(found[2]);
  }
  return position;
}

const written = (position) =>
  Object.entries(position).map(([epoch, number]) => `${epoch}-${number}`).join("~");

/** Is a position at another one, or after it? */
const has = (position, other) =>
  Object.entries(other).every(([epoch, number]) => position[epoch] >= number);

/** What is new in the second position. */
const stepTo = (former, position) =>
  Object.fromEntries(
    Object.entries(position).filter(([epoch, number]) => former?.[epoch] !== number),
  );

/** Does a connection begin where it was asked to? If not, a reset says so, which may be lost. */
function isAt(cursor, begun) {
  if (!cursor) return true;
  const [asked, got] = [read(cursor), read(begun)];
  return Boolean(asked && got) && Object.entries(asked).every(([e, n]) => got[e] === n);
}

async function digest(text) {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  const hex = Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0"));
  return `sse:${hex.join("")}`;
}
