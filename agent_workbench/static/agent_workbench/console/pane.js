/* The open conversation: who it is, the thread, what an agent can do, the field to write in. */

import { ThreadView } from "../../ai_chatbot/chat/bubbles.js";
import { Composer } from "../../ai_chatbot/chat/composer.js";
import { el, icon, icons, reconcile, setText, show } from "../../ai_chatbot/chat/dom.js";
import { ColleagueDialog } from "./colleagues.js";
import { closing } from "./menu.js";
import { HandoffCard } from "./record.js";
import { asked, isMine, opened, supervises, watchable } from "./reducer.js";
import {
  customerName,
  deliveryText,
  feedbackText,
  priorities,
  priorityName,
  problemText,
  statusName,
  stopwatch,
} from "./words.js";

// "Release" appears where "Take over" was: a double click must not do both.
const DOUBLE_CLICK_MS = 700;

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
        ["transfer", t("Hand on…"), "small-button"],
        ["reopen", t("Reopen"), "small-button"],
        ["close", t("Close"), "small-button.danger"],
      ].map(([verb, label, kind]) => [
        verb,
        el(`button.${kind}`, { type: "button", onclick: () => this.#act(verb) }, label),
      ]),
    );
    this.items = Object.fromEntries(
      [
        ["assist", t("Ask a colleague…")],
        ["assign", t("Assign to…")],
        ["requeue", t("Back into the line")],
      ].map(([verb, label]) => [
        verb,
        el("button.menu-item", { type: "button", onclick: () => this.#act(verb) }, label),
      ]),
    );
    this.priority = el(
      "select",
      { onchange: () => this.#prioritise() },
      ...priorities.map((code) => el("option", { value: code }, priorityName(code, t))),
    );
    this.menu = closing(
      el(
        "details.top-menu.pane-menu",
        {},
        el("summary", {}, t("More")),
        el(
          "div.top-menu-items",
          {},
          ...Object.values(this.items),
          (this.priorityLabel = el("label.menu-field", {}, t("Priority"), this.priority)),
        ),
      ),
    );
    this.problemText = el("span", { role: "alert" });
    this.force = el(
      "button.small-button.danger",
      { type: "button", onclick: () => this.#act("takeover", { force: true }) },
      t("Take over anyway"),
    );
    this.problem = el("p.pane-problem", { hidden: true }, this.problemText, this.force);
    this.pendingText = el("span", { role: "status" });
    this.pendingTime = el("span.inbox-time");
    this.pending = el(
      "p.pane-pending",
      { hidden: true, "data-testid": "transfer-pending" },
      this.pendingText,
      this.pendingTime,
      el("button.small-button", { type: "button", onclick: () => this.#cancel() }, t("Cancel")),
    );
    this.assists = el("ul.pane-assists", { hidden: true });
    this.record = new HandoffCard({ t, site });
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
      // Who of several speaks, and what is said to the customer only, must be plain.
      quiet: ({ role, agent }) => role === "agent" && (!agent || agent.id === desk.state.me.id),
      refocus: () => this.#focusWriting(),
      actions: {
        note: (item) => this.#noteFoot(item),
        remark: (item) => this.#remark(item),
        older: () => desk.readOlder(),
        retry: () => desk.outbox.retry(),
        discard: (clientId) => desk.outbox.discard(clientId),
      },
    });
    this.composer = new Composer({
      t,
      placeholder: t("Write to the customer"),
      onSend: (content) => this.#write(content),
    });
    this.kinds = Object.fromEntries(
      [
        ["reply", t("Reply")],
        ["note", t("Note")],
      ].map(([kind, label]) => [
        kind,
        el(
          "button.writing-kind",
          { type: "button", onclick: () => this.#setKind(kind), "data-kind": kind },
          label,
        ),
      ]),
    );
    this.writingHint = el("p.writing-hint", { "aria-live": "polite" });
    this.stopEditing = el(
      "button.link-button",
      { type: "button", onclick: () => this.#stopEditing() },
      t("Discard changes"),
    );
    this.writing = el(
      "div.writing",
      {},
      el(
        "div.writing-kinds",
        { role: "group", "aria-label": t("What you write") },
        ...Object.values(this.kinds),
      ),
      this.writingHint,
      this.stopEditing,
    );
    this.answer = this.#answerForm();
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
          this.menu,
        ),
      ),
      this.problem,
      this.pending,
      this.details,
      el(
        "div.pane-thread",
        {},
        this.record.element,
        this.assists,
        this.thread.element,
        this.cannotWrite,
        this.answer.element,
        this.writing,
        this.composer.element,
      ),
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
      el("p", {}, t("Only its agent and supervisors can read it.")),
      el("a.small-button", { href: "#" }, t("Back to the list")),
    );
    this.sure = this.#dialog();
    this.dialogs = this.#colleagueDialogs();
    this.elements = [
      this.conversation,
      this.nothing,
      this.missing,
      this.refused,
      this.sure,
      ...Object.values(this.dialogs).map(({ element }) => element),
    ];
    desk.store.subscribe((state) => this.#update(state));
    setInterval(() => this.#tick(), 1000);
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
      this.record.clear();
      this.facts.replaceChildren();
      setText(this.name, "");
      setText(
        this.refusedText,
        t("{name} has this conversation.", { name: conversation.agent?.name }),
      );
    }
    if (!conversation || missing || refused) return;

    const { details, thread, phase } = conversation;
    const problem = state.problem?.what === "respond" ? null : state.problem;
    show(this.problem, problem !== null);
    setText(this.problemText, problem ? problemText(problem, t) : "");
    show(this.force, problem?.code === "AT_CAPACITY" && supervises(state.me));
    this.thread.update(withDeliveries(thread, state.deliveries), {
      settled: phase === "ready",
      notes: details?.notes ?? [],
    });
    this.conversation.setAttribute("aria-busy", String(phase === "loading"));
    if (!details) {
      setText(this.name, "…");
      for (const button of Object.values(this.actions)) show(button, false);
      for (const part of [
        this.status,
        this.menu,
        this.pending,
        this.record.element,
        this.assists,
        this.cannotWrite,
        this.answer.element,
        this.writing,
        this.composer.element,
      ]) {
        show(part, false);
      }
      return;
    }

    const { me } = state;
    const mine = isMine(details, me);
    const live = details.status === "manual_live";
    const closed = details.status === "closed";
    const acts = mine || supervises(me);
    setText(this.name, customerName(details, t));
    show(this.status, true);
    this.status.dataset.status = details.status;
    setText(this.status, this.#whose(details, mine));
    show(this.actions.takeover, !closed && (!live || (!mine && acts)));
    setText(
      this.actions.takeover,
      live && !mine ? t("Take over from {name}", { name: details.agent?.name }) : t("Take over"),
    );
    show(this.actions.release, live && acts);
    show(this.actions.transfer, mine && details.transfer === null);
    show(this.actions.close, !closed && (!live || acts));
    show(this.actions.reopen, closed);
    show(this.menu, !closed && details.priority !== undefined);
    show(this.items.assist, mine && details.assists !== undefined);
    show(this.items.assign, supervises(me));
    show(this.items.requeue, live && acts);
    for (const [verb, button] of Object.entries({ ...this.actions, ...this.items })) {
      button.disabled = state.busy === verb;
    }
    if (this.justTaken) this.actions.release.disabled = true;
    if (this.priority !== document.activeElement) this.priority.value = details.priority;
    this.#pending(details);
    this.#asked(details, mine);
    this.record.update(details);
    this.#writing(state, details, { mine, live, closed });
    this.#fill(details);
  }

  /** What can be written here, and by whom. */
  #writing(state, details, { mine, live, closed }) {
    const { t } = this;
    const byEmail = details.status === "after_hours_email";
    const { note, editing } = writingIn(state);
    const assist = asked(state).assists.find(
      (each) => each.session_name === state.selected,
    );
    const replies = mine || byEmail;
    show(this.answer.element, Boolean(assist) && !mine);
    if (assist) {
      setText(
        this.answer.question,
        t("{name} asks: {question}", {
          name: assist.from_agent?.name,
          question: assist.question,
        }),
      );
    }
    this.assist = assist ?? null;
    show(this.cannotWrite, !replies && watchable(details, state));
    setText(
      this.cannotWrite,
      closed
        ? t("This conversation is closed.")
        : live
          ? t("{name} has this conversation. You can read along.", { name: details.agent?.name })
          : t("Take the conversation over to write."),
    );
    show(this.writing, details.notes !== undefined || byEmail);
    show(this.kinds.note, details.notes !== undefined);
    setText(this.kinds.note, replies ? t("Note") : t("Write a note"));
    show(this.composer.element, replies || note);
    for (const [kind, button] of Object.entries(this.kinds)) {
      button.setAttribute("aria-pressed", String((kind === "note") === note));
    }
    show(this.kinds.reply, replies);
    show(this.stopEditing, Boolean(editing));
    this.composer.element.classList.toggle("is-note", note);
    this.composer.placeholder = note
      ? t("Write a note for agents")
      : t("Write to the customer");
    setText(
      this.writingHint,
      editing
        ? t("You are editing a note.")
        : note
          ? t("Only agents see this.")
          : replies ? destinationText(details, customerIsGone(state, byEmail), t) : "",
    );
  }

  /** Who is asked sees the request itself, at the top. */
  #pending({ transfer }) {
    const { t } = this;
    const shown = Boolean(transfer) && transfer.to_agent.id !== this.desk.state.me.id;
    show(this.pending, shown);
    this.pending.until = shown ? Date.parse(transfer.expires_at) : null;
    if (!shown) return;
    this.pending.request = transfer.id;
    setText(
      this.pendingText,
      t("{name} is asked to take over. Until then it stays with {from}.", {
        name: transfer.to_agent?.name,
        from: transfer.from_agent?.name,
      }),
    );
    this.#tick();
  }

  /** Whose answers the owner waits for. */
  #asked({ assists = [] }, mine) {
    const { t, desk } = this;
    show(this.assists, mine && assists.length > 0);
    reconcile(this.assists, assists, {
      key: ({ id }) => id,
      make: ({ id }) =>
        el(
          "li",
          {},
          el("span", { dir: "auto" }),
          el(
            "button.link-button",
            { type: "button", onclick: () => desk.closeAssist(id) },
            t("Never mind"),
          ),
        ),
      update: ({ firstChild, lastChild }, { from_agent: from, to_agent: { name }, question }) => {
        setText(firstChild, t("{name} is asked: {question}", { name, question }));
        // Asked by the agent before, who alone can take it back.
        show(lastChild, from.id === desk.state.me.id);
      },
    });
  }

  #tick() {
    const { until } = this.pending;
    if (!until) return;
    const now = Date.now() + this.desk.state.skew;
    setText(this.pendingTime, this.t("{time} left", { time: stopwatch(until - now) }));
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
    this.menu.open = false;
    this.answer.composer.text = "";
    this.composer.text = this.drafts.get(name) ?? "";
    // On a phone the list leaves the screen, and the focus with it.
    queueMicrotask(() => name && this.back.checkVisibility() && this.name.focus());
  }

  #setKind(kind) {
    const { note } = writingIn(this.desk.state);
    // Where there is nothing else to write, the button opens and closes.
    const closes = kind === "note" && note && this.kinds.reply.hidden;
    this.desk.setWriting({ note: kind === "note" && !closes });
    queueMicrotask(() => !closes && this.composer.focus());
  }

  #focusWriting() {
    if (this.composer.element.hidden) this.name.focus();
    else this.composer.focus();
  }

  async #write(content) {
    const { state } = this.desk;
    const { note, editing } = writingIn(state);
    if (!note) {
      this.desk.send(content);
      return;
    }
    const problem = await this.desk.saveNote(content, editing);
    if (problem) this.composer.text = this.composer.text || content;
    else if (editing) this.desk.setWriting({ note: true });
  }

  #edit(item) {
    this.desk.setWriting({ note: true, editing: item.id });
    this.composer.text = item.content;
    queueMicrotask(() => this.composer.focus());
  }

  #stopEditing() {
    this.desk.setWriting({ note: true });
    this.composer.text = "";
    this.composer.focus();
  }

  /** What became of a message. That of a live one appears on the customer's page goes without
   * saying. */
  #remark({ delivery, feedback }) {
    const { t } = this;
    if (typeof feedback === "boolean") return feedbackText(feedback, t);
    const details = opened(this.desk.state)?.details;
    if (!delivery || (delivery === "live" && details?.status === "manual_live")) return null;
    return deliveryText(delivery, addressOf(details), t);
  }

  /** When it was written, and what its author can do with it. */
  #noteFoot(note) {
    const { t, desk } = this;
    const parts = [el("time", { dateTime: note.created_at }, t.time(note.created_at))];
    if (note.edited_at) parts.push(el("span", {}, t("edited")));
    if (note.author?.id !== desk.state.me.id) return parts;
    const button = (name, label, onclick) =>
      el("button.link-button", { type: "button", "data-name": name, onclick }, label);
    return [
      ...parts,
      button("edit", t("Edit"), () => this.#edit(note)),
      button("delete", t("Delete"), () => desk.deleteNote(note.id)),
    ];
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
      case "note":
        return t("Note by {name}, only for agents", { name: item.author?.name });
      default:
        return t("To the customer:");
    }
  }

  #fill(details) {
    const { t } = this;
    const facts = [
      [t("Name"), details.nickname || t("not given")],
      [t("Email"), details.contact?.email || details.email || t("not given")],
      [t("The customer's note"), details.contact?.note],
      [t("Language"), languageName(details.language, t)],
      [t("Reason"), details.handoff ? "" : details.reason],
      [t("Asked for a person"), details.escalated_at && t.dateTime(details.escalated_at)],
      [t("Begun"), t.dateTime(details.created_at)],
      [t("Agent"), details.agent?.name],
      [t("Previous agent"), details.former_agent?.name],
      [t("Needs an agent with"), details.skills?.join(", ")],
    ].filter(([, value]) => value);
    reconcile(this.facts, facts, {
      key: ([name]) => name,
      make: ([name]) => el("div", {}, el("dt", {}, name), el("dd", { dir: "auto" })),
      update: (element, [, value]) => setText(element.lastChild, value),
    });
  }

  async #act(verb, body) {
    const { desk } = this;
    this.menu.open = false;
    if (verb === "close") {
      this.sure.showModal();
      return;
    }
    if (verb in this.dialogs) {
      this.dialogs[verb].open(desk.colleagues());
      return;
    }
    const pressed = this.actions[verb] ?? this.items[verb];
    if (verb === "takeover") {
      this.justTaken = true;
      setTimeout(() => {
        this.justTaken = false;
        this.actions.release.disabled = false;
      }, DOUBLE_CLICK_MS);
      const { status } = opened(desk.state).details;
      if (status === "manual_live") body = { force: true };
    }
    await desk.act(verb, body);
    if (verb === "takeover" && isMine(opened(desk.state)?.details, desk.state.me)) {
      // What had been begun as a note does not become a message by itself.
      if (!this.composer.text) desk.setWriting({ note: false });
      desk.setTab("mine");
      queueMicrotask(() => this.composer.focus());
    } else if (!pressed.checkVisibility()) this.name.focus();
  }

  async #cancel() {
    await this.desk.cancelTransfer(this.pending.request);
    this.#focusWriting();
  }

  #prioritise() {
    this.menu.open = false;
    this.menu.querySelector("summary").focus();
    return this.desk.setPriority(this.priority.value);
  }

  #colleagueDialogs() {
    const { t, desk } = this;
    const told = (problem) => problem && problemText(problem, t);
    return {
      transfer: new ColleagueDialog({
        t,
        title: t("Hand this conversation on"),
        explanation: t("It stays with you until your colleague accepts."),
        submit: t("Hand on"),
        text: { label: t("Note for your colleague"), required: false },
        queue: true,
        onChoose: async (to, note) => told(await desk.transfer(to, note)),
      }),
      assist: new ColleagueDialog({
        t,
        title: t("Ask a colleague"),
        explanation: t("Your colleague can read along and answers in a note. It stays with you."),
        submit: t("Ask"),
        text: { label: t("Your question"), required: true },
        full: true,
        onChoose: async (to, question) => told(await desk.ask(to, question)),
      }),
      assign: new ColleagueDialog({
        t,
        title: t("Assign this conversation"),
        explanation: t("It is your colleague's at once."),
        submit: t("Assign"),
        onChoose: async (to) => told(await desk.act("assign", { agent_id: to })),
      }),
    };
  }

  /** Where a colleague's question is answered. */
  #answerForm() {
    const { t, desk } = this;
    const question = el("p.writing-hint", { dir: "auto" });
    const composer = new Composer({
      t,
      placeholder: t("Answer your colleague"),
      onSend: async (content) => {
        const problem = await desk.answer(this.assist.id, content);
        if (problem) composer.text = content;
        else this.name.focus();
      },
    });
    const element = el(
      "div.assist-answer",
      { hidden: true, "data-testid": "assist-answer" },
      question,
      composer.element,
    );
    return { element, question, composer };
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

