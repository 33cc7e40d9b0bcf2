/* The console in action: requests, the stream, what is remembered; the state is the reducer's. */

import { newId, Outbox } from "../../ai_chatbot/chat/outbox.js";
import { Store } from "../../ai_chatbot/chat/store.js";
import { gapIn } from "../../ai_chatbot/chat/thread.js";
import { AgentApi } from "./api.js";
import { Live } from "./live.js";
import {
  asked,
  initialState,
  isOnDuty,
  opened,
  reduce,
  summaryOf,
  supervises,
  watchable,
} from "./reducer.js";

// Events come in bursts (a take-over is three); the lists are read once for all of them.
const GATHER_MS = 300;
// How often that is looked at which announces nothing to this agent.
const LOOK_AGAIN_MS = 20_000;
// How often the colleagues' load is looked at, while it changes.
const TEAM_MS = 2_000;
const PAGE = 50;
const MOST = 200;

export class Desk {
  #underWay = Promise.resolve(null);

  constructor({ me, loginUrl }) {
    this.memoryKey = `workbench-seen:${me.id}`;
    this.store = new Store(reduce, initialState({ me, seen: this.#recall() }));
    this.dispatch = this.store.dispatch;
    this.api = new AgentApi({
      onLoggedOut: () => {
        const here = location.pathname + location.hash;
        location.assign(`${loginUrl}?next=${encodeURIComponent(here)}`);
      },
    });
    this.outboxes = new Map();
    this.reading = new Map();
    this.gathering = null;
    // Lists that are read, where not all are, with the next gathering.
    this.stale = new Set(["email"]);
    this.refreshing = null;
    this.live = new Live({
      api: this.api,
      share: `agent ${me.id}`,
      prepare: (watched) => this.#mayGoOn(watched),
      onConnected: (watched, frame) => this.#connected(watched, frame),
      onEvent: (event, watched) => this.#event(event, watched),
      onLink: (up) => this.dispatch({ type: "link", up }),
      // Another agent's take-over ends the streams of those who looked on.
      onDrop: (watched) => watched && this.#mayBeLost(watched),
    });
  }

  get state() {
    return this.store.state;
  }

  async start() {
    addEventListener("hashchange", () => this.#select(nameInHash()));
    document.addEventListener("visibilitychange", () => this.#look());
    this.store.subscribe(() => this.#see());
    setInterval(() => this.#lookAgain(), LOOK_AGAIN_MS);
    enterBySession();
    await this.#select(nameInHash());
    this.#follow();
  }

  // --- lists --------------------------------------------------------------------------

  setTab(tab) {
    this.dispatch({ type: "tab", tab });
    this.refreshLists();
  }

  setFilter(filter) {
    this.dispatch({ type: "filter", filter });
    this.refreshLists();
  }

  refreshLists() {
    this.gathering ??= setTimeout(() => {
      this.gathering = null;
      this.#readLists();
    }, GATHER_MS);
  }

  async readMore() {
    const { filter, lists } = this.state;
    await this.#attempt("more", async () => {
      const page = await this.api.sessions({ ...filter, limit: PAGE, cursor: lists.all.next });
      if (filter === this.state.filter) this.dispatch({ type: "more", page });
    });
  }

  async #readLists() {
    const { filter, lists, tab } = this.state;
    const length = Math.min(MOST, Math.max(PAGE, lists.all.items.length));
    const wanted = [
      ["queue", () => this.api.queue()],
      ["mine", () => this.api.mine()],
    ];
    if (tab === "email" || this.stale.delete("email")) {
      wanted.push(["email", () => this.api.byEmail()]);
    }
    if (tab === "all") {
      wanted.push(["all", () => this.api.sessions({ ...filter, limit: length })]);
    }
    await Promise.all(
      wanted.map(async ([name, read]) => {
        try {
          const page = await read();
          if (name !== "all" || filter === this.state.filter) {
            this.dispatch({ type: "list", name, page });
          }
        } catch (error) {
          // They are read again with the next event, and when the stream is back.
          if (error.passing === undefined) throw error;
        }
      }),
    );
  }

  // --- requests, notices, colleagues ----------------------------------------------------

  /** What waits for this agent, as rows have it: it is there after a reload as well. */
  refreshInbox() {
    this.refreshing ??= setTimeout(async () => {
      this.refreshing = null;
      await this.#readInbox();
    }, GATHER_MS);
  }

  async #readInbox() {
    const reads = {
      transfers: () => this.api.transferRequests(),
      assists: () => this.api.assistRequests(),
      notices: () => this.api.notices(),
    };
    await Promise.all(
      Object.entries(reads).map(async ([kind, read]) => {
        const page = await this.#try(read);
        if (page) this.dispatch({ type: "inbox", inbox: { [kind]: page.items } });
      }),
    );
    // Whoever is asked may look on from now, or not any more; and wants to know whom it is about.
    this.#follow();
    const { transfers, assists } = asked(this.state);
    for (const { session_name: name } of [...transfers, ...assists]) {
      if (!this.state.conversations[name]?.details) this.#read(name);
    }
  }

  #isAsked(name) {
    const { transfers, assists } = this.state.inbox;
    return [...transfers, ...assists].some((each) => each.session_name === name);
  }

  readTeam() {
    if (!supervises(this.state.me)) return;
    this.asking ??= setTimeout(async () => {
      this.asking = null;
      const page = await this.#try(() => this.api.agents());
      if (page) this.dispatch({ type: "team", agents: page.items });
    }, this.state.team ? TEAM_MS : GATHER_MS);
  }

  /** Those on duty, apart from who has the conversation; null: they could not be read. */
  async colleagues() {
    const page = await this.#try(() => this.api.agents());
    const owner = opened(this.state)?.details?.agent?.id;
    return page && page.items.filter(({ id, status }) => id !== owner && isOnDuty(status));
  }

  async respond(id, accept) {
    const request = this.state.inbox.transfers.find((each) => each.id === id);
    const problem = await this.#attempt("respond", async () => {
      await this.api.respond(id, accept);
      this.dispatch({ type: "answered", kind: "transfers", id });
    });
    this.refreshInbox();
    this.refreshLists();
    if (problem || !accept) return;
    this.setTab("mine");
    const name = request?.session_name;
    if (name === this.state.selected) await this.#read(name);
    else if (name) location.hash = encodeURIComponent(name);
  }

