/* The customer's chat on the page: in the widget's panel and on the page of its own. */

import { ThreadView } from "./bubbles.js";
import { Composer } from "./composer.js";
import { ContactCard } from "./contact.js";
import { el, icon, icons, setText, show } from "./dom.js";
import { aiAnswers } from "./reducer.js";

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

function linkText({ code }, t) {
  switch (code) {
    case "LINK_EXPIRED":
      return t("This link has expired.");
    case "SESSION_NOT_FOUND":
      return t("The conversation behind this link has been deleted.");
    default:
      return t("This link does not lead to a conversation.");
  }
}

function statusText({ status, agent, availability }, t) {
  switch (status) {
    case "pending_manual":
      return t("Waiting for a person");
    case "manual_live":
      return t("You are talking with {name}", { name: agent?.name });
    case "after_hours_email":
      return availability?.someone_on_duty
        ? t("Our team answers by email")
        : t("Our team is away");
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
    this.hours = el("p.banner-text", { role: "status", "data-testid": "after-hours" });
    this.instead = el(
      "button.small-button",
      { type: "button", onclick: () => this.#leave() },
      t("Talk to the AI instead"),
    );
    this.away = el("div.banner", { hidden: true }, this.hours, this.instead);

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
        judge: (id, helpful, comment) => conversation.judge(id, helpful, comment),
      },
    });
    this.contact = new ContactCard({
      t,
      email: conversation.visitor.email,
      onLeave: (contact) => conversation.leaveContact(contact),
      onResize: () => this.thread.keepEnd(),
      onDone: () => this.focus(),
    });
    this.thread.after.append(this.contact.element);
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
      onSend: (content) => {
        this.contact.makeRoom();
        conversation.send(content);
      },
    });
    this.anew = el(
      "button.wide-button",
      { type: "button", onclick: () => this.#startAnew() },
      t("Start a new conversation"),
    );
    this.goOn = el(
      "button.wide-button.quiet",
      { type: "button", hidden: true, onclick: () => this.#goOn() },
      t("Continue my last conversation here"),
    );
    this.linkRefused = el("p.chat-refused", { role: "alert", hidden: true });
    this.ended = el("div.chat-ended", { hidden: true }, this.linkRefused, this.anew, this.goOn);
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
    const buttons = [this.leave, this.instead, this.person, this.stop, this.anew, this.goOn];
    const focused =
      buttons.find((button) => button.matches(":focus")) ??
      this.contact.element.querySelector(":focus");
    const { status, session, thread, config, busy, refusedLink } = state;
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
    setText(this.hours, this.#hoursText(state.availability));
    this.instead.disabled = busy === "leave";

    this.thread.update(thread, {
      settled: state.phase !== "loading",
      head: () => {
        this.#greet(state);
        this.contact.update(state);
      },
    });

    const writing = thread.reply !== null || thread.awaited;
    const mayAsk = aiAnswers(state) && !refusedLink;
    show(this.bar, mayAsk);
    show(this.person, mayAsk);
    setText(
      this.person,
      status === "after_hours_email" ? t("Ask for a person again") : t("Talk to a person"),
    );
    this.person.disabled = busy === "escalate";
    show(this.stop, writing && mayAsk);

    show(this.composer.element, open && !refusedLink);
    this.composer.limit = config?.message_max_characters ?? this.composer.limit;
    show(this.ended, !open || refusedLink !== null);
    show(this.linkRefused, refusedLink !== null);
    setText(this.linkRefused, refusedLink ? linkText(refusedLink, t) : "");
    show(this.goOn, Boolean(refusedLink?.known));
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

  #hoursText(availability) {
    const { t } = this;
    if (availability?.someone_on_duty) return t("Our team will answer you by email.");
    const back = availability?.back_at ? t.back(availability.back_at) : "";
    return [t("Nobody is here right now."), back].filter(Boolean).join(" ");
  }

  #greet({ config, thread, refusedLink }) {
    show(this.greetingBubble, Boolean(config) && !thread.older);
    setText(this.greeting, config?.greeting ?? "");
    const untouched = thread.messages.length === 0 && thread.outbox.length === 0 && !refusedLink;
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

  async #escalate() {
    const again = this.conversation.state.status === "after_hours_email";
    this.composer.focus();
    await this.conversation.escalate();
    if (!again) return;
    this.thread.scrollToEnd();
    if (this.conversation.state.status === "after_hours_email") this.contact.ask();
  }

  #goOn() {
    this.conversation.goOn();
    queueMicrotask(() => this.focus());
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
