/* The open conversation: who it is, the thread, what an agent can do, the field to write in. */

import { ThreadView } from "../../ai_chatbot/chat/bubbles.js";
import { Composer } from "../../ai_chatbot/chat/composer.js";
import { el, icon, icons, reconcile, setText, show } from "../../ai_chatbot/chat/dom.js";
import { isMine, opened, watchable } from "./reducer.js";
import { customerName, statusName } from "./words.js";

// "Release" appears where "Take over" was: a double click must not do both.
const DOUBLE_CLICK_MS = 700;

function problemText({ code, name }, t) {
  switch (code) {
    case "ALREADY_TAKEN":
    case "NOT_ASSIGNED":
      return name
        ? t("{name} has this conversation.", { name })
        : t("This conversation is not yours any more.");
    case "NOT_LIVE":
      return t("No agent has this conversation any more.");
    case "SESSION_CLOSED":
      return t("The conversation is closed.");
    case "ILLEGAL_TRANSITION":
      return t("The conversation has changed meanwhile. Look at it again.");
    case "CSRF_FAILED":
      return t("Your login has changed in another tab. Please reload the page.");
    case "unreachable":
      return t("No connection. Please try again.");
    default:
      return t("That did not work. Please try again.");
  }
}

export class Pane {
  /** `site`: the origin that articles' relative addresses belong to; null: not served here. */
  constructor({ desk, t, site }) {
    this.desk = desk;
    this.t = t;
    this.selected = null;
    this.drafts = new Map();
    this.justTaken = false;

    this.back = el(
      "a.icon-button.pane-back",
      { href: "#", "aria-label": t("Back to the list") },
      icon(icons.back),
    );
    this.name = el("h2.pane-name", { tabIndex: -1 });
    this.status = el("span.chip", { role: "status", "data-testid": "session-status" });
    this.actions = Object.fromEntries(
      [
        ["takeover", t("Take over"), "small-button.primary"],
        ["release", t("Release to AI"), "small-button"],
        ["reopen", t("Reopen"), "small-button"],
        ["close", t("Close"), "small-button.danger"],
      ].map(([verb, label, kind]) => [
        verb,
        el(`button.${kind}`, { type: "button", onclick: () => this.#act(verb) }, label),
      ]),
    );
    this.problem = el("p.pane-problem", { role: "alert", hidden: true });
    this.facts = el("dl.facts");
    this.details = el(
      "details.pane-details",
      { open: matchMedia("(min-width: 1101px)").matches },
      el("summary", {}, t("Customer")),
      this.facts,
    );
    this.thread = new ThreadView({
      t,
      own: "agent",
      origin: site,
      label: t("Messages"),
      names: (item) => this.#author(item),
      actions: {
        older: () => desk.readOlder(),
        retry: () => desk.outbox.retry(),
        discard: (clientId) => desk.outbox.discard(clientId),
      },
    });
    this.composer = new Composer({
      t,
      placeholder: t("Write to the customer"),
      onSend: (content) => desk.send(content),
    });
    this.cannotWrite = el("p.pane-hint", { hidden: true });
    this.conversation = el(
      "div.pane-conversation",
      { hidden: true },
      el(
        "header.pane-head",
        {},
        this.back,
        el("div.pane-who", {}, this.name, this.status),
        el(
          "div.pane-actions",
          { role: "group", "aria-label": t("Actions") },
          ...Object.values(this.actions),
        ),
      ),
      this.problem,
      this.details,
      el("div.pane-thread", {}, this.thread.element, this.cannotWrite, this.composer.element),
    );
    this.nothing = el(
      "div.pane-nothing",
      {},
      icon(icons.chat),
      el("p", {}, t("Choose a conversation on the left.")),
    );
    this.missing = el(
      "div.pane-nothing",
      { hidden: true },
      el("p", {}, t("There is no such conversation.")),
      el("a.small-button", { href: "#" }, t("Back to the list")),
    );
    this.refusedText = el("p", { role: "alert" });
    this.refused = el(
      "div.pane-nothing",
      { hidden: true, "data-testid": "notice" },
      this.refusedText,
      el("p", {}, t("Only its agent and administrators can read it.")),
      el("a.small-button", { href: "#" }, t("Back to the list")),
    );
    this.sure = this.#dialog();
    this.elements = [this.conversation, this.nothing, this.missing, this.refused, this.sure];
    desk.store.subscribe((state) => this.#update(state));
  }

  #update(state) {
    const { t } = this;
    const conversation = opened(state);
    if (state.selected !== this.selected) this.#switch(state.selected);
    const missing = conversation?.phase === "missing";
    const refused = conversation?.phase === "refused";
    show(this.nothing, conversation === null);
    show(this.missing, missing);
    show(this.refused, refused);
    show(this.conversation, conversation !== null && !missing && !refused);
    if (refused) {
      // Nothing of it stays on the page, hidden or not.
      this.thread.clear();
      this.facts.replaceChildren();
      setText(this.name, "");
      setText(
        this.refusedText,
        t("{name} has this conversation.", { name: conversation.agent?.name }),
      );
    }
    if (!conversation || missing || refused) return;

    const { details, thread, phase } = conversation;
    show(this.problem, state.problem !== null);
    setText(this.problem, state.problem ? problemText(state.problem, t) : "");
    this.thread.update(thread, { settled: phase === "ready" });
    this.conversation.setAttribute("aria-busy", String(phase === "loading"));
    if (!details) {
      setText(this.name, "…");
      for (const button of Object.values(this.actions)) show(button, false);
      for (const part of [this.status, this.cannotWrite, this.composer.element]) {
        show(part, false);
      }
      return;
    }

    const { me } = state;
    const mine = isMine(details, me);
    const live = details.status === "manual_live";
    const closed = details.status === "closed";
    const acts = mine || me.role === "admin";
    setText(this.name, customerName(details, t));
    show(this.status, true);
    this.status.dataset.status = details.status;
    setText(this.status, this.#whose(details, mine));
    show(this.actions.takeover, !live && !closed);
    show(this.actions.release, live && acts);
    show(this.actions.close, !closed && (!live || acts));
    show(this.actions.reopen, closed);
    for (const [verb, button] of Object.entries(this.actions)) {
      button.disabled = state.busy === verb;
    }
    if (this.justTaken) this.actions.release.disabled = true;

    show(this.composer.element, mine);
    show(this.cannotWrite, !mine && watchable(details, me));
    setText(
      this.cannotWrite,
      closed
        ? t("This conversation is closed.")
        : live
          ? t("{name} has this conversation. You can read along.", { name: details.agent?.name })
          : t("Take the conversation over to write."),
    );
    this.#fill(details);
  }

  #whose({ status, agent }, mine) {
    if (mine) return this.t("With you");
    if (status === "manual_live") return this.t("With {name}", { name: agent?.name });
    return statusName(status, this.t);
  }

  /** Another conversation: what was being written in the former one waits there. */
  #switch(name) {
    if (this.selected) this.drafts.set(this.selected, this.composer.text);
    this.selected = name;
    this.thread.clear();
    this.composer.text = this.drafts.get(name) ?? "";
    // On a phone the list leaves the screen, and the focus with it.
    queueMicrotask(() => name && this.back.checkVisibility() && this.name.focus());
  }

  #author(item) {
    const { t } = this;
    const { state } = this.desk;
    switch (item.role) {
      case "user": {
        const details = opened(state)?.details;
        return details ? customerName(details, t) : t("Customer");
      }
      case "assistant":
        return t("AI");
      case "agent":
        return item.agent?.name ?? state.me.name;
      default:
        return "";
    }
  }

