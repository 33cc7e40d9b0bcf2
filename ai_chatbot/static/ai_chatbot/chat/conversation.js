/* The customer's conversation in action: requests, stream, memory; the state is the reducer's. */

import { CustomerApi } from "./api.js";
import { pause } from "./http.js";
import { Memory } from "./memory.js";
import { Outbox } from "./outbox.js";
import { initialState, reduce } from "./reducer.js";
import { Store } from "./store.js";
import { Stream } from "./stream.js";
import { gapIn } from "./thread.js";

// The server does not know the session or its token: a new conversation is all that helps.
const LOST = new Set([401, 403, 404]);

export class Conversation {
  /** `visitor`: {language, nickname, email, vip} of a session still to be begun. */
  constructor({ origin, visitor }) {
    this.api = new CustomerApi(origin);
    this.memory = new Memory(origin);
    this.visitor = visitor;
    this.store = new Store(reduce, initialState);
    this.dispatch = this.store.dispatch;
    this.outbox = new Outbox({ post: (item) => this.#post(item), dispatch: this.dispatch });
    this.stream = null;
    this.beginning = null;
    this.resuming = null;
    this.fillingGap = false;
  }

  get state() {
    return this.store.state;
  }

  /** `link`: of a mail, whose session is gone on with; onLink(): it needs no second try. */
  start({ link = null, onLink = () => {} } = {}) {
    this.#readConfig();
    const session = this.memory.session;
    if (link) {
      this.resuming = this.#resume(link).finally(() => {
        this.resuming = null;
        onLink();
      });
    } else if (session) this.#adopt(session);
    const { session: former, items } = this.memory.unsent;
    this.memory.unsent = { session: null, items: [] };
    this.outbox.restore(items, { current: former === (session?.name ?? null) });
    addEventListener("pagehide", () => {
      const name = this.state.session?.name ?? null;
      this.memory.unsent = { session: name, items: this.outbox.unsent };
    });
    this.memory.onSessionElsewhere((other) => {
      if (other?.name === this.state.session?.name) return;
      this.#forget({ everywhere: false });
      if (other) this.#adopt(other);
    });
  }

  send(content) {
    this.outbox.add(content);
  }

