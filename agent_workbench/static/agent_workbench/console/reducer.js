/* The console as data: (state, action) → state, and nothing else. */

import * as thread from "../../ai_chatbot/chat/thread.js";

const OWN = "agent";

export function initialState({ me, seen }) {
  return {
    me,
    tab: "queue",
    filter: { q: "", status: "" },
    lists: {
      queue: { items: [], next: null, loaded: false },
      mine: { items: [], next: null, loaded: false },
      email: { items: [], next: null, loaded: false },
      all: { items: [], next: null, loaded: false },
    },
    // Names of conversations that came into the queue and have not been looked at.
    fresh: new Set(),
    // Names of conversations that others gave this agent, who has not looked at them.
    given: new Set(),
    // The id of the last message seen, by conversation.
    seen,
    selected: null,
    // By name, as far as they have been opened: {phase, details, thread, revision}; another
    // agent's has {phase: "refused", agent, nickname} and nothing of what is in it.
    conversations: {},
    // What waits for this agent's answer or attention.
    // `transfers` and `assists` as the server lists them: what was asked of this agent, and what
    // this agent asked. `news`: {id, kind, payload} of events, as long as the page.
    inbox: { transfers: [], assists: [], notices: [], news: [] },
    // How messages of this page have reached the customer: live, mail or none, by their id.
    deliveries: {},
    // The colleagues, as far as they have been asked for.
    team: null,
    // By name: {note, editing}, where what is written is a note, and which one is changed.
    writing: {},
    linkUp: true,
    // Server time minus ours, in milliseconds.
    skew: 0,
    busy: null,
    // {what, code, name, details}: what went wrong last, at what, and whose doing it was.
    problem: null,
  };
}

const unopened = { phase: "loading", details: null, thread: thread.emptyThread, revision: 0 };

export function reduce(state, action) {
  switch (action.type) {
    case "tab":
      return { ...state, tab: action.tab };
    case "filter":
      return {
        ...state,
        filter: action.filter,
        lists: { ...state.lists, all: { items: [], next: null, loaded: false } },
      };
    case "list":
      return withList(state, action);
    case "more":
      return withMore(state, action.page);
    case "selected":
      return withSelected(state, action.name);
    case "state":
      return withState(state, action);
    case "missing":
      return withConversation(state, action.name, (known) => ({ ...known, phase: "missing" }));
    case "refused":
      return withConversation(state, action.name, ({ revision, details, nickname }) => ({
        ...unopened,
        phase: "refused",
        agent: action.agent,
        // Lists show it to everybody, and what is told of it names it still.
        nickname: action.nickname ?? details?.nickname ?? nickname,
        revision,
      }));
    case "older":
      return withThread(state, action.name, (t) => thread.withOlder(t, action.page, OWN));
    case "connected":
      return withConnected(state, action);
    case "event":
      return withEvent(state, action.event, action.watched);
    case "queued":
      return withThread(state, action.name, (t) => thread.withQueued(t, action.item));
    case "sent":
      return withThread(withDelivery(state, action.message), action.name, (t) =>
        withMessage(t, action.message),
      );
    case "delayed":
      return withThread(state, action.name, (t) => thread.withDelayed(t, action));
    case "unsent":
      return withThread(state, action.name, (t) => thread.withUnsent(t, action));
    case "discarded":
      return withThread(state, action.name, (t) => thread.withDiscarded(t, action));
    case "seen":
      return { ...state, seen: { ...state.seen, [action.name]: action.id } };
    case "inbox":
      return { ...state, inbox: { ...state.inbox, ...action.inbox } };
    case "answered":
      return withoutRequest(state, action);
    case "team":
      return { ...state, team: action.agents };
    case "writing":
      return {
        ...state,
        writing: {
          ...state.writing,
          [action.name]: { note: action.note, editing: action.editing ?? null },
        },
      };
    case "profile":
      return { ...state, me: action.profile };
    case "busy":
      return { ...state, busy: action.what, problem: null };
    case "done":
      return { ...state, busy: null, problem: action.problem ?? null };
    case "link":
      return { ...state, linkUp: action.up };
    default:
      throw new Error(`unknown action ${action.type}`);
  }
}

