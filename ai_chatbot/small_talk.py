"""Messages that are nothing but a greeting, thanks, a yes or an "all clear"."""

from __future__ import annotations

from ai_chatbot.patterns import TEXT_CHARACTERS, Pattern
from ai_chatbot.words import plain

# Longer than any of them.
_LONGEST = 60

_GREETING = (
    r"(?:(?:hello|hiya|hi|hey|howdy|greetings|good (?:morning|afternoon|evening|day))"
    r"(?: (?:there|again|everyone|all|team))*"
    r"|你好|您好|嗨|哈喽|哈啰|大家好|早上好|上午好|中午好|下午好|晚上好|在吗|在不在|有人吗)[啊呀哦]?"
)
_THANKS = (
    r"(?:(?:many )?(?:thanks|thank you|thank u|thx|cheers)"
    r"(?: so much| very much| a lot| again| for (?:your|the|all your) (?:help|answer))*"
    r"|(?:非常|十分|太)?(?:感谢|谢谢|多谢|谢啦|谢了|感謝|謝謝)"
    r"(?:[你您]们?|啦|了|啊)*(?:的?(?:帮助|回答|幫助))?)"
)
_ENOUGH = (
    r"(?:okay|ok|alright|all right|fine|great|perfect|super|cool|good|got it|i see|understood|"
    r"goodbye|bye|see you|no|that is all|that s all|that was all|nothing else|"
    r"好的?|好吧|行|明白了?|知道了|了解了?|收到|再见|拜拜|不用了?|没有了|没了|没事了?)"
)
_YES = (
    r"(?:yes|yeah|yep|sure|ok|okay|please|please do|i would|i do|of course|"
    r"是的?|好的?|好啊|可以|要|需要|行|嗯|请|谢谢)"
)
_GREETS = Pattern(rf"(?:{_GREETING} ?)+")
_GIVES_THANKS = Pattern(
    rf"(?:(?:{_GREETING}|{_ENOUGH}) ?)*{_THANKS}(?: ?(?:{_THANKS}|{_ENOUGH}))*"
)
_HAS_ENOUGH = Pattern(rf"(?:{_ENOUGH} ?)+")
_SAYS_YES = Pattern(rf"(?:{_YES} ?)+")
_NOT_A_WORD = Pattern(r"[^\pL\pN_]+")


def greets(text: str) -> bool:
    return _is_nothing_but(_GREETS, text)


def gives_thanks(text: str) -> bool:
    return _is_nothing_but(_GIVES_THANKS, text)


def has_enough(text: str) -> bool:
    return _is_nothing_but(_HAS_ENOUGH, text)


def says_yes(text: str) -> bool:
    return _is_nothing_but(_SAYS_YES, text)


def _is_nothing_but(pattern: Pattern, text: str) -> bool:
    words = _NOT_A_WORD.sub(" ", plain(text, TEXT_CHARACTERS)).strip()
    return len(words) <= _LONGEST and pattern.fullmatch(words)