/** What is being written in the open conversation. */
function writingIn(state) {
  const { note = false, editing = null } = state.writing[state.selected] ?? {};
  return { note, editing: note ? editing : null };
}

const addressOf = (details) => details?.contact?.email || details?.email || "";

/** As far as it is known here: null where it is not. */
function customerIsGone(state, byEmail) {
  if (byEmail) return null;
  const item = state.lists.mine.items.find((each) => each.session_name === state.selected);
  return Boolean(item?.customer_gone_at);
}

/** Where a reply goes, if that is not the customer's page. */
function destinationText(details, gone, t) {
  if (gone === false) return "";
  const address = addressOf(details);
  if (!address) {
    return gone
      ? t("The customer has left the page, and no address.")
      : t("No address was left: your reply is seen when the customer comes back.");
  }
  return gone
    ? t("The customer has left the page. Your reply goes to {address}.", { address })
    : t("If the customer's page is not open, your reply goes to {address}.", { address });
}

function withDeliveries(thread, deliveries) {
  const messages = thread.messages.map((message) =>
    message.id in deliveries ? { ...message, delivery: deliveries[message.id] } : message,
  );
  return { ...thread, messages };
}

function languageName(code, t) {
  try {
    return new Intl.DisplayNames([t.htmlLanguage], { type: "language" }).of(code);
  } catch {
    return code;
  }
}