  escalate() {
    return this.#ask("escalate", async () => {
      const session = await this.#session();
      const asOf = this.state.revision;
      this.#read(await this.api.escalate(session), asOf);
    });
  }

  leaveLine() {
    return this.#change("leave", (session) => this.api.leaveLine(session));
  }

  /** Resolves to null, or to the error. */
  async leaveContact(contact) {
    if (this.state.busy) return { code: "TOO_MANY_REQUESTS" };
    let failed = null;
    await this.#ask("contact", async () => {
      try {
        const { session, revision } = this.state;
        this.#read(await this.api.contact(session, contact), revision);
      } catch (error) {
        failed = error;
        // The form says what is wrong; only what concerns all of the conversation is ours.
        if (error.status === 409 || LOST.has(error.status)) throw error;
        if (error.passing === undefined) throw error;
      }
    });
    return failed;
  }

  /** Resolves to whether it was stored. Shown at once, and taken back if it was not. */
  async judge(id, helpful, comment) {
    const { session, thread } = this.state;
    const before = thread.messages.find((message) => message.id === id)?.feedback ?? null;
    this.dispatch({ type: "judged", id, helpful });
    try {
      await this.api.judge(session, id, { helpful, comment });
      return true;
    } catch (error) {
      if (error.passing === undefined) throw error;
      this.dispatch({ type: "judged", id, helpful: before });
      this.dispatch({ type: "problem", problem: error.code ?? "unreachable" });
      return false;
    }
  }

  /** Go on with the conversation that this browser knows, instead of a link's. */
  goOn() {
    const { session } = this.memory;
    if (session) this.#adopt(session);
    else this.startAnew();
  }

  stopReply() {
    return this.#change("stop", async (session) => {
      const state = await this.api.stop(session);
      // An answer that had not begun ends without an event.
      this.dispatch({ type: "stopped" });
      return state;
    });
  }

  close() {
    return this.#change("close", (session) => this.api.close(session));
  }

  /** Leave this conversation behind; the next message begins another. */
  startAnew() {
    this.#forget({ everywhere: true });
  }

  async readOlder() {
    const { session, thread } = this.state;
    if (!session || !thread.older) return;
    await this.#ask("older", async () => {
      const page = await this.api.older(session, thread.messages[0].id);
      this.dispatch({ type: "older", page });
    });
  }

  /** The greeting may come late; the conversation does not wait for it. */
  async #readConfig() {
    for (let wait = 2_000; ; wait = Math.min(60_000, wait * 2)) {
      try {
        this.dispatch({ type: "config", config: await this.api.config(this.visitor.language) });
        return;
      } catch (error) {
        if (!error.passing) throw error;
      }
      await pause(wait);
    }
  }

  async #resume(link) {
    this.dispatch({ type: "resuming" });
    for (let wait = 1_000; ; wait = Math.min(30_000, wait * 2)) {
      try {
        const { session_name: name, token } = await this.api.resume(link);
        this.memory.session = { name, token };
        this.#adopt({ name, token });
        return;
      } catch (error) {
        if (error.passing === undefined) throw error;
        if (!error.passing) {
          const known = this.memory.session !== null;
          this.dispatch({ type: "link_refused", code: error.code, known });
          return;
        }
        wait = Math.max(wait, error.retryAfter * 1000);
      }
      await pause(wait);
    }
  }

  /** The session, begun now if there is none; two who ask at once get the same. */
  async #session() {
    await this.resuming;
    if (this.state.session) return this.state.session;
    this.beginning ??= this.#begin().finally(() => {
      this.beginning = null;
    });
    return this.beginning;
  }

  async #begin() {
    const created = await this.api.begin(this.visitor);
    const session = { name: created.session_name, token: created.token };
    this.memory.session = session;
    this.dispatch({ type: "session", session, known: false });
    this.#listen(session).open(created.cursor);
    return session;
  }

  #adopt(session) {
    this.dispatch({ type: "session", session, known: true });
    this.#listen(session).begin();
  }

  #listen(session) {
    this.stream?.close();
    this.stream = new Stream({
      address: (cursor) => this.api.events(session, cursor),
      options: { token: session.token },
      prepare: () => this.#reread(session),
      onConnected: () => this.outbox.wake(),
      onEvent: (event) => {
        this.dispatch({ type: "event", event });
        if (gapIn(this.state.thread)) this.#fillGap(session);
      },
      onLink: (up) => this.dispatch({ type: "link", up }),
      // The AI only answers; a person may write at any time.
      mayRest: () => {
        const { status, thread } = this.state;
        const quiet = !thread.reply && !thread.awaited && thread.outbox.length === 0;
        return quiet && (status === "bot_active" || status === "closed");
      },
    });
    return this.stream;
  }

  /** The state without a stream beside it; its cursor, or null if the session is lost. */
  async #reread(session) {
    try {
      const state = await this.api.state(session);
      if (session.name !== this.state.session?.name) return null;
      this.#read(state);
      return state.cursor;
    } catch (error) {
      if (!LOST.has(error.status)) throw error;
      if (session.name === this.state.session?.name) {
        this.#forget({ everywhere: true, problem: "session_lost" });
      }
      return null;
    }
  }

  /** A piece of the answer was lost on its way; the state has all of it so far. */
  async #fillGap(session) {
    if (this.fillingGap) return;
    this.fillingGap = true;
    const asOf = this.state.revision;
    try {
      this.#read(await this.api.state(session), asOf);
    } catch (error) {
      // The finished answer comes as a message in any case.
      if (error.passing === undefined) throw error;
    } finally {
      this.fillingGap = false;
    }
  }

  #read(state, asOf) {
    if (state.session_name === this.state.session?.name) {
      this.dispatch({ type: "state", state, asOf });
    }
  }

  #forget({ everywhere, problem, keepOutbox = false }) {
    this.stream?.close();
    this.stream = null;
    if (everywhere) this.memory.session = null;
    if (!keepOutbox) this.outbox.clear();
    this.dispatch({ type: "forgotten", problem, keepOutbox });
  }

  async #post(item) {
    const session = await this.#session();
    try {
      return await this.api.send(session, item);
    } catch (error) {
      if (LOST.has(error.status) && session.name === this.state.session?.name) {
        this.#forget({ everywhere: true, keepOutbox: true });
        return this.api.send(await this.#session(), item);
      }
      if (error.code === "SESSION_CLOSED") this.stream?.begin();
      throw error;
    }
  }

  #change(what, request) {
    return this.#ask(what, async () => {
      const { session, revision } = this.state;
      if (session) this.#read(await request(session), revision);
    });
  }

  /** One request at a time; a refusal is shown, and the state is read again. */
  async #ask(what, request) {
    if (this.state.busy) return;
    this.dispatch({ type: "busy", what });
    let problem = null;
    try {
      await request();
    } catch (error) {
      if (error.passing === undefined) console.error(error);
      problem = error.code ?? "unreachable";
      if (error.status === 409 || LOST.has(error.status)) this.stream?.begin();
    }
    this.dispatch({ type: "done", problem });
  }
}
