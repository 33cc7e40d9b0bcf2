/* Whether an answer of the AI helped: two buttons under it and, after a no, room for a word. */

import { el, icon, icons, setText, show } from "./dom.js";

const COMMENT_CHARACTERS = 1000;
let fields = 0;

export class Judgement {
  /** onJudge(id, helpful, comment): resolves to whether it was stored; onResize(). */
  constructor({ t, onJudge, onResize }) {
    Object.assign(this, { t, onJudge, onResize });
    this.id = null;
    const button = (name, helpful, label) =>
      el(
        "button.thumb",
        {
          type: "button",
          title: label,
          "aria-label": label,
          "data-name": name,
          onclick: () => this.#press(helpful),
        },
        icon(icons.thumb),
      );
    this.up = button("up", true, t("This helped"));
    this.down = button("down", false, t("This did not help"));
    this.down.classList.add("thumb-down");
    const id = `judgement-${++fields}`;
    this.comment = el("input.field", { id, type: "text", maxLength: COMMENT_CHARACTERS });
    this.form = el(
      "form.judgement-form",
      {
        hidden: true,
        onsubmit: (event) => {
          event.preventDefault();
          this.#say();
        },
      },
      el("label", { for: id }, t("What was missing? (optional)")),
      this.comment,
      el("button.small-button", { type: "submit", "data-name": "say" }, t("Send")),
    );
    this.thanks = el("span.judgement-thanks", { role: "status" });
    this.element = el(
      "div.judgement",
      { role: "group", "aria-label": t("Did this answer help?"), "aria-live": "off", hidden: true },
      this.up,
      this.down,
      this.thanks,
      this.form,
    );
  }

  update({ role, state, status, id, feedback }) {
    show(this.element, role === "assistant" && state === "stored" && status === "complete");
    this.id = id;
    this.up.setAttribute("aria-pressed", String(feedback === true));
    this.down.setAttribute("aria-pressed", String(feedback === false));
  }

  async #press(helpful) {
    // The field is the next thing to be reached; on a phone its keyboard would cover the answer.
    this.#open(!helpful);
    const stored = await this.onJudge(this.id, helpful);
    if (!stored) this.#open(false);
    setText(this.thanks, stored && helpful ? this.t("Thank you.") : "");
  }

  async #say() {
    const comment = this.comment.value.trim();
    if (comment && !(await this.onJudge(this.id, false, comment))) return;
    this.#open(false);
    setText(this.thanks, this.t("Thank you."));
    this.down.focus();
  }

  #open(open) {
    if (this.form.hidden !== open) return;
    show(this.form, open);
    if (open) this.comment.value = "";
    this.onResize();
  }
}
