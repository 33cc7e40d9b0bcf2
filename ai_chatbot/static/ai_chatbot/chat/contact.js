/* Nobody is on duty: in the conversation, how the customer can be written to. First a form, then
   what was left and a way to change it. */

import { el, setText, show } from "./dom.js";

const NOTE_CHARACTERS = 2000;
const EMAIL_CHARACTERS = 254;
let forms = 0;

/** What a refusal means for the one who filled the form in. */
function refusalText(error, t) {
  const wrong = error.details?.errors?.map(({ field }) => field.split(".").at(-1)) ?? [];
  if (wrong.includes("email")) return t("We cannot write to this address. Please check it.");
  if (wrong.includes("note")) return t("This note cannot be saved. Please make it shorter.");
  switch (error.code) {
    case undefined:
      return t("No connection. Please try again.");
    case "SESSION_CLOSED":
      return t("This conversation is closed.");
    case "TOO_MANY_REQUESTS":
      return t("That was a little fast. Please wait a moment.");
    default:
      return error.status < 500 ? error.message : t("That did not work. Please try again.");
  }
}

export class ContactCard {
  /**
   * email: what the shop knows. onLeave({email, note}): resolves to null, or to the error.
   * onResize(): the card is another size now; onDone(): the focus has nothing to be on.
   */
  constructor({ t, email, onLeave, onResize, onDone }) {
    Object.assign(this, { t, email, onLeave, onResize, onDone });
    this.contact = null;
    this.shown = false;
    // null: as the contact has it; true and false: as the customer wants it.
    this.wanted = null;
    this.touched = false;

    const id = `contact-${++forms}`;
    this.address = el("input.field", {
      id: `${id}-email`,
      type: "email",
      name: "email",
      autocomplete: "email",
      required: true,
      maxLength: EMAIL_CHARACTERS,
      "aria-describedby": `${id}-error`,
      oninput: () => this.#edited(),
    });
    this.note = el("textarea.field", {
      id: `${id}-note`,
      name: "note",
      rows: 2,
      maxLength: NOTE_CHARACTERS,
      oninput: () => this.#edited(),
    });
    this.error = el("p.contact-error", { id: `${id}-error`, role: "alert", hidden: true });
    this.send = el("button.small-button.primary", { type: "submit" }, t("Send"));
    this.form = el(
      "form.contact-form",
      {
        noValidate: true,
        "aria-label": t("How can we reach you?"),
        "data-testid": "contact-form",
        onsubmit: (event) => {
          event.preventDefault();
          this.#submit();
        },
      },
      el("p.contact-title", {}, t("Leave your email address, and we will write to you.")),
      el("label", { for: `${id}-email` }, t("Email address")),
      this.address,
      this.error,
      el("label", { for: `${id}-note` }, t("What is it about? (optional)")),
      this.note,
      el(
        "div.contact-buttons",
        {},
        this.send,
        el("button.link-button", { type: "button", onclick: () => this.#put(false) }, t("Not now")),
      ),
    );
    this.told = el("span", { role: "status", "data-testid": "contact" });
    this.change = el("button.link-button", { type: "button", onclick: () => this.#put(true) });
    this.line = el("p.contact-line", {}, this.told, this.change);
    this.element = el("div.contact", { "aria-live": "off", hidden: true }, this.form, this.line);
  }

  /** Ask for the address, unless there is one; the customer wants a person again. */
  ask() {
    if (!this.contact) this.#put(true);
  }

  /** Something else is being done: a form nobody has begun to fill in makes room. */
  makeRoom() {
    if (this.touched || !this.#isAsking()) return;
    this.wanted = false;
    this.#render();
  }

  update({ session, status, contact, busy }) {
    if (session?.name !== this.session) {
      this.session = session?.name;
      this.wanted = null;
      this.#fill(null);
    }
    if (contact?.email !== this.contact?.email || contact?.note !== this.contact?.note) {
      this.contact = contact;
      if (!this.touched) this.#fill(contact);
    }
    const shown = status === "after_hours_email";
    if (shown !== this.shown) this.wanted = null;
    this.shown = shown;
    this.send.disabled = busy === "contact";
    this.#render();
  }

  #isAsking() {
    return this.wanted ?? this.contact === null;
  }

  #render() {
    const { t, contact } = this;
    show(this.element, this.shown);
    show(this.form, this.#isAsking());
    show(this.line, !this.#isAsking());
    setText(this.told, contact ? t("We will write to {email}.", { email: contact.email }) : "");
    setText(this.change, contact ? t("Change") : t("Leave your email address"));
  }

  /** The customer opens or folds the form. */
  #put(asking) {
    this.wanted = asking;
    if (asking) this.#fill(this.contact);
    this.#complain("");
    this.#render();
    this.onResize();
    if (asking) this.address.focus();
    else this.change.focus();
  }

  #fill(contact) {
    this.address.value = contact?.email ?? this.email ?? "";
    this.note.value = contact?.note ?? "";
    this.touched = false;
  }

  #edited() {
    this.touched = true;
    this.#complain("");
  }

  #complain(text) {
    setText(this.error, text);
    show(this.error, text !== "");
    this.address.setAttribute("aria-invalid", String(text !== ""));
  }

  async #submit() {
    const { t } = this;
    const email = this.address.value.trim();
    if (email === "" || !this.address.validity.valid) {
      this.#complain(
        email === "" ? t("Please enter an email address.") : t("This is not an email address."),
      );
      this.address.focus();
      return;
    }
    const error = await this.onLeave({ email, note: this.note.value.trim() });
    if (error) {
      this.#complain(refusalText(error, t));
      if (!this.form.hidden) this.address.focus();
      return;
    }
    this.wanted = null;
    this.#fill(this.contact);
    this.#render();
    this.onResize();
    if (this.change.checkVisibility()) this.change.focus();
    else this.onDone();
  }
}
