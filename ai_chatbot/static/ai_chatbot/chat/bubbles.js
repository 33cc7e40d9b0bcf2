/* A thread on the page: messages as bubbles, the answer being written, what is not sent yet.
   The customer's chat and the agents' console show the same thread with it. */

import { el, icon, icons, linked, outwards, reconcile, safeAddress, setText, show } from "./dom.js";
import { Judgement } from "./judgement.js";
import { characters } from "./thread.js";

// So near to its end a thread counts as being read there, and follows what comes.
const NEAR_PX = 80;

export class ThreadView {
  /**
   * own: the role on this side, whose bubbles are on the right ("user", or "agent").
   * names(item): who is the author; quiet(item): whose name is left to screen readers, else
   * one's own and the system's; origin: what relative source links belong to.
   * actions: {older, retry, discard(client_id)}; judge(id, helpful, comment) where answers may
   * be judged; remark(item), what else is said below one; and where notes are shown note(item),
   * the elements below one. refocus(): what had the focus in the thread is gone.
   */
  constructor({ t, own, names, quiet, origin, actions, label, refocus = () => {} }) {
    Object.assign(this, { t, own, names, origin, actions, refocus });
    this.quiet = quiet ?? (({ role }) => role === own || role === "system");
    this.older = el(
      "button.link-button.thread-older",
      { type: "button", onclick: actions.older },
      t("Show earlier messages"),
    );
    this.before = el("div.thread-before");
    this.list = el("ol.thread-list", { "data-testid": "messages" });
    this.after = el("div.thread-after");
    this.scroller = el(
      "div.thread",
      { role: "log", "aria-live": "off", "aria-label": label, tabIndex: 0 },
      this.older,
      this.before,
      this.list,
      this.after,
    );
    this.newest = el(
      "button.thread-newest",
      { type: "button", hidden: true, onclick: () => this.scrollToEnd() },
      icon(icons.down),
      t("New messages"),
    );
    this.element = el("div.thread-frame", {}, this.scroller, this.newest);
    this.lastId = null;
    this.unsent = 0;
    this.atEnd = true;
    this.scroller.addEventListener("scroll", () => {
      this.atEnd = this.#isNearEnd();
      if (this.atEnd) show(this.newest, false);
    });
    new ResizeObserver(() => this.atEnd && this.scrollToEnd()).observe(this.scroller);
  }

  /** Another conversation is shown from here on. */
  clear() {
    this.list.replaceChildren();
    this.lastId = null;
    this.unsent = 0;
    this.atEnd = true;
    show(this.newest, false);
    this.scroller.setAttribute("aria-live", "off");
  }

  /**
   * settled: false while a known thread is being read, whose messages are nothing new.
   * head: changes what stands before the messages. notes: what agents wrote to one another.
   */
  update(thread, { settled = true, head = () => {}, notes = [] } = {}) {
    const follow = this.atEnd;
    const focus = this.#focused();
    const height = this.scroller.scrollHeight;
    const top = this.scroller.scrollTop;
    const first = this.list.firstElementChild?.dataset.key;
    show(this.older, thread.older);
    head();
    reconcile(this.list, itemsOf(thread, this.own, notes), {
      key: (item) => item.key,
      make: () => this.#make(),
      update: (element, item) => this.#update(element, item),
    });
    if (focus) this.#keepFocus(focus);
    const written = thread.outbox.length > this.unsent;
    this.unsent = thread.outbox.length;
    const arrived = settled && this.#haveArrived(thread.messages);
    if (follow || written) this.scrollToEnd();
    else if (first !== this.list.firstElementChild?.dataset.key) {
      // Earlier messages came in above: what was read stays where it was.
      this.scroller.scrollTop = top + this.scroller.scrollHeight - height;
    } else if (arrived) show(this.newest, true);
  }

  scrollToEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.atEnd = true;
    show(this.newest, false);
  }

  /** The button in the list that has the focus, and its message. */
  #focused() {
    const button = this.list.getRootNode().activeElement?.closest("button");
    const message = button && this.list.contains(button) ? button.closest("li") : null;
    return message && { button, message, name: button.dataset.name };
  }

  /** A message that changes has new buttons: the one of the same name is meant. */
  #keepFocus({ button, message, name }) {
    if (button.isConnected) return;
    const same = message.isConnected && message.querySelector(`[data-name="${name}"]`);
    if (same) same.focus();
    else this.refocus();
  }

  /** Something in the thread is another size: whoever read its end still does. */
  keepEnd() {
    if (this.atEnd) this.scrollToEnd();
  }

  #isNearEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    return scrollHeight - scrollTop - clientHeight < NEAR_PX;
  }

  /** Have messages come, since the thread was first shown, that others wrote? */
  #haveArrived(messages) {
    const last = messages.at(-1)?.id ?? 0;
    const since = this.lastId;
    this.lastId = Math.max(last, since ?? 0);
    // From here on, what is added is read out; the thread as it was found is not.
    this.scroller.setAttribute("aria-live", "polite");
    return since !== null && messages.some((m) => m.id > since && m.role !== this.own);
  }

  #make() {
    const parts = {
      author: el("span.bubble-author"),
      text: el("div.bubble-text", { dir: "auto" }),
      sources: el("ul.bubble-sources", { hidden: true }),
      foot: el("div.bubble-foot", { "aria-live": "off" }),
    };
    const element = el("li.message", { "data-testid": "message" },
      el("div.bubble", {}, parts.author, parts.text, parts.sources), parts.foot);
    if (this.actions.judge) {
      parts.judgement = new Judgement({
        t: this.t,
        onJudge: this.actions.judge,
        onResize: () => this.keepEnd(),
      });
      element.append(parts.judgement.element);
    }
    element.parts = parts;
    return element;
  }

  #update(element, item) {
    if (element.item && same(element.item, item)) return;
    element.item = item;
    const { author, text, sources, foot } = element.parts;
    const { t } = this;
    const side = item.role === "system" ? "middle" : this.#isOurs(item) ? "right" : "left";
    element.className = `message message-${item.role} message-${side}`;
    element.classList.toggle("message-pending", ["sending", "delayed"].includes(item.state));
    element.classList.toggle("message-failed", item.state === "failed");
    element.dataset.testid = item.role === "note" ? "note" : "message";
    element.dataset.role = item.role;
    element.dataset.state = item.state;
    if (item.id) element.dataset.messageId = item.id;
    setText(author, this.names(item));
    author.classList.toggle("visually-hidden", this.quiet(item));
    if (item.state === "awaited") {
      text.replaceChildren(
        el("span.dots", { role: "img", "aria-label": t("is writing…") }, el("i"), el("i"), el("i")),
      );
    } else {
      setText(text, item.content);
      const parts = item.state === "stored" ? linked(item.content) : [];
      if (parts.some((part) => typeof part !== "string")) text.replaceChildren(...parts);
    }
    // An answer is read out once it is there, as a whole, and not piece by piece.
    if (item.state === "awaited" || item.state === "writing") {
      element.setAttribute("aria-live", "off");
    }
    text.classList.toggle("is-writing", item.state === "writing");
    this.#sources(sources, item.sources ?? []);
    foot.replaceChildren(...this.#foot(item));
    element.parts.judgement?.update(item);
  }

  /** On the agents' side, the AI stands on the right as well: both speak for the shop. */
  #isOurs({ role }) {
    return this.own === "user" ? role === "user" : role !== "user";
  }

  #sources(list, sources) {
    show(list, sources.length > 0);
    list.setAttribute("aria-label", this.t("Sources"));
    list.replaceChildren(
      ...sources.map(({ title, url, excerpt }) => {
        const href = url ? safeAddress(url, this.origin) : null;
        const link = href ? outwards(href, title) : el("span", {}, title);
        link.title = excerpt;
        return el("li", { "data-testid": "source" }, link);
      }),
    );
  }

  #foot(item) {
    const { t } = this;
    if (item.state === "sending") return [t("Sending…")];
    const button = (name, onclick, label) =>
      el("button.link-button", { type: "button", onclick, "data-name": name }, label);
    const discard = () =>
      button("discard", () => this.actions.discard(item.client_id), t("Discard"));
    if (item.state === "delayed") return [el("span", {}, delayOf(item.problem, t)), discard()];
    if (item.state === "failed") {
      return [
        el("span.foot-problem", {}, problemOf(item.problem, t)),
        item.problem === "SESSION_CLOSED"
          ? null
          : button("retry", this.actions.retry, t("Retry")),
        discard(),
      ].filter(Boolean);
    }
    if (item.state !== "stored") return [];
    if (item.role === "note") return this.actions.note(item);
    const time = el("time", { dateTime: item.created_at, title: t.dateTime(item.created_at) });
    time.textContent = t.time(item.created_at);
    const interrupted = item.status === "interrupted"
      ? el("span.foot-interrupted", { "data-testid": "interrupted" }, t("Interrupted"))
      : null;
    const remark = this.actions.remark?.(item);
    return [interrupted, remark, item.role === "system" ? null : time].filter(Boolean);
  }
}

function problemOf(code, t) {
  switch (code) {
    case "SESSION_CLOSED":
      return t("Not sent: the conversation is closed.");
    case "NOT_ASSIGNED":
      return t("Not sent: this conversation is not yours.");
    default:
      return t("Not sent.");
  }
}

const delayOf = (code, t) =>
  code === "TOO_MANY_REQUESTS"
    ? t("Too many messages at once: waiting…")
    : t("Waiting for the connection…");

/** Stored messages, then the answer being written, then one's own on their way. One's own keep
 * their bubble when they are stored; a finished answer gets a new one, which is read out. */
function itemsOf({ messages, reply, awaited, outbox }, own, notes) {
  const items = messages.map((message) => ({
    ...message,
    key: message.client_id ? sentKey(message) : message.id,
    state: "stored",
  }));
  for (const note of notes) {
    const after = items.findIndex((item) => item.created_at > note.created_at);
    const item = { ...note, role: "note", key: `note:${note.id}`, state: "stored" };
    items.splice(after < 0 ? items.length : after, 0, item);
  }
  if (reply) {
    const empty = characters(reply.text) === 0;
    items.push({
      key: "reply",
      role: "assistant",
      content: reply.text,
      state: empty ? "awaited" : "writing",
    });
  } else if (awaited) {
    items.push({ key: "reply", role: "assistant", content: "", state: "awaited" });
  }
  for (const item of outbox) {
    items.push({ ...item, key: sentKey({ ...item, role: own }), role: own });
  }
  return items;
}

const sentKey = ({ role, client_id: id }) => `${role}:${id}`;

function same(a, b) {
  return (
    a.state === b.state &&
    a.content === b.content &&
    a.id === b.id &&
    a.problem === b.problem &&
    a.status === b.status &&
    a.feedback === b.feedback &&
    a.edited_at === b.edited_at &&
    a.delivery === b.delivery
  );
}
