/* The dialogs in which a colleague is chosen: to hand a conversation to, to ask, to assign. */

import { el, reconcile, setText, show } from "../../ai_chatbot/chat/dom.js";
import { presenceName } from "./words.js";

const QUEUE = "queue";
const TEXT_CHARACTERS = 1000;
let dialogs = 0;

export class ColleagueDialog {
  /**
   * title, explanation, submit: words. text: {label, required}, or none is asked for.
   * queue: whether "back into the line" is a choice; full: whether those without room are one.
   * onChoose(agentId or null, text): resolves to whether it was done.
   */
  constructor({ t, title, explanation, submit, text, queue = false, full = false, onChoose }) {
    Object.assign(this, { t, queue, full, onChoose, required: text?.required ?? false });
    const id = `colleagues-${++dialogs}`;
    this.group = id;
    this.list = el("ul.colleagues");
    this.none = el("p.colleagues-none", { hidden: true });
    this.problem = el("p.sure-problem", { role: "alert", hidden: true });
    this.field = el("textarea", {
      rows: 3,
      maxLength: TEXT_CHARACTERS,
      required: this.required,
      "aria-label": text?.label ?? "",
      oninput: () => this.#changed(),
    });
    this.submit = el("button.small-button.primary", { type: "submit", disabled: true }, submit);
    this.form = el(
      "form",
      { onsubmit: (event) => this.#choose(event), onchange: () => this.#changed() },
      el("h2", { id }, title),
      el("p", {}, explanation),
      this.list,
      this.none,
      text ? el("label.sure-text", {}, text.label, this.field) : null,
      this.problem,
      el(
        "div.sure-buttons",
        {},
        el(
          "button.small-button",
          { type: "button", onclick: () => this.element.close() },
          t("Cancel"),
        ),
        this.submit,
      ),
    );
    this.element = el("dialog.sure", { "aria-labelledby": id }, this.form);
  }

  /** `agents`: a promise of them; null: they could not be read. */
  async open(agents) {
    this.form.reset();
    this.list.replaceChildren();
    show(this.problem, false);
    show(this.none, true);
    setText(this.none, this.t("Loading…"));
    this.#changed();
    this.element.showModal();
    const found = await agents;
    if (!this.element.open) return;
    this.#fill(found ?? []);
    setText(
      this.none,
      found ? this.t("No colleague is on duty.") : this.t("No connection. Please try again."),
    );
    show(this.none, !found?.length);
    this.#changed();
    this.form.querySelector("input:not(:disabled)")?.focus();
  }

  #fill(agents) {
    const { t } = this;
    const choices = agents.map((agent) => ({
      value: String(agent.id),
      name: agent.name,
      status: agent.status,
      about: aboutAgent(agent, t),
      disabled: !this.full && agent.sessions >= agent.max_sessions,
    }));
    if (this.queue) {
      choices.push({
        value: QUEUE,
        name: t("Back into the line"),
        about: t("first of its priority"),
      });
    }
    reconcile(this.list, choices, {
      key: ({ value }) => value,
      make: ({ value }) =>
        el(
          "li",
          {},
          el(
            "label.colleague",
            {},
            el("input", { type: "radio", name: this.group, value }),
            el("span.presence-dot"),
            el("span.colleague-name"),
            el("span.colleague-about"),
          ),
        ),
      update: (element, { name, status, about, disabled }) => {
        const [input, dot, label, rest] = element.firstChild.children;
        input.disabled = Boolean(disabled);
        dot.dataset.status = status ?? "";
        setText(label, name);
        setText(rest, about);
      },
    });
  }

  get #chosen() {
    return this.form.querySelector("input:checked")?.value ?? null;
  }

  #changed() {
    const missing = this.required && !this.field.value.trim();
    this.submit.disabled = this.#chosen === null || missing;
  }

  async #choose(event) {
    event.preventDefault();
    const chosen = this.#chosen;
    this.submit.disabled = true;
    const problem = await this.onChoose(
      chosen === QUEUE ? null : Number(chosen),
      this.field.value.trim(),
    );
    show(this.problem, Boolean(problem));
    if (problem) {
      setText(this.problem, problem);
      this.#changed();
    } else this.element.close();
  }
}

export function aboutAgent({ status, sessions, max_sessions: most }, t) {
  const load = t("{n} of {most}", { n: sessions, most });
  return `${presenceName(status, t)} · ${load}`;
}
