/* The left column: who waits, who is mine, and all conversations. */

import { el, icon, icons, reconcile, setText, show } from "../../ai_chatbot/chat/dom.js";
import { isUnread, watchable } from "./reducer.js";
import { customerName, placeReason, statuses, statusName, stopwatch } from "./words.js";

const TABS = ["queue", "mine", "email", "all"];
const TYPING_PAUSE_MS = 250;

export class Lists {
  constructor({ desk, t }) {
    this.desk = desk;
    this.t = t;
    const names = { queue: t("Queue"), mine: t("Mine"), email: t("By email"), all: t("All") };
    this.tabs = Object.fromEntries(
      TABS.map((tab) => [
        tab,
        el(
          "button.tab",
          {
            type: "button",
            role: "tab",
            id: `tab-${tab}`,
            "aria-controls": "conversations",
            onclick: () => desk.setTab(tab),
          },
          names[tab],
          el("span.tab-count", { hidden: true }),
        ),
      ]),
    );
    const tablist = el(
      "div.tabs",
      { role: "tablist", "aria-label": t("Conversations"), onkeydown: (e) => this.#arrow(e) },
      ...Object.values(this.tabs),
    );
    this.search = el("input.filter-search", {
      type: "search",
      placeholder: t("Search names, email, messages"),
      "aria-label": t("Search"),
      maxLength: 200,
      oninput: () => {
        clearTimeout(this.typing);
        this.typing = setTimeout(() => this.#filter(), TYPING_PAUSE_MS);
      },
    });
    this.status = el(
      "select.filter-status",
      { "aria-label": t("Status"), onchange: () => this.#filter() },
      el("option", { value: "" }, t("Any status")),
      ...statuses.map((status) => el("option", { value: status }, statusName(status, t))),
    );
    this.refresh = el(
      "button.icon-button",
      {
        type: "button",
        "aria-label": t("Refresh"),
        title: t("Refresh"),
        onclick: () => desk.refresh(),
      },
      icon(icons.refresh),
    );
    this.filter = el(
      "form.filter",
      { role: "search", onsubmit: (event) => event.preventDefault() },
      this.search,
      this.status,
      this.refresh,
    );
    this.list = el("ul.sessions", { "data-testid": "sessions" });
    this.empty = el("p.sessions-empty");
    this.more = el(
      "button.small-button.sessions-more",
      { type: "button", onclick: () => desk.readMore() },
      t("Show more"),
    );
    this.elements = [
      tablist,
      this.filter,
      el(
        "div.sessions-frame",
        { id: "conversations", role: "tabpanel" },
        this.list,
        this.empty,
        this.more,
      ),
    ];
    desk.store.subscribe((state) => this.#update(state));
    setInterval(() => this.#tick(), 1000);
  }

  #update(state) {
    const { lists, tab } = state;
    const { items, next, loaded } = lists[tab];
    for (const name of TABS) {
      const chosen = name === tab;
      this.tabs[name].setAttribute("aria-selected", String(chosen));
      this.tabs[name].tabIndex = chosen ? 0 : -1;
    }
    this.#count("queue", lists.queue.items.length, state.fresh.size > 0);
    this.#count(
      "mine",
      lists.mine.items.length,
      lists.mine.items.some((item) => isUnread(state, item)),
    );
    this.#count("email", lists.email.items.filter((item) => item.unanswered_since).length, false);
    show(this.filter, tab === "all");
    reconcile(this.list, items, {
      key: (item) => item.session_name,
      make: () => this.#make(),
      update: (element, item) => this.#fill(element, item, state),
    });
    show(this.empty, loaded && items.length === 0);
    setText(this.empty, this.#emptyText(state));
    show(this.more, tab === "all" && next !== null);
    this.skew = state.skew;
    this.#tick();
  }

  #emptyText({ tab, filter }) {
    const { t } = this;
    if (tab === "queue") return t("Nobody is waiting. New requests appear here by themselves.");
    if (tab === "mine") return t("You have no conversations. Take one over from the queue.");
    if (tab === "email") return t("Nobody is waiting for an answer by email.");
    return filter.q || filter.status ? t("Nothing matches.") : t("No conversations yet.");
  }

  #count(tab, number, news) {
    const count = this.tabs[tab].querySelector(".tab-count");
    show(count, number > 0);
    setText(count, String(number));
    count.classList.toggle("is-new", news);
  }

  #make() {
    const parts = {
      name: el("span.session-name"),
      dot: el("span.session-dot", { role: "img", "aria-label": this.t("New") }),
      time: el("time.session-time"),
      text: el("span.session-text"),
      status: el("span.chip"),
      marks: el("span.session-row.session-marks"),
    };
    const link = el(
      "a.session",
      {},
      el("span.session-row", {}, parts.dot, parts.name, parts.time),
      el("span.session-row", {}, parts.text, parts.status),
      parts.marks,
    );
    const element = el("li", {}, link);
    element.parts = { ...parts, link };
    return element;
  }

  #fill(element, item, state) {
    const { t } = this;
    const { link, name, dot, time, text, status, marks } = element.parts;
    const { session_name: session, last_message: last } = item;
    const waiting = item.status === "pending_manual";
    const fresh = waiting && state.fresh.has(session);
    link.href = `#${encodeURIComponent(session)}`;
    link.dataset.session = session;
    if (session === state.selected) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
    link.classList.toggle("is-fresh", fresh);
    setText(name, customerName(item, t));
    const mine = item.agent?.id === state.me.id;
    const unread = session !== state.selected && mine && isUnread(state, item);
    show(dot, fresh || unread);
    const since = waiting ? item.escalated_at : mine ? item.unanswered_since : null;
    element.since = since ? Date.parse(since) : null;
    time.dateTime = since ?? item.unanswered_since ?? last?.created_at ?? item.created_at;
    time.title = since ? t("Waiting since {time}", { time: t.time(since) }) : "";
    time.classList.toggle("is-waiting", mine && since !== null);
    if (!since) setText(time, this.#when(time.dateTime));
    setText(text, preview(item, state, t));
    show(status, state.tab === "all");
    status.dataset.status = item.status;
    setText(
      status,
      item.status === "manual_live" && item.agent
        ? mine ? t("Mine") : item.agent.name
        : statusName(item.status, t),
    );
    const shown = marksOf(item, t);
    show(marks, shown.length > 0);
    reconcile(marks, shown, {
      key: ({ name }) => name,
      make: () => el("span.mark"),
      update: (mark, { name, text: words }) => {
        mark.dataset.mark = name;
        setText(mark, words);
      },
    });
  }

  #when(stamp) {
    const today = new Date().toDateString() === new Date(stamp).toDateString();
    return today ? this.t.time(stamp) : this.t.day(stamp);
  }

