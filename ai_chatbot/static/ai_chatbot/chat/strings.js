/* The words of the customer's chat and of the agents' console.

   A text is written in English where it is used and looked up in the dictionary of
   the page's language, whose keys are the English texts. One that is missing appears in English.

   To add a language:
   1. copy zh-hans.js here, and agent_workbench's console/zh-hans.js, to files named after the
      language's code, and translate their values;
   2. name the code in `dictionaries` below and in the console's words.js;
   3. add it to LANGUAGES in config/settings.py, with its django.po files in the apps' locale/.
   tests/test_pages.py fails for a text without a translation.
*/

import zhHans from "./zh-hans.js";

export const dictionaries = { en: {}, "zh-hans": zhHans };

/** The first supported language among the wishes (BCP 47 tags, best first); else English. */
export function pickLanguage(...wishes) {
  for (const wish of wishes.flat()) {
    const tag = (wish ?? "").toLowerCase();
    if (tag in dictionaries) return tag;
    const base = tag.split("-")[0];
    const near = Object.keys(dictionaries).find((code) => code.split("-")[0] === base);
    if (near) return near;
  }
  return "en";
}

/**
 * `t` for one language: t(text, values) fills in what stands in braces; t.count(n, one, other)
 * chooses by number (dictionaries have the second form); dates and times are the language's.
 */
export function translator(language, words = dictionaries[language] ?? {}) {
  const t = (source, values = {}) =>
    (words[source] ?? source).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
  t.language = language;
  t.htmlLanguage = language === "zh-hans" ? "zh-Hans" : language;
  const plural = new Intl.PluralRules(language);
  const singular = (n) => plural.select(n) === "one";
  t.count = (n, one, other) => t(singular(n) ? one : other, { n });
  const clock = new Intl.DateTimeFormat(t.htmlLanguage, { hour: "numeric", minute: "2-digit" });
  const day = new Intl.DateTimeFormat(t.htmlLanguage, { dateStyle: "medium" });
  const both = new Intl.DateTimeFormat(t.htmlLanguage, {
    dateStyle: "medium",
    timeStyle: "short",
  });
  t.time = (stamp) => clock.format(new Date(stamp));
  t.day = (stamp) => day.format(new Date(stamp));
  t.dateTime = (stamp) => both.format(new Date(stamp));
  /** A rough length of time: "less than a minute", "3 minutes". */
  t.about = (seconds) => {
    if (seconds < 60) return t("less than a minute");
    const minutes = Math.round(seconds / 60);
    if (minutes < 60) return t.count(minutes, "{n} minute", "{n} minutes");
    return t.count(Math.round(minutes / 60), "{n} hour", "{n} hours");
  };
  /** "less than a minute", "up to 2 minutes", "5 to 10 minutes". */
  t.range = (least, most) => {
    if (most <= 60) return t("less than a minute");
    if (least < 60) return t("up to {time}", { time: t.about(most) });
    if (t.about(least) === t.about(most)) return t.about(most);
    const [n, m] = [least, most].map((seconds) => Math.round(seconds / 60));
    if (m < 60) return t("{n} to {m} minutes", { n, m });
    return t("{least} to {most}", { least: t.about(least), most: t.about(most) });
  };
  const weekday = new Intl.DateTimeFormat(t.htmlLanguage, { weekday: "long" });
  const date = new Intl.DateTimeFormat(t.htmlLanguage, {
    weekday: "long",
    day: "numeric",
    month: "long",
  });
  /** When people are back, by the reader's own clock. */
  t.back = (stamp, now = new Date()) => {
    const then = new Date(stamp);
    const days = Math.round((midnight(then) - midnight(now)) / 86_400_000);
    const time = clock.format(then);
    if (days === 0) return t("Our team will be back at {time}.", { time });
    if (days === 1) return t("Our team will be back tomorrow at {time}.", { time });
    const day = (days > 0 && days < 7 ? weekday : date).format(then);
    return t("Our team will be back on {day} at {time}.", { day, time });
  };
  return t;
}

const midnight = (moment) => new Date(moment).setHours(0, 0, 0, 0);
