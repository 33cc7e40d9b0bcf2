/* Why a person was asked for: the record of the handoff, above the thread, and those before. */

import {
  el,
  outwards,
  reconcile,
  safeAddress,
  setText,
  show,
} from "../../ai_chatbot/chat/dom.js";
import { handoffReason, outcomeName, severityName } from "./words.js";

export class HandoffCard {
  constructor({ t, site }) {
    this.t = t;
    this.site = site;
    this.session = null;
    this.title = el("span.record-title");
    this.severity = el("span.mark");
    this.brief = el("span.record-brief");
    this.body = el("div.record-body");
    this.earlier = el("ol.record-earlier");
    this.before = el(
      "details.record-before",
      { hidden: true },
      (this.beforeTitle = el("summary")),
      this.earlier,
    );
    this.element = el(
      "details.record",
      { "data-testid": "handoff", hidden: true },
      el("summary", {}, this.title, this.severity, this.brief),
      (this.inside = el("div.record-inside", {}, this.body, this.before)),
    );
  }

  update({ session_name: session, handoff, handoffs }) {
    const { t } = this;
    show(this.element, Boolean(handoff));
    if (!handoff) return;
    if (session !== this.session) {
      this.session = session;
      const roomy = matchMedia("(min-width: 721px) and (min-height: 700px)").matches;
      this.element.open = roomy && ["waiting", "by_email", "live"].includes(handoff.outcome);
      this.before.open = false;
    }
    setText(this.title, handoffReason(handoff.code, t));
    this.severity.dataset.severity = handoff.severity;
    setText(this.severity, severityName(handoff.severity, t));
    show(this.severity, handoff.severity !== "medium");
    setText(this.brief, this.#brief(handoff));
    const facts = this.#facts(handoff);
    reconcile(this.body, facts, {
      key: ([name]) => name,
      make: ([name, , kind]) =>
        el("div.record-fact", {}, el("b", {}, name), el(kind ?? "p", { dir: "auto" })),
      update: (element, [, value]) => this.#fill(element.lastChild, value),
    });
    show(this.body, facts.length > 0);
    const earlier = (handoffs ?? []).filter(({ id }) => id !== handoff.id);
    show(this.before, earlier.length > 0);
    show(this.inside, facts.length + earlier.length > 0);
    setText(this.beforeTitle, t.count(earlier.length, "{n} earlier time", "{n} earlier times"));
    reconcile(this.earlier, earlier, {
      key: ({ id }) => id,
      make: () => el("li", {}, el("b"), el("span")),
      update: (element, record) => {
        const [title, rest] = element.children;
        setText(title, handoffReason(record.code, t));
        setText(
          rest,
          [t.dateTime(record.created_at), this.#brief(record), record.text || record.question]
            .filter(Boolean)
            .join(" · "),
        );
      },
    });
  }

  clear() {
    this.body.replaceChildren();
    this.earlier.replaceChildren();
    for (const part of [this.title, this.severity, this.brief]) setText(part, "");
  }

  #brief({ outcome, agent, waited_seconds: waited }) {
    const { t } = this;
    const parts = [outcomeName(outcome, t)];
    if (agent) parts.push(agent.name);
    if (waited !== null) parts.push(t("waited {time}", { time: t.about(waited) }));
    return parts.join(" · ");
  }

  #facts({ text, summary, question, tried }) {
    const { t } = this;
    return [
      [t("Reason"), text],
      [t("Summary"), summary],
      [t("Question"), [text, summary].some((each) => each.includes(question)) ? "" : question],
      [t("The AI had tried"), tried?.length ? tried : "", "ul"],
    ].filter(([, value]) => value);
  }

  #fill(element, value) {
    if (typeof value === "string") {
      setText(element, value);
      return;
    }
    reconcile(element, value, {
      key: ({ title, url }) => `${title} ${url}`,
      make: ({ title, url, excerpt }) => {
        const href = url ? safeAddress(url, this.site ?? undefined) : null;
        const name = href ? outwards(href, title) : el("span", {}, title);
        name.title = excerpt ?? "";
        return el("li", {}, name);
      },
    });
  }
}