/** The conversation on screen, or null. */
export function opened(state) {
  return state.selected ? (state.conversations[state.selected] ?? unopened) : null;
}

export const isOnDuty = (status) => ["online", "busy"].includes(status);

export const supervises = ({ role }) => role !== "agent";

/** May this agent read and follow it? The server decides; this only spares a refusal. */
export function watchable({ session_name: name, status, agent }, state) {
  const { me } = state;
  if (status !== "manual_live" || agent?.id === me.id || supervises(me)) return true;
  const { transfers, assists } = asked(state);
  return [...transfers, ...assists].some((each) => each.session_name === name);
}

/** What is known here of who has a conversation, opened before or in a list, if anything. */
export function summaryOf({ conversations, lists }, name) {
  const { phase, details } = conversations[name] ?? unopened;
  // Lists may be older than what has been refused.
  if (details || phase === "refused") return details;
  const listed = Object.values(lists).flatMap(({ items }) => items);
  return listed.find((item) => item.session_name === name);
}

/** Requests that this agent is to answer. */
export function asked({ me, inbox }) {
  const ofMe = ({ to_agent: agent }) => agent.id === me.id;
  return { transfers: inbox.transfers.filter(ofMe), assists: inbox.assists.filter(ofMe) };
}

/** In this order they are worked off: who has waited longest for an answer, then the others. */
export function byUnanswered(items) {
  const since = (item) => (item.unanswered_since ? Date.parse(item.unanswered_since) : Infinity);
  return [...items].sort((a, b) => since(a) - since(b) || 0);
}

export function isMine(details, me) {
  return details?.status === "manual_live" && details.agent?.id === me.id;
}

/** Has it come to the agent, or the customer written something, and the agent has not seen it? */
export function isUnread(state, { session_name: name, last_message: last }) {
  if (state.given.has(name)) return true;
  return last?.role === "user" && last.id > (state.seen[name] ?? 0);
}

function withList(state, { name, page }) {
  const items = name === "email" ? byUnanswered(page.items) : page.items;
  const lists = { ...state.lists, [name]: { items, next: page.next, loaded: true } };
  if (name === "mine") return { ...state, lists, given: givenIn(state, page) };
  if (name !== "queue") return { ...state, lists };
  const before = state.lists.queue;
  const waiting = page.items.map((item) => item.session_name);
  const known = new Set(before.items.map((item) => item.session_name));
  const fresh = waiting.filter((each) =>
    known.has(each) ? state.fresh.has(each) : before.loaded && each !== state.selected,
  );
  return { ...state, lists, fresh: new Set(fresh) };
}

/** Whoever takes a conversation looks at it then; any other that is new has been given. */
function givenIn({ lists, given, seen, selected }, page) {
  const before = lists.mine;
  const known = new Set(before.items.map((item) => item.session_name));
  const isGiven = (name) =>
    known.has(name) ? given.has(name) : name !== selected && (before.loaded || !(name in seen));
  return new Set(page.items.map((item) => item.session_name).filter(isGiven));
}

function withMore(state, page) {
  const { all } = state.lists;
  const known = new Set(all.items.map((item) => item.session_name));
  const items = [...all.items, ...page.items.filter((item) => !known.has(item.session_name))];
  return { ...state, lists: { ...state.lists, all: { ...all, items, next: page.next } } };
}

function withSelected(state, name) {
  const fresh = new Set(state.fresh);
  fresh.delete(name);
  const given = new Set(state.given);
  given.delete(name);
  return { ...state, selected: name, fresh, given, problem: null };
}

function withFeedback(known, { message_id: id, helpful }) {
  const messages = known.messages.map((message) =>
    message.id === id ? { ...message, feedback: helpful } : message,
  );
  return { ...known, messages };
}

