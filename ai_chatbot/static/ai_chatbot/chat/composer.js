/* The field to write in. Enter sends, Shift+Enter begins a line; while an input method composes
   (Chinese, Japanese…), Enter belongs to it. */

import { el, icon, icons, setText, show } from "./dom.js";
import { characters } from "./thread.js";

// From so many characters before the limit on, the rest is counted down.
const NEAR_LIMIT = 300;
let composers = 0;

export class Composer {
  constructor({ t, placeholder, limit = 4000, onSend }) {
    this.t = t;
    this.limit = limit;
    this.onSend = onSend;
    const id = `composer-${++composers}`;
    this.counter = el("span.composer-counter", {
      id: `${id}-counter`,
      hidden: true,
      "aria-live": "polite",
    });
    this.field = el("textarea.composer-field", {
      rows: 1,
      placeholder,
      "aria-label": placeholder,
      "aria-describedby": `${id}-counter`,
      title: t("Enter sends, Shift+Enter begins a new line"),
      oninput: () => this.#changed(),
      onkeydown: (event) => this.#key(event),
    });
    this.button = el(
      "button.composer-send",
      { type: "submit", disabled: true, "aria-label": t("Send"), title: t("Send") },
      icon(icons.send),
    );
    this.element = el(
      "form.composer",
      {
        onsubmit: (event) => {
          event.preventDefault();
          this.#send();
        },
      },
      this.field,
      this.button,
      this.counter,
    );
  }

  get text() {
    return this.field.value;
  }

  set text(text) {
    this.field.value = text;
    this.#changed();
  }

  set placeholder(text) {
    if (this.field.placeholder === text) return;
    this.field.placeholder = text;
    this.field.setAttribute("aria-label", text);
  }

  focus() {
    this.field.focus();
  }

  #key(event) {
    // 229: Safari ends a composition before it tells of the Enter that ended it.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) {
      return;
    }
    event.preventDefault();
    this.#send();
  }

  #send() {
    const content = this.text.trim();
    if (!this.#sendable(content)) return;
    this.text = "";
    this.onSend(content);
    this.focus();
  }

  #sendable(content) {
    return content !== "" && characters(content) <= this.limit;
  }

  #changed() {
    const content = this.text.trim();
    const left = this.limit - characters(content);
    this.button.disabled = !this.#sendable(content);
    show(this.counter, left <= NEAR_LIMIT);
    setText(
      this.counter,
      left < 0
        ? this.t.count(-left, "{n} character too many", "{n} characters too many")
        : this.t.count(left, "{n} character left", "{n} characters left"),
    );
    this.counter.classList.toggle("is-over", left < 0);
    this.field.setAttribute("aria-invalid", String(left < 0));
    this.field.style.height = "auto";
    this.field.style.height = `${this.field.scrollHeight}px`;
  }
}
