/* A thread as data: messages in order, the AI's answer that is being written, and one's own
   messages on their way. Pure functions, for the customer's chat and the agents' console.

   Whatever arrives twice (an event and the answer to a request, a replay after a reconnect)
   changes nothing the second time.
*/

/** How many messages the server gives with a session's state. */
const PAGE = 50;

export const emptyThread = {
  messages: [],
  // Whether there are messages above the first one.
  older: false,
  reply: null,
  // The reply_id of the last answer that was broken off.
  ended: null,
  // The AI owes an answer and has not begun it.
  awaited: false,
  // {client_id, content, state: "sending" | "delayed" | "failed", problem}
  outbox: [],
};

/**
 * The state read over HTTP. `fresh`: nothing that was known about the AI's answer counts any
 * more (the caller has dropped it), because no stream was open, or one has only just been.
 */
export function withState(thread, state, { own, fresh }) {
  const first = state.messages[0]?.id ?? 0;
  const known = thread.messages;
  // After a long absence there is a gap between what is known and the latest page.
  const joins = known.length > 0 && known[known.length - 1].id >= first;
  const kept = joins ? thread : { ...thread, messages: [] };
  const merged = merge(kept, state.messages, own);
  const reply = resumedReply(merged, state.reply);
  return {
    ...merged,
    older: joins ? thread.older : state.messages.length >= PAGE,
    reply,
    awaited: !reply && (fresh ? state.awaiting_reply : thread.awaited),
  };
}

/** Messages above the first one; `next` is null when there are no more. */
export function withOlder(thread, page, own) {
  return { ...merge(thread, page.items, own), older: page.next !== null };
}

/** A message, from the stream or as the answer to sending it. */
export function withMessage(thread, message, { own, aiAnswers }) {
  if (thread.messages.some(({ id }) => id === message.id)) return thread;
  const merged = merge(thread, [message], own);
  const ends = thread.reply && message.reply_id === thread.reply.id;
  return {
    ...merged,
    reply: ends ? null : thread.reply,
    awaited: message.role === "user" ? aiAnswers && !thread.reply : false,
  };
}

export function withReplyStarted(thread, { reply_id: id }) {
  const over = thread.messages.some((message) => message.reply_id === id);
  if (over || thread.ended === id || thread.reply?.id === id) return thread;
  return { ...thread, awaited: false, reply: { id, text: "", length: 0, ahead: [] } };
}

/**
 * A piece of the answer, which belongs at `offset` (in characters as Python counts them, code
 * points). One that comes too early, because an ephemeral event before it was lost or we
 * have only just come, waits in `ahead` until the state fills the gap (see gapIn).
 */
export function withReplyDelta(thread, { reply_id: id, text, offset }) {
  const { reply } = thread;
  if (reply?.id !== id || offset < reply.length) return thread;
  return { ...thread, reply: caughtUp({ ...reply, ahead: [...reply.ahead, { text, offset }] }) };
}

export function withReplyAborted(thread, { reply_id: id }) {
  const reply = thread.reply?.id === id ? null : thread.reply;
  return { ...thread, awaited: false, ended: id, reply };
}

/** Has a piece of the answer been missed? */
export const gapIn = (thread) => (thread.reply?.ahead.length ?? 0) > 0;

/** An answer that may not go on, since its session has changed hands. */
export const withoutReply = (thread) => ({ ...thread, reply: null, awaited: false });

export function withQueued(thread, { client_id, content }) {
  return change(thread, client_id, { client_id, content, state: "sending", problem: null });
}

/** `problem`: what it waits for; null: it waits no longer. */
export function withDelayed(thread, { client_id, problem }) {
  return progress(thread, client_id, { state: problem ? "delayed" : "sending", problem });
}

export function withUnsent(thread, { client_id, problem }) {
  return progress(thread, client_id, { state: "failed", problem });
}

export function withDiscarded(thread, { client_id }) {
  return { ...thread, outbox: thread.outbox.filter((item) => item.client_id !== client_id) };
}

/** What the customer thinks of an answer. */
export function withJudged(thread, { id, helpful }) {
  const messages = thread.messages.map((message) =>
    message.id === id ? { ...message, feedback: helpful } : message,
  );
  return { ...thread, messages };
}

export const characters = (text) => [...text].length;

/** One that has arrived by another way is left alone. */
function progress(thread, id, changes) {
  const item = thread.outbox.find((other) => other.client_id === id);
  return item ? change(thread, id, { ...item, ...changes }) : thread;
}

function change(thread, id, item) {
  const at = thread.outbox.findIndex((other) => other.client_id === id);
  return {
    ...thread,
    outbox: at < 0 ? [...thread.outbox, item] : thread.outbox.with(at, item),
  };
}

/** `own`: the role whose messages the outbox holds. */
function merge(thread, arrived, own) {
  const byId = new Map(thread.messages.map((message) => [message.id, message]));
  for (const message of arrived) byId.set(message.id, message);
  const sent = new Set(
    arrived.filter((message) => message.role === own).map((message) => message.client_id),
  );
  return {
    ...thread,
    messages: [...byId.values()].sort((a, b) => a.id - b.id),
    outbox: thread.outbox.filter((item) => !sent.has(item.client_id)),
  };
}

/** Where the stream has been faster than the state, the stream is right. */
function resumedReply({ reply, ended, messages }, given) {
  if (!given || (reply && reply.id !== given.reply_id)) return reply;
  const id = given.reply_id;
  if (ended === id || messages.some((message) => message.reply_id === id)) return reply;
  const length = characters(given.text);
  if (reply && length <= reply.length) return reply;
  return caughtUp({ id, text: given.text, length, ahead: reply?.ahead ?? [] });
}

function caughtUp({ id, text, length, ahead }) {
  const waiting = [...ahead].sort((a, b) => a.offset - b.offset);
  while (waiting.length && waiting[0].offset <= length) {
    const piece = waiting.shift();
    if (piece.offset < length) continue;
    text += piece.text;
    length += characters(piece.text);
  }
  return { id, text, length, ahead: waiting };
}
