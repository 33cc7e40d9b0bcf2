/* The customer's whole conversation as data: (state, action) → state, and nothing else. */

import * as thread from "./thread.js";

const OWN = "user";

export const initialState = {
  // "none": no session yet; "loading": the stored one is being read; "ready".
  phase: "none",
  config: null,
  session: null,
  status: "bot_active",
  agent: null,
  queue: null,
  // {someone_on_duty, back_at}, as far as it is known.
  availability: null,
  // {email, note}, if the customer left them.
  contact: null,
  // Why a mail's link does not lead here, as a code, and whether there is a session without it.
  refusedLink: null,
  thread: thread.emptyThread,
  // Counts changes of status, queue and availability, so that an answer from before one is told from a newer.
  revision: 0,
  linkUp: true,
  // A request of the customer's that is under way: "escalate", "leave", "close", "stop", "contact".
  busy: null,
  // What went wrong last, as a code that the view has words for.
  problem: null,
};

export function reduce(state, action) {
  switch (action.type) {
    case "config":
      return { ...state, config: action.config };
    case "session":
      return {
        ...state,
        session: action.session,
        refusedLink: null,
        phase: action.known ? "loading" : "ready",
      };
    case "resuming":
      return { ...state, phase: "loading" };
    case "link_refused":
      return { ...state, phase: "none", refusedLink: { code: action.code, known: action.known } };
    case "judged":
      return { ...state, thread: thread.withJudged(state.thread, action) };
    case "forgotten":
      return {
        ...initialState,
        config: state.config,
        problem: action.problem ?? null,
        thread: { ...thread.emptyThread, outbox: action.keepOutbox ? state.thread.outbox : [] },
      };
    case "state":
      return withState(state, action);
    case "older":
      return { ...state, thread: thread.withOlder(state.thread, action.page, OWN) };
    case "event":
      return withEvent(state, action.event);
    case "queued":
      return { ...state, problem: null, thread: thread.withQueued(state.thread, action.item) };
    case "sent":
      return { ...state, thread: withMessage(state, action.message) };
    case "delayed":
      return { ...state, thread: thread.withDelayed(state.thread, action) };
    case "unsent":
      return { ...state, thread: thread.withUnsent(state.thread, action) };
    case "discarded":
      return { ...state, thread: thread.withDiscarded(state.thread, action) };
    case "busy":
      return { ...state, busy: action.what, problem: null };
    case "done":
      return { ...state, busy: null, problem: action.problem ?? null };
    case "problem":
      return { ...state, problem: action.problem };
    case "stopped":
      return { ...state, thread: { ...state.thread, awaited: false } };
    case "link":
      return { ...state, linkUp: action.up };
    default:
      throw new Error(`unknown action ${action.type}`);
  }
}

/** `asOf`: the revision when the state was asked for; undefined: no stream was open then. */
function withState(state, { state: read, asOf }) {
  const fresh = asOf === undefined;
  const known = fresh ? thread.withoutReply(state.thread) : state.thread;
  const merged = thread.withState(known, read, { fresh, own: OWN });
  // What the stream has said meanwhile about the status is newer.
  if (!fresh && asOf !== state.revision) {
    return { ...state, phase: "ready", contact: read.contact, thread: merged };
  }
  return {
    ...state,
    phase: "ready",
    status: read.status,
    agent: read.agent,
    queue: read.queue,
    availability: read.availability,
    contact: read.contact,
    thread: aiAnswers(read) ? merged : thread.withoutReply(merged),
  };
}

/** Also when nobody is here: who waits for a mail may ask on. */
export const aiAnswers = ({ status }) =>
  status === "bot_active" || status === "after_hours_email";

function withMessage(state, message) {
  return thread.withMessage(state.thread, message, {
    own: OWN,
    aiAnswers: aiAnswers(state),
  });
}

function withEvent(state, { type, payload }) {
  switch (type) {
    case "message":
      return { ...state, thread: withMessage(state, payload) };
    case "reply_started":
      return { ...state, thread: thread.withReplyStarted(state.thread, payload) };
    case "reply_delta":
      return { ...state, thread: thread.withReplyDelta(state.thread, payload) };
    case "reply_aborted":
      return { ...state, thread: thread.withReplyAborted(state.thread, payload) };
    case "status_change":
      return {
        ...state,
        revision: state.revision + 1,
        status: payload.status,
        agent: payload.agent,
        queue: payload.status === "pending_manual" ? state.queue : null,
        thread: thread.withoutReply(state.thread),
      };
    case "queue_position":
      if (state.status !== "pending_manual") return state;
      return { ...state, revision: state.revision + 1, queue: payload };
    case "availability":
      return { ...state, revision: state.revision + 1, availability: payload };
    default:
      return state; // an event of a later version
  }
}