function withDelivery(state, { id, delivery }) {
  if (!delivery) return state;
  return { ...state, deliveries: { ...state.deliveries, [id]: delivery } };
}

/** An answer to what this agent asked, or a mention in a note. */
function withNews(state, { type, payload }) {
  const { me, inbox } = state;
  const { status, from_agent: from, asked_by: by } = payload;
  const own = from?.id === me.id || by?.id === me.id;
  const answers = ["accepted", "declined", "expired", "answered"];
  if (type !== "mention" && !(own && answers.includes(status))) return state;
  const id = `${type} ${payload.id ?? payload.note?.id ?? payload.session_name}`;
  const others = inbox.news.filter((each) => each.id !== id);
  return { ...state, inbox: { ...inbox, news: [...others, { id, kind: type, payload }] } };
}

function withoutRequest(state, { kind, id }) {
  const left = state.inbox[kind].filter((each) => each.id !== id);
  return { ...state, inbox: { ...state.inbox, [kind]: left } };
}

function withConversation(state, name, change) {
  const known = state.conversations[name] ?? unopened;
  return { ...state, conversations: { ...state.conversations, [name]: change(known) } };
}

function withThread(state, name, change) {
  return withConversation(state, name, (known) => ({ ...known, thread: change(known.thread) }));
}

/** `asOf`: the conversation's revision when its state was asked for. */
function withState(state, { name, state: read, asOf, fresh }) {
  return withConversation(state, name, (known) => {
    const merged = thread.withState(known.thread, read, { own: OWN, fresh });
    const late = asOf !== known.revision && known.details !== null;
    const details = late ? { ...read, ...statusOf(known.details) } : read;
    return {
      ...known,
      phase: "ready",
      details,
      thread: details.status === "bot_active" ? merged : thread.withoutReply(merged),
    };
  });
}

const statusOf = ({ status, agent, queue }) => ({ status, agent, queue });

/** A stream begins here: what was known of an answer being written may be out of date. */
function withConnected(state, { watched, skew }) {
  const next = { ...state, skew };
  if (!watched || !state.conversations[watched]) return next;
  return withThread(next, watched, thread.withoutReply);
}

function withMessage(known, message, aiAnswers = false) {
  return thread.withMessage(known, message, { own: OWN, aiAnswers });
}

function withEvent(state, { type, payload }, watched) {
  switch (type) {
    case "status_change":
      if (!state.conversations[payload.session_name]) return state;
      return withConversation(state, payload.session_name, (known) => ({
        ...known,
        revision: known.revision + 1,
        details: known.details && { ...known.details, ...statusOf({ queue: null, ...payload }) },
        thread: thread.withoutReply(known.thread),
      }));
    case "presence":
      if (payload.agent.id !== state.me.id) return state;
      return { ...state, me: { ...state.me, status: payload.status } };
    case "transfer_answer":
      return withNews(withoutRequest(state, { kind: "transfers", id: payload.id }), {
        type,
        payload,
      });
    case "assist_answer":
      return withNews(withoutRequest(state, { kind: "assists", id: payload.id }), {
        type,
        payload,
      });
    case "mention":
      return withNews(state, { type, payload });
    case "message":
      return withConversation(state, watched, (known) => ({
        ...known,
        thread: withMessage(known.thread, payload, known.details?.status === "bot_active"),
      }));
    case "reply_feedback":
      return withThread(state, watched, (t) => withFeedback(t, payload));
    case "reply_started":
      return withThread(state, watched, (t) => thread.withReplyStarted(t, payload));
    case "reply_delta":
      return withThread(state, watched, (t) => thread.withReplyDelta(t, payload));
    case "reply_aborted":
      return withThread(state, watched, (t) => thread.withReplyAborted(t, payload));
    default:
      return state; // lists are read anew; the rest is of a later version
  }
}
