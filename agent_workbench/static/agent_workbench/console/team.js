/* Who is on duty and how much they have: for supervisors, below the lists. */

import { el, reconcile, setText, show } from "../../ai_chatbot/chat/dom.js";
import { aboutAgent } from "./colleagues.js";
import { isOnDuty, supervises } from "./reducer.js";

const ORDER = ["online", "busy", "break", "offline"];

export class Team {
  constructor({ desk, t }) {
    this.t = t;
    this.title = el("summary");
    this.list = el("ul.team-list", { "data-testid": "team" });
    this.element = el("details.team", { hidden: true }, this.title, this.list);
    this.element.addEventListener("toggle", () => this.element.open && desk.readTeam());
    desk.store.subscribe((state) => this.#update(state));
  }

  #update({ me, team }) {
    const { t } = this;
    show(this.element, supervises(me) && team !== null);
    if (!team) return;
    const present = team.filter(({ status }) => isOnDuty(status));
    setText(this.title, t.count(present.length, "{n} agent on duty", "{n} agents on duty"));
    const sorted = [...team].sort(
      (a, b) => ORDER.indexOf(a.status) - ORDER.indexOf(b.status) || a.name.localeCompare(b.name),
    );
    reconcile(this.list, sorted, {
      key: ({ id }) => id,
      make: () =>
        el("li", {}, el("span.presence-dot"), el("span.team-name"), el("span.team-about")),
      update: (element, agent) => {
        const [dot, name, about] = element.children;
        dot.dataset.status = agent.status;
        setText(name, agent.name);
        setText(about, aboutAgent(agent, t));
        element.classList.toggle("is-full", agent.sessions >= agent.max_sessions);
      },
    });
  }
}