  #tick() {
    const now = Date.now() + (this.skew ?? 0);
    for (const element of this.list.children) {
      if (element.since !== null) setText(element.parts.time, stopwatch(now - element.since));
    }
  }

  #filter() {
    clearTimeout(this.typing);
    this.desk.setFilter({ q: this.search.value.trim(), status: this.status.value });
  }

  #arrow(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = TABS.indexOf(this.desk.state.tab);
    const tab = TABS[(at + step + TABS.length) % TABS.length];
    this.desk.setTab(tab);
    this.tabs[tab].focus();
  }
}

/** Why it stands where it stands, and what else is to be known at a glance. */
function marksOf(item, t) {
  const marks = item.why.map((name) => ({ name, text: placeReason(name, t) }));
  if (item.vip && !item.why.includes("vip")) marks.push({ name: "vip", text: t("VIP") });
  if (item.status === "after_hours_email") {
    marks.push(
      item.unanswered_since
        ? { name: "unanswered", text: t("Not answered") }
        : { name: "answered", text: t("Answered") },
    );
  }
  if (item.customer_gone_at && ["pending_manual", "manual_live"].includes(item.status)) {
    marks.push({ name: "gone", text: t("Has left the page") });
  }
  return marks;
}

function preview(item, state, t) {
  const { status, reason, question, last_message: last } = item;
  if (!watchable(item, state)) {
    return t("{name} has this conversation.", { name: item.agent?.name });
  }
  // What the AI or we ourselves said last tells an agent nothing about who waits.
  const said = last?.role === "user" ? last.content : "";
  if (status === "pending_manual") {
    return reason || question || said || t("Asked for a person");
  }
  if (status === "after_hours_email" && last?.role === "assistant") {
    return question || reason || t("Asked for a person");
  }
  return last ? spoken(last, t) : t("No messages yet");
}

function spoken({ role, content }, t) {
  const who = { assistant: t("AI"), agent: t("Agent") }[role];
  return who ? `${who}: ${content}` : content;
}
