/* The customer's chat on the page: in the widget's panel and on the page of its own. */

import { ThreadView } from "./bubbles.js";
import { Composer } from "./composer.js";
import { el, icon, icons, setText, show } from "./dom.js";

/** Problems a person can do nothing about but try again have no words of their own. */
function problemText(code, t) {
  switch (code) {
    case "session_lost":
      return t("Your earlier conversation is no longer available. Write to begin a new one.");
    case "unreachable":
      return t("No connection. Please try again.");
    case "MANUAL_IN_PROGRESS":
      return t("You are in line already.");
    case "NOT_PENDING":
      return t("You are not in line any more.");
    case "SESSION_CLOSED":
      return t("This conversation is closed.");
    case "TOO_MANY_REQUESTS":
      return t("That was a little fast. Please wait a moment.");
    default:
      return t("That did not work. Please try again.");
  }
}

function statusText({ status, agent }, t) {
  switch (status) {
    case "pending_manual":
      return t("Waiting for a person");
    case "manual_live":
      return t("You are talking with {name}", { name: agent?.name });
    case "after_hours_email":
      return t("Our team is away");
    case "closed":
      return t("Conversation ended");
    default:
      return t("AI assistant");
  }
}

export class ChatView {
  /** `onHide`: given in the widget, whose panel can be hidden. */
  constructor({ conversation, t, origin, onHide = null }) {
    this.conversation = conversation;
    this.t = t;
    this.session = null;
    this.confirming = false;

    this.title = el("h2.chat-title", {}, t("Chat with us"));
    this.status = el("p.chat-status", { role: "status", "data-testid": "status" });
    this.end = el(
      "button.chat-end",
      { type: "button", onclick: () => this.#confirm(true) },
      t("End chat"),
    );
    this.hide = onHide && el(
      "button.icon-button",
      { type: "button", onclick: onHide, "aria-label": t("Close the chat window") },
      icon(icons.close),
    );
    this.link = el(
      "p.chat-link",
      { role: "status", hidden: true, "data-testid": "link" },
      t("Reconnecting…"),
    );
    this.problem = el("p.chat-problem", { role: "alert", hidden: true });

    this.place = el("p.banner-text", { role: "status", "data-testid": "queue" });
    this.leave = el(
      "button.small-button",
      { type: "button", onclick: () => this.#leave() },
      t("Leave the line"),
    );
    this.queue = el("div.banner", { hidden: true }, this.place, this.leave);
    this.away = el(
      "div.banner",
      { hidden: true, "data-testid": "after-hours" },
      el(
        "p.banner-text",
        {},
        t("Nobody is here right now. Our team will answer you by email."),
      ),
    );

    this.starters = el("div.starters", { role: "group", "aria-label": t("Suggested questions") });
    this.greeting = el("div.bubble-text");
    this.thread = new ThreadView({
      t,
      own: "user",
      origin,
      label: t("Messages"),
      refocus: () => this.composer.focus(),
      names: (item) =>
        ({ user: t("You"), assistant: t("AI"), agent: item.agent?.name })[item.role] ?? "",
      actions: {
        older: () => conversation.readOlder(),
        retry: () => conversation.outbox.retry(),
        discard: (clientId) => conversation.outbox.discard(clientId),
      },
    });
    this.greetingBubble = el(
      "div.message.message-assistant.message-left",
      { hidden: true, "data-testid": "greeting" },
      el("div.bubble", {}, el("span.bubble-author", {}, t("AI")), this.greeting),
    );
    this.thread.before.append(this.greetingBubble, this.starters);

    this.person = el(
      "button.small-button",
      { type: "button", onclick: () => this.#escalate() },
      t("Talk to a person"),
    );
    this.stop = el(
      "button.small-button",
      { type: "button", hidden: true, onclick: () => this.#stop() },
      t("Stop"),
    );
    this.bar = el("div.chat-bar", {}, this.person, this.stop);
    this.composer = new Composer({
      t,
      placeholder: t("Write a message"),
      onSend: (content) => conversation.send(content),
    });
    this.anew = el(
      "button.wide-button",
      { type: "button", onclick: () => this.#startAnew() },
      t("Start a new conversation"),
    );
    this.ended = el("div.chat-ended", { hidden: true }, this.anew);
    this.sure = el(
      "button.small-button.danger",
      { type: "button", onclick: () => this.#close() },
      t("End chat"),
    );
    this.confirmation = el(
      "div.chat-confirm",
      { role: "alertdialog", "aria-label": t("End this conversation?"), hidden: true },
      el("p", {}, t("End this conversation?")),
      this.sure,
      el(
        "button.small-button",
        { type: "button", onclick: () => this.#confirm(false) },
        t("Continue"),
      ),
    );

    this.element = el(
      "section.chat",
      { lang: t.htmlLanguage, "aria-label": t("Chat with us"), "data-testid": "chat" },
      el(
        "header.chat-head",
        {},
        el("div.chat-names", {}, this.title, this.status),
        this.end,
        this.hide,
      ),
      this.link,
      this.queue,
      this.away,
      this.thread.element,
      this.problem,
      this.confirmation,
      this.bar,
      this.composer.element,
      this.ended,
    );
    this.element.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.confirming) return;
      event.stopPropagation();
      this.#confirm(false);
    });
    conversation.store.subscribe((state) => this.#update(state));
  }

  focus() {
    (this.composer.element.hidden ? this.anew : this.composer).focus();
  }

  #update(state) {
    const { t } = this;
    const buttons = [this.leave, this.person, this.stop, this.anew];
    const focused = buttons.find((button) => button.matches(":focus"));
    const { status, session, thread, config, busy } = state;
    if (session?.name !== this.session) {
      this.session = session?.name;
      // Its messages are shown already when the session has only now been begun.
      if (state.phase !== "ready") this.thread.clear();
      this.#confirm(false);
    }
    setText(this.status, statusText(state, t));
    this.element.dataset.status = status;
    const open = status !== "closed";
    const begun = session !== null;
    show(this.end, begun && open);
    show(this.link, !state.linkUp);
    show(this.problem, state.problem !== null);
    setText(this.problem, state.problem ? problemText(state.problem, t) : "");

    show(this.queue, status === "pending_manual");
    setText(this.place, this.#placeText(state.queue));
    this.leave.disabled = busy === "leave";
    show(this.away, status === "after_hours_email");

    this.thread.update(thread, {
      settled: state.phase !== "loading",
      head: () => this.#greet(config, thread),
    });

    const writing = thread.reply !== null || thread.awaited;
    const mayAsk = status === "bot_active" || status === "after_hours_email";
    show(this.bar, mayAsk);
    show(this.person, mayAsk);
    setText(
      this.person,
      status === "after_hours_email" ? t("Ask for a person again") : t("Talk to a person"),
    );
    this.person.disabled = busy === "escalate";
    show(this.stop, writing && status === "bot_active");

    show(this.composer.element, open);
    this.composer.limit = config?.message_max_characters ?? this.composer.limit;
    show(this.ended, !open);
    this.sure.disabled = busy === "close";
    if (!open && this.confirming) {
      this.#confirm(false);
      this.anew.focus();
    }
    if (focused && !focused.checkVisibility()) this.focus();
  }

  #placeText(queue) {
    const { t } = this;
    if (!queue) return t("You are in line. Someone from our team will be with you soon.");
    const place = queue.position === 1
      ? t("You are next in line.")
      : t("You are number {n} in line.", { n: queue.position });
    const { estimated_wait_seconds: least, estimated_wait_max_seconds: most } = queue;
    if (least === null) return place;
    return `${place} ${t("Estimated wait: {time}.", { time: t.range(least, most) })}`;
  }

  #greet(config, thread) {
    show(this.greetingBubble, Boolean(config) && !thread.older);
    setText(this.greeting, config?.greeting ?? "");
    const untouched = thread.messages.length === 0 && thread.outbox.length === 0;
    const questions = untouched && this.session === undefined ? config?.starter_questions : [];
    show(this.starters, Boolean(questions?.length));
    if (this.starters.childElementCount === (questions?.length ?? 0)) return;
    this.starters.replaceChildren(
      ...(questions ?? []).map((question) =>
        el(
          "button.starter",
          {
            type: "button",
            onclick: () => {
              this.conversation.send(question);
              this.composer.focus();
            },
          },
          question,
        ),
      ),
    );
  }

  #escalate() {
    this.conversation.escalate();
    this.composer.focus();
  }

  #leave() {
    this.conversation.leaveLine();
    this.composer.focus();
  }

  #stop() {
    this.conversation.stopReply();
    this.composer.focus();
  }

  async #close() {
    await this.conversation.close();
    this.#confirm(false);
  }

  #startAnew() {
    this.conversation.startAnew();
    // The field is there once the new state is shown.
    queueMicrotask(() => this.composer.focus());
  }

  #confirm(asking) {
    if (asking === this.confirming) return;
    this.confirming = asking;
    show(this.confirmation, asking);
    if (asking) this.sure.focus();
    else if (!this.end.hidden) this.end.focus();
  }
}
