/* The widget: a button in the page's corner and the chat in a panel, in a shadow root, so that
   the shop's styles and ours do not meet. Loaded by widget.js. */

import { Conversation } from "./conversation.js";
import { el, icon, icons, setText, show } from "./dom.js";
import { pickLanguage, translator } from "./strings.js";
import { ChatView } from "./view.js";

// As in chat.css: so narrow a page is covered by the panel.
const NARROW = "(max-width: 480px)";

class Launcher {
  constructor({ origin, language, nickname, email, vip }) {
    const t = translator(
      pickLanguage(language, document.documentElement.lang, navigator.languages),
    );
    this.t = t;
    this.conversation = new Conversation({
      origin,
      visitor: { language: t.language, nickname, email, vip },
    });
    this.memory = this.conversation.memory;
    this.view = new ChatView({
      conversation: this.conversation,
      t,
      origin,
      onHide: () => this.hide(),
    });
    this.count = el("span.launcher-count", { hidden: true, "data-testid": "unread" });
    this.button = el(
      "button.launcher",
      { type: "button", "aria-expanded": "false", onclick: () => this.toggle() },
      icon(icons.chat),
      el("span.launcher-label", {}, t("Chat")),
      this.count,
    );
    this.panel = el(
      "div.panel",
      { role: "dialog", "aria-label": t("Chat with us"), hidden: true },
      this.view.element,
    );
    this.panel.addEventListener("keydown", (event) => this.#key(event));
    // Another page of the shop, in the same tab: the panel is as it was left.
    if (this.memory.open) this.#setOpen(true);
    this.conversation.store.subscribe(({ thread }) => this.#count(thread.messages));
    document.addEventListener("visibilitychange", () => this.#see());
  }

  mount(stylesheet) {
    const host = el("div", { "data-testid": "support-chat" });
    const root = host.attachShadow({ mode: "open" });
    const style = el("link", { rel: "stylesheet", href: stylesheet });
    // Unstyled, the panel would stand in the middle of the shop's page.
    host.style.display = "none";
    style.addEventListener("load", () => {
      host.style.display = "";
      this.view.thread.scrollToEnd();
    });
    root.append(style, el("div.widget", { lang: this.t.htmlLanguage }, this.panel, this.button));
    document.body.append(host);
    this.root = root;
    this.conversation.start();
  }

  toggle() {
    if (this.panel.hidden) this.open();
    else this.hide();
  }

  open() {
    this.#setOpen(true);
    this.view.thread.scrollToEnd();
    this.view.focus();
  }

  hide() {
    this.#setOpen(false);
    this.button.focus();
  }

  #setOpen(open) {
    show(this.panel, open);
    this.button.setAttribute("aria-expanded", String(open));
    this.button.classList.toggle("is-open", open);
    this.memory.open = open;
    this.#see();
  }

  #key(event) {
    if (event.key === "Escape" && !event.isComposing) this.hide();
    else if (event.key === "Tab" && matchMedia(NARROW).matches) this.#keepInside(event);
  }

  /** Where the panel covers the page, Tab stays in it. */
  #keepInside(event) {
    const reachable = [
      ...this.panel.querySelectorAll("button:not(:disabled), input, textarea, a[href], [tabindex='0']"),
    ].filter((element) => element.checkVisibility());
    const [first, last] = [reachable[0], reachable.at(-1)];
    const from = this.root.activeElement;
    if (from === (event.shiftKey ? first : last)) {
      event.preventDefault();
      (event.shiftKey ? last : first).focus();
    }
  }

  #see() {
    if (this.panel.hidden || document.visibilityState === "hidden") return;
    const last = this.conversation.state.thread.messages.at(-1);
    if (last) this.memory.seen = last.id;
    this.#count(this.conversation.state.thread.messages);
  }

  #count(messages) {
    const last = messages.at(-1)?.id ?? 0;
    const looking = !this.panel.hidden && document.visibilityState !== "hidden";
    if (looking && last > this.memory.seen) this.memory.seen = last;
    const seen = this.memory.seen;
    const unread = messages.filter((m) => m.id > seen && m.role !== "user").length;
    show(this.count, unread > 0);
    setText(this.count, String(unread));
    this.button.setAttribute(
      "aria-label",
      unread
        ? this.t.count(unread, "Open the chat, {n} new message", "Open the chat, {n} new messages")
        : this.t("Open the chat"),
    );
  }
}

/** Called once by widget.js. `base`: the URL of our static files' folder. */
export function launch({ base, ...options }) {
  new Launcher(options).mount(`${base}chat.css`);
}
