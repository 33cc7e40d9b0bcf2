/* What waits for this agent: requests to take a conversation, questions of colleagues, and what
   has happened meanwhile. It stands between the bar and the lists, and covers nothing. */

import { el, icon, icons, reconcile, setText, show } from "../../ai_chatbot/chat/dom.js";
import { asked } from "./reducer.js";
import { customerName, newsText, noticeText, problemText, stopwatch } from "./words.js";

// As many notices are shown; what is behind them is a press away.
const NOTICES_SHOWN = 2;

export class Inbox {
  constructor({ desk, t }) {
    this.desk = desk;
    this.t = t;
    this.problem = el("p.inbox-problem", { role: "alert", hidden: true });
    this.requests = el("ul.inbox-list");
    this.notices = el("ul.inbox-list");
    this.more = el(
      "button.link-button",
      { type: "button", onclick: () => this.#showAll() },
    );
    this.readAll = el(
      "button.link-button",
      { type: "button", onclick: () => desk.readAllNotices() },
      t("Mark all as read"),
    );
    this.foot = el("div.inbox-foot", {}, this.more, this.readAll);
    this.element = el(
      "section.inbox",
      { "aria-label": t("For you"), "aria-live": "polite", hidden: true },
      this.problem,
      this.requests,
      this.notices,
      this.foot,
    );
    this.all = false;
    desk.store.subscribe((state) => this.#update(state));
    setInterval(() => this.#tick(), 1000);
  }

  #update(state) {
    const { t } = this;
    const { transfers, assists } = asked(state);
    const notices = [
      ...state.inbox.news.toReversed().map((each) => ({ ...each.payload, ...each, local: true })),
      ...state.inbox.notices,
    ];
    const requests = [
      ...transfers.map((request) => ({ ...request, kind: "transfers" })),
      ...assists.map((request) => ({ ...request, kind: "assists" })),
    ];
    if (notices.length <= NOTICES_SHOWN) this.all = false;
    const shown = this.all ? notices : notices.slice(0, NOTICES_SHOWN);
    const problem = state.problem?.what === "respond" ? state.problem : null;
    show(this.problem, problem !== null);
    setText(this.problem, problem ? problemText(problem, t) : "");
    show(this.element, requests.length + notices.length > 0 || problem !== null);
    reconcile(this.requests, requests, {
      key: ({ kind, id }) => `${kind} ${id}`,
      make: (request) => this.#makeRequest(request),
      update: (element, request) => this.#fillRequest(element, request),
    });
    reconcile(this.notices, shown, {
      key: ({ id }) => id,
      make: (notice) => this.#makeNotice(notice),
      update: (element, notice) => this.#fillNotice(element, notice, state),
    });
    const hidden = notices.length - shown.length;
    show(this.more, hidden > 0);
    setText(this.more, t.count(hidden, "{n} more", "{n} more"));
    show(this.readAll, notices.length > 1);
    show(this.foot, !this.more.hidden || !this.readAll.hidden);
    this.skew = state.skew;
    this.#tick();
  }

  #showAll() {
    this.all = true;
    this.#update(this.desk.state);
  }

  #makeRequest({ kind, id }) {
    const { t, desk } = this;
    const parts = {
      title: el("b", { id: `request-${kind}-${id}` }),
      text: el("span.inbox-text", { dir: "auto" }),
      time: el("span.inbox-time", { "aria-live": "off" }),
    };
    const button = (label, style, onclick) =>
      el(`button.small-button${style}`, { type: "button", onclick }, label);
    const open = el("a.small-button", {}, t("Look at it"));
    const answers =
      kind === "transfers"
        ? [
            button(t("Accept"), ".primary", () => desk.respond(id, true)),
            button(t("Decline"), "", () => desk.respond(id, false)),
          ]
        : [];
    const element = el(
      "li.inbox-item",
      {
        role: "group",
        "aria-labelledby": `request-${kind}-${id}`,
        "data-testid": kind === "transfers" ? "transfer-request" : "assist-request",
      },
      el("div.inbox-words", {}, parts.title, parts.text, parts.time),
      el("div.inbox-buttons", {}, ...answers, open),
    );
    element.parts = { ...parts, open, answers };
    return element;
  }

  #fillRequest(element, request) {
    const { t } = this;
    const { title, text, open, answers } = element.parts;
    const customer = this.#customer(request);
    const values = { name: request.from_agent?.name, customer };
    if (request.kind === "transfers") {
      setText(title, t("{name} asks you to take over {customer}", values));
      setText(text, request.note ?? "");
      element.until = Date.parse(request.expires_at);
    } else {
      setText(title, t("{name} asks you about {customer}", values));
      setText(text, request.question);
      element.until = null;
    }
    show(text, text.textContent !== "");
    show(open, request.session_name !== this.desk.state.selected);
    open.href = `#${encodeURIComponent(request.session_name)}`;
    for (const button of answers) button.disabled = this.desk.state.busy === "respond";
  }

  #makeNotice({ id, local }) {
    const { t, desk } = this;
    const read = () => (local ? desk.dismiss(id) : desk.readNotice(id));
    const parts = {
      open: el("a", { onclick: read }),
      time: el("time.inbox-time"),
    };
    const button = el(
      "button.icon-button",
      { type: "button", onclick: read, "aria-label": t("Mark as read"), title: t("Mark as read") },
      icon(icons.close),
    );
    const element = el(
      "li.inbox-item.inbox-notice",
      { "data-testid": "agent-notice" },
      el("div.inbox-words", {}, parts.open, parts.time),
      button,
    );
    element.parts = parts;
    return element;
  }

  #fillNotice(element, notice) {
    const { t } = this;
    const { time, open } = element.parts;
    element.dataset.kind = notice.kind;
    const words = notice.local ? newsText : noticeText;
    setText(open, words(notice, this.#customer(notice), t));
    show(time, !notice.local);
    open.href = `#${encodeURIComponent(notice.session_name)}`;
    if (notice.local) return;
    time.dateTime = notice.created_at;
    const today = new Date().toDateString() === new Date(notice.created_at).toDateString();
    setText(time, today ? t.time(notice.created_at) : t.dateTime(notice.created_at));
  }

  #customer({ session_name: name, nickname }) {
    return customerName({ nickname: nickname ?? this.#known(name), session_name: name }, this.t);
  }

  /** A request names the conversation; who that is may stand in a list. */
  #known(name) {
    const { conversations, lists } = this.desk.state;
    const listed = Object.values(lists)
      .flatMap(({ items }) => items)
      .find((item) => item.session_name === name);
    const { details, nickname } = conversations[name] ?? {};
    return listed?.nickname ?? details?.nickname ?? nickname ?? "";
  }

  #tick() {
    const now = Date.now() + (this.skew ?? 0);
    for (const element of this.requests.children) {
      const { until, parts } = element;
      show(parts.time, Boolean(until));
      if (!until) continue;
      setText(parts.time, this.t("{time} left", { time: stopwatch(until - now) }));
      if (until < now - 1000) this.desk.refreshInbox();
    }
  }
}