  dismiss(id) {
    this.dispatch({ type: "answered", kind: "news", id });
  }

  async readNotice(id) {
    this.dispatch({ type: "answered", kind: "notices", id });
    await this.#try(() => this.api.readNotice(id));
  }

  /** What they tell of has been seen, or done. */
  #settleNotices(name, kinds) {
    const { notices, news } = this.state.inbox;
    for (const { id, kind, session_name: about } of notices) {
      if (about === name && (kinds?.includes(kind) ?? true)) this.readNotice(id);
    }
    if (kinds) return;
    for (const { id, payload } of news) if (payload.session_name === name) this.dismiss(id);
  }

  async readAllNotices() {
    const { notices, news } = this.state.inbox;
    for (const { id } of news) this.dismiss(id);
    await Promise.all(notices.map(({ id }) => this.readNotice(id)));
  }

  /** Without the network, null: what is asked here is asked again by itself. */
  async #try(request) {
    try {
      return await request();
    } catch (error) {
      if (error.passing === undefined) throw error;
      return null;
    }
  }

  #look() {
    this.#see();
    if (document.visibilityState !== "hidden" && this.state.linkUp) this.refreshLists();
  }

  /** What no event tells: news of conversations that are the AI's or another agent's. */
  #lookAgain() {
    if (document.visibilityState === "hidden" || !this.state.linkUp) return;
    if (["all", "email"].includes(this.state.tab)) this.refreshLists();
    this.readTeam();
    // Of a conversation that is refused its change of hands is told.
    const refused = opened(this.state)?.phase === "refused";
    if (this.live.watched !== this.state.selected && !refused) this.#read(this.state.selected);
  }

  // --- the open conversation ----------------------------------------------------------

  refresh() {
    this.refreshLists();
    return this.#read(this.state.selected);
  }

  send(content) {
    this.outbox.add(content);
  }

  /** Of the open conversation; each has its own, which goes on sending when another is open. */
  get outbox() {
    const name = this.state.selected;
    if (!this.outboxes.has(name)) {
      this.outboxes.set(
        name,
        new Outbox({
          post: (item) => this.api.send(name, item),
          dispatch: (action) => {
            this.dispatch({ ...action, name });
            if (action.type === "sent") this.#settleNotices(name, ["customer_waits"]);
            if (action.type === "unsent" && action.problem === "NOT_ASSIGNED") {
              this.#read(name, { doubtful: true });
            }
          },
        }),
      );
    }
    return this.outboxes.get(name);
  }

  /** takeover, assign, requeue, release, close or reopen. Resolves to the problem, or null. */
  act(verb, body) {
    return this.#change(verb, (name) => this.api.act(name, verb, body));
  }

  setPriority(priority) {
    return this.#change("priority", (name) => this.api.setPriority(name, priority));
  }

  /** To a colleague; `to` null: into the line. */
  transfer(to, note) {
    return this.#settle("transfer", (name) => this.api.transfer(name, { to_agent: to, note }));
  }

  cancelTransfer(id) {
    return this.#settle("transfer", () => this.api.cancelTransfer(id));
  }

  ask(to, question) {
    return this.#settle("assist", (name) =>
      this.api.ask({ session_name: name, to_agent: to, question }),
    );
  }

  closeAssist(id) {
    return this.#settle("assist", () => this.api.closeAssist(id));
  }

  async answer(id, answer) {
    const problem = await this.#settle("answer", () => this.api.answer(id, answer));
    if (!problem) this.dispatch({ type: "answered", kind: "assists", id });
    this.refreshInbox();
    return problem;
  }

  /** Write a note, or change one's own. */
  saveNote(content, editing) {
    return this.#settle("note", (name) =>
      editing
        ? this.api.changeNote(name, editing, content)
        : this.api.addNote(name, { content, client_id: newId() }),
    );
  }

  deleteNote(id) {
    return this.#settle("note", (name) => this.api.deleteNote(name, id));
  }

  /** What is being written in the open conversation: for the customer, or a note. */
  setWriting({ note, editing = null }) {
    this.dispatch({ type: "writing", name: this.state.selected, note, editing });
  }

  /** A request whose answer is the conversation's state. */
  #change(what, request) {
    const name = this.state.selected;
    return this.#attempt(what, async () => {
      const asOf = this.#revision(name);
      const state = await request(name);
      this.dispatch({ type: "state", name, state, asOf, fresh: false });
      this.#follow();
      this.refreshLists();
    });
  }

  /** A request after which the conversation is read. */
  #settle(what, request) {
    const name = this.state.selected;
    return this.#attempt(what, async () => {
      await request(name);
      await this.#read(name);
      this.refreshLists();
    });
  }

  async readOlder() {
    const name = this.state.selected;
    const [first] = opened(this.state)?.thread.messages ?? [];
    if (!first) return;
    await this.#attempt("older", async () => {
      this.dispatch({ type: "older", name, page: await this.api.older(name, first.id) });
    });
  }

  async #select(name) {
    if (name === this.state.selected) return;
    this.dispatch({ type: "selected", name });
    this.#settleNotices(name);
    if (name) await this.#read(name, { fresh: true });
    else this.#follow();
  }

  /** The stream's end may have been that of the right to follow. */
  async #mayBeLost(name) {
    await this.#readInbox();
    await this.#read(name, { doubtful: true });
  }

  /** Read a conversation's state; once at a time, and once more if asked meanwhile.
   * `doubtful`: whose it is may be another's than is known here. */
  async #read(name, { fresh = false, doubtful = false } = {}) {
    if (!name) return;
    const running = this.reading.get(name);
    if (running) {
      running.again = {
        fresh: fresh || running.again?.fresh,
        doubtful: doubtful || running.again?.doubtful,
      };
      return;
    }
    const run = { again: null };
    this.reading.set(name, run);
    try {
      if (await this.#mayRead(name, doubtful)) {
        const asOf = this.#revision(name);
        const state = await this.api.state(name);
        this.dispatch({ type: "state", name, state, asOf, fresh });
      }
    } catch (error) {
      if (error.passing === undefined) throw error;
      if ([404, 422].includes(error.status)) this.dispatch({ type: "missing", name });
      if (error.code === "NOT_ASSIGNED") {
        this.dispatch({ type: "refused", name, agent: error.details.agent });
      }
    } finally {
      this.reading.delete(name);
    }
    this.#follow();
    if (run.again) await this.#read(name, run.again);
  }

  /** Who has it is asked of the lists, where it is not known to be readable: they show it
   * without what is in it. A refusal would stand in the browser's console as an error. */
  async #mayRead(name, doubtful) {
    const known = summaryOf(this.state, name);
    if (known && !doubtful && watchable(known, this.state)) return true;
    const summary = await this.api.summary(name);
    if (!summary) this.dispatch({ type: "missing", name });
    else if (watchable(summary, this.state)) return true;
    else {
      const { agent, nickname } = summary;
      this.dispatch({ type: "refused", name, agent, nickname });
    }
    return false;
  }

  #revision(name) {
    return this.state.conversations[name]?.revision ?? 0;
  }

  /** One after the other: what is pressed while something is under way is not lost. */
  #attempt(what, request) {
    const name = this.state.selected;
    const attempt = this.#underWay.then(() => this.#do(what, name, request));
    this.#underWay = attempt;
    return attempt;
  }

  async #do(what, name, request) {
    this.dispatch({ type: "busy", what });
    let problem = null;
    try {
      await request();
    } catch (error) {
      if (error.passing === undefined) console.error(error);
      const details = error.details ?? {};
      problem = { what, code: error.code ?? "unreachable", name: details.agent?.name, details };
      if (error.status === 409 || error.status === 403) {
        this.#read(name, { doubtful: true });
        this.refreshLists();
      }
    }
    this.dispatch({ type: "done", problem });
    return problem;
  }

  // --- presence -----------------------------------------------------------------------

  async setPresence(status) {
    await this.#attempt("presence", async () => {
      const answer = await this.api.setStatus(status);
      this.dispatch({ type: "profile", profile: { ...this.state.me, ...answer } });
    });
  }

  // --- the stream ---------------------------------------------------------------------

  /** Watch the open conversation, if this agent may. */
  #follow() {
    const details = opened(this.state)?.details;
    const may = details && watchable(details, this.state);
    this.live.watch(may ? this.state.selected : null);
  }

  /** Before a stream that was refused is tried again: are we logged in, may we watch? */
  async #mayGoOn(watched) {
    const { status } = await this.api.profile();
    this.dispatch({ type: "profile", profile: { ...this.state.me, status } });
    if (watched) await this.#read(watched);
    return this.live.watched === watched;
  }

  #connected(watched, frame) {
    this.dispatch({ type: "connected", watched, skew: frame.timestamp * 1000 - frame.received });
    this.#readLists();
    this.#read(this.state.selected, { fresh: true });
    this.#readProfile();
    this.#readInbox();
    this.readTeam();
    for (const outbox of this.outboxes.values()) outbox.wake();
  }

  async #readProfile() {
    try {
      this.dispatch({ type: "profile", profile: await this.api.profile() });
    } catch (error) {
      if (error.passing === undefined) throw error;
    }
  }

  #event(event, watched) {
    this.dispatch({ type: "event", event, watched });
    switch (event.type) {
      case "status_change":
        if ([event.payload.status, event.payload.previous].includes("after_hours_email")) {
          this.stale.add("email");
        }
        this.refreshLists();
        if (this.#isAsked(event.payload.session_name)) this.refreshInbox();
        this.readTeam();
        if (event.payload.session_name === this.state.selected) this.#read(this.state.selected);
        break;
      case "queue_update":
      case "session_assigned":
        if (event.payload.session.status === "after_hours_email") this.stale.add("email");
        this.refreshLists();
        break;
      case "presence":
        this.readTeam();
        break;
      case "notice":
        this.refreshInbox();
        break;
      case "note":
        this.#read(watched);
        break;
      case "transfer_request":
      case "transfer_answer":
      case "assist_request":
      case "assist_answer":
        this.refreshInbox();
        if (event.payload.session_name === this.state.selected) this.#read(this.state.selected);
        break;
      case "reply_delta":
        if (gapIn(this.state.conversations[watched].thread)) this.#read(watched);
        break;
    }
  }

  // --- what has been seen ---------------------------------------------------------------

  #see() {
    const name = this.state.selected;
    const last = opened(this.state)?.thread.messages.at(-1);
    if (!last || document.visibilityState === "hidden") return;
    if (last.id <= (this.state.seen[name] ?? 0)) return;
    this.dispatch({ type: "seen", name, id: last.id });
    this.#remember();
  }

  #recall() {
    try {
      return JSON.parse(localStorage.getItem(this.memoryKey)) ?? {};
    } catch {
      return {};
    }
  }

  #remember() {
    // The newest are enough: conversations end.
    const newest = Object.entries(this.state.seen).sort((a, b) => b[1] - a[1]).slice(0, 300);
    try {
      localStorage.setItem(this.memoryKey, JSON.stringify(Object.fromEntries(newest)));
    } catch {
      // Forbidden or full: unread marks then last as long as the page.
    }
  }
}

/** A mail's link names the conversation in the address's query, which a login keeps. */
function enterBySession() {
  const name = new URLSearchParams(location.search).get("session");
  if (name) history.replaceState(null, "", `${location.pathname}#${encodeURIComponent(name)}`);
}

function nameInHash() {
  const hash = location.hash.slice(1);
  try {
    return decodeURIComponent(hash) || null;
  } catch {
    return hash; // typed or cut off: it is no conversation, and is said to be none
  }
}