  #fill(details) {
    const { t } = this;
    const facts = [
      [t("Name"), details.nickname || t("not given")],
      [t("Email"), details.email || t("not given")],
      [t("Language"), languageName(details.language, t)],
      [t("Reason"), details.reason],
      [t("Asked for a person"), details.escalated_at && t.dateTime(details.escalated_at)],
      [t("Begun"), t.dateTime(details.created_at)],
      [t("Agent"), details.agent?.name],
    ].filter(([, value]) => value);
    reconcile(this.facts, facts, {
      key: ([name]) => name,
      make: ([name]) => el("div", {}, el("dt", {}, name), el("dd", { dir: "auto" })),
      update: (element, [, value]) => setText(element.lastChild, value),
    });
  }

  async #act(verb) {
    if (verb === "close") {
      this.sure.showModal();
      return;
    }
    const pressed = this.actions[verb];
    if (verb === "takeover") {
      this.justTaken = true;
      setTimeout(() => {
        this.justTaken = false;
        this.actions.release.disabled = false;
      }, DOUBLE_CLICK_MS);
    }
    await this.desk.act(verb);
    if (verb === "takeover" && !this.composer.element.hidden) {
      this.desk.setTab("mine");
      this.composer.focus();
    } else if (pressed.hidden) this.name.focus();
  }

  #dialog() {
    const { t } = this;
    const dialog = el(
      "dialog.sure",
      { "aria-labelledby": "sure-title" },
      el(
        "form",
        { method: "dialog" },
        el("h2", { id: "sure-title" }, t("Close this conversation?")),
        el("p", {}, t("The customer is told that it is closed. It can be reopened later.")),
        el(
          "div.sure-buttons",
          {},
          el("button.small-button", { value: "no" }, t("Cancel")),
          el("button.small-button.danger", { value: "yes" }, t("Close conversation")),
        ),
      ),
    );
    dialog.addEventListener("close", async () => {
      if (dialog.returnValue !== "yes") return;
      dialog.returnValue = "";
      await this.desk.act("close");
      this.name.focus();
    });
    return dialog;
  }
}

function languageName(code, t) {
  try {
    return new Intl.DisplayNames([t.htmlLanguage], { type: "language" }).of(code);
  } catch {
    return code;
  }
}
