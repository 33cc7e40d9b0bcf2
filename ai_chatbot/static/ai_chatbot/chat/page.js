/* The chat on a page of its own. */

import { Conversation } from "./conversation.js";
import { pickLanguage, translator } from "./strings.js";
import { ChatView } from "./view.js";

const t = translator(pickLanguage(document.documentElement.lang, navigator.languages));
const origin = location.origin;
const conversation = new Conversation({ origin, visitor: { language: t.language } });
const view = new ChatView({ conversation, t, origin });
document.querySelector("[data-chat]").replaceChildren(view.element);

const title = document.title;
let seen = null;

function markTitle() {
  const { phase, thread } = conversation.state;
  if (phase === "loading") return;
  const last = thread.messages.at(-1)?.id ?? 0;
  if (seen === null || document.visibilityState !== "hidden") seen = last;
  const unread = thread.messages.filter((m) => m.id > seen && m.role !== "user").length;
  document.title = unread ? `(${unread}) ${title}` : title;
}

conversation.store.subscribe(markTitle);
document.addEventListener("visibilitychange", markTitle);
const address = new URL(location.href);
const link = address.searchParams.get("resume");
conversation.start({
  link,
  // Neither a bookmark nor whoever looks over the shoulder needs it.
  onLink: () => {
    address.searchParams.delete("resume");
    history.replaceState(null, "", address);
  },
});
view.focus();
