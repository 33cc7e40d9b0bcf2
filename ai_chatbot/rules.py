"""Rules that are decided in code, before any model is asked."""

from __future__ import annotations

from ai_chatbot.patterns import TEXT_CHARACTERS, Pattern
from ai_chatbot.words import plain

_WORDS_FOR_PEOPLE = (
    r"humans?|persons?|people|agents?|representatives?|reps?|operators?|advis[eo]rs?|staff|"
    r"employees?|colleagues?|supervisors?|managers?"
)
# What only begins like a person, as "person-sized" and 人工智能 do, is masked before the
# patterns look, by capitals, which no plain text has. Where 人工 is a person whatever follows,
# the patterns take its mask for it.
_COMPOUND = Pattern(rf"(?:{_WORDS_FOR_PEOPLE}|being|member)-")
_MASKS = {
    f"人工{rest}": f"A{rest}"
    for rest in ("智能", "费", "成本", "合成", "草", "授粉", "湖", "降雨", "光")
} | {"真人秀": "R秀"}

_PERSON = (
    r"(?:(?:a|an|the|your|some|any|another|one of your)\s+)?"
    r"(?:(?:real|actual|live|human|proper|different|support|service|customer|sales|chat|"
    r"customer[ -](?:service|support|care))\s+){0,3}"
    rf"(?:human being|staff member|member of staff|{_WORDS_FOR_PEOPLE})\b"
)
_TALK = (
    r"(?:talk|speak|chat|connect(?: me| us)?|transfer(?: me| us)?|"
    r"put(?: me| us) through|pass(?: me| us)(?: on)?|switch(?: me| us)?|"
    r"escalate(?: me| this| it)?|hand(?: me| us| this)?(?: over)?|forward(?: me| this)?)"
    r"(?:\s+(?:over|directly|now|please))?\s+(?:to|with)\s+"
)
_GET = (
    r"(?:(?:give|get|find|bring|send)\s+(?:me|us)|(?:i|we)(?:'d| would)?\s+"
    r"(?:want|need|like|prefer|demand|require)|(?:can|could|may)\s+i\s+(?:have|get)|"
    r"let\s+me\s+have|call|reach|contact|is\s+there|are\s+there)\s+"
)
_SOMEONE = r"(?:someone|somebody|anyone|anybody)(?: (?:real|human|else))?\b"
_TEAM = r"customer (?:service|support|care)\b"
_ENGLISH = rf"\b(?:{_TALK}(?:{_PERSON}|{_SOMEONE}|{_TEAM})|{_GET}{_PERSON})"
_ENGLISH_ASKS = Pattern(_ENGLISH)
_ENGLISH_DECLINES = Pattern(
    r"\b(?:(?:do|did|does|would)(?: not|n't)\s+"
    r"(?:(?:want|need|have|like|wish|ask)\s+)?(?:to\s+)?|"
    r"(?:no need|rather not|not|never|without)\s+(?:(?:want|need|having|have)\s+)?(?:to\s+)?)"
    rf"(?:{_ENGLISH}|{_PERSON})"
)
# "Am I talking to a real person?" asks what it is, not for somebody else.
_ENGLISH_WONDERS = Pattern(
    rf"\b(?:am i|are we|was i)\s+(?:\w+ing)\s+(?:to|with)\s+{_PERSON}|\bare you\s+{_PERSON}"
)
# The whole message, as people type who have met telephone menus.
_ENGLISH_ALONE = Pattern(
    rf"(?:(?:please|pls|ok|okay|no|just|hi|hello)[\s,!.]+)*(?:{_PERSON}|{_SOMEONE}|"
    r"(?:live (?:chat|support)|human (?:help|support)))"
    r"(?:[\s,!.]+(?:please|pls|now|thanks|thank you))*[\s!.?]*"
)

_CHINESE_PERSON = (
    r"(?:人工|[转轉](?:人工|A)|真人|活人|"
    r"(?:人工|真人|在[线線])?客服(?:人[员員]|代表|小姐|小哥)?)"
)
_CHINESE_ASKS = Pattern(
    rf"(?:[转轉]接?|换|換|找|接|叫|要|需要|想要|呼叫|接通|[连連]接)(?:到|成|个|個|一?[个個位]|一下|你们的|你們的)*{_CHINESE_PERSON}"
    r"|人工(?:客服|服[务務]|坐席|接听|接聽)|真人客服|真人服[务務]|[转轉](?:人工|A)"
    r"|(?:和|跟|与|與|同|找|让|讓|[换換])(?:一?[个個位])?(?:真人|真的人|活人|人工|客服(?:人[员員])?|[经經]理|人)"
    r"(?:来|來)?(?:说|說|聊|讲|講|[谈談]|沟通|溝通|[对對][话話]|[联聯]系|[联聯]繫|处理|處理|回答)"
    r"|(?:给|給|帮|幫)我[转轉]"
)
_CHINESE_DECLINES = Pattern(
    rf"(?:不要|不用|不想|不需要|不必|[别別]|无需|無需)(?:再|给我|給我|帮我|幫我)*(?:{_CHINESE_ASKS.pattern}|{_CHINESE_PERSON})"
)
_CHINESE_WONDERS = Pattern(
    r"(?:你|您)(?:们|們)?(?:到底|究竟)?(?:是不是|是)(?:一?[个個位])?(?:真人|R|活人|人工|A)"
)
_MACHINE = Pattern(
    r"\b(?:are you|am i \w+ing (?:to|with))\s+(?:(?:just|really|actually|an?|the)\s+)*"
    r"(?:chat ?bot|bot|robot|machine|computer|ai|artificial intelligence)\b"
    r"|(?:你|您)(?:们|們)?(?:到底|究竟)?(?:是不是|是)(?:一?[个個位])?(?:机器人|機器人|ai|A智能)"
)
_CHINESE_ALONE = Pattern(
    rf"(?:请|請|[你您]好|[,，!！。\s])*(?:{_CHINESE_PERSON})(?:吧|呢|啊|谢谢|謝謝|[,，!！。?？\s])*"
)

# Scorn for the one who answers, or anger; not for what was bought, which is a question. What is
# only impolite, in capitals or full of question marks is not in them.
_VERY = r"(?:(?:so|really|very|completely|absolutely|totally|just|utterly|fucking)\s+){0,2}"
_WORTHLESS = (
    r"(?:useless|worthless|pathetic|ridiculous|infuriating|hopeless|unacceptable|rubbish|garbage|"
    r"stupid|a joke|an? (?:complete |total )?waste of (?:my )?time)"
)
_ANSWERER = r"(?:bot|chat ?bot|chat|robot|machine|assistant|ai)"
_ENGLISH_FRUSTRATION = Pattern(
    rf"\b(?:this(?: {_ANSWERER})?(?: is|'s)|that(?: is|'s)|you(?: are|'re)|"
    rf"(?:the|your) (?:{_ANSWERER} is|answers? (?:is|are))) {_VERY}{_WORTHLESS}\b\s*(?:$|[,!.])"
    rf"|\b(?:useless|stupid|dumb|idiotic|fucking|damn) {_ANSWERER}\b"
    rf"|\b(?:this|that|you)(?: (?:is|was|are|were)|'s|'re) {_VERY}"
    r"(?:not (?:at all )?(?:being )?(?:helpful|helping)|unhelpful|no help)\b"
    r"|\b(?:this|that|you) (?:does|did|do|are)(?: not|n't) "
    r"(?:help(?:ing)?(?: me)?(?: at all)?\s*(?:$|[,!.])|"
    r"(?:answer(?:ing)? my question|understand(?:ing)? (?:me|anything))\b)"
    rf"|\b(?:i am|i'm) {_VERY}(?:angry|furious|frustrated|fed up|pissed off|"
    r"sick (?:and tired )?of (?:this|you))\b"
    r"|\byou (?:(?:stupid|fucking|bloody|complete|total) )*(?:idiots?|morons?|imbeciles?)\b"
    r"|\b(?:fuck (?:you|this|off)|fuck's sake|what the (?:fuck|hell)|wtf|bullshit|"
    r"piece of (?:shit|crap|junk)|shut up|go to hell)\b"
)
_CHINESE_FRUSTRATION = Pattern(
    r"[烦煩氣气]死(?:了|我|人)|受[够夠]了|忍[无無]可忍|答非所[问問]|[听聽]不懂人[话話]"
    r"|浪[费費](?:我的?|大家的?)?[时時][间間]"
    r"|(?:^|[真太你这這]|完全|根本|[简簡]直|一[点點][都也]|[说說问問][了过過]?也|回答|机器人|機器人|客服)"
    r"(?:[没沒]有?用|[无無]用)(?:$|[了啊吧呢,.!?~。\s])"
    r"|一[点點]用[都也][没沒]有?"
    r"|(?:真|太|好)垃圾|垃圾(?:机器人|機器人|客服|ai|系[统統]|公司|服[务務]|回答)"
    r"|你(?:们|們|就|是|真|[这這][个個]?|[个個])*"
    r"(?:智障|弱智|[脑腦][残殘]|白痴|傻[逼屄叉]|[废廢]物|笨蛋|蠢[货貨])"
    r"|[傻煞][逼屄]|(?:^|[,.!。\s])[滚滾](?:开|開|蛋|吧|$|[!。])|他[妈媽]的|(?:^|[,.!。\s])[妈媽]的(?:$|[,!。\s])"
    r"|什[么麼]破(?:机器人|機器人|客服|ai|系[统統]|玩意)"
)


def wants_a_person(text: str) -> bool:
    """Does the customer ask, in so many words, to be put through to a person?

    English and Chinese. Meant to be sure rather than complete: what it lets pass reaches the
    backend, which may still hand over. "I don't want an agent", "are you human?" and 人工智能
    are not requests.
    """
    text = _masked(text)
    if _ENGLISH_ALONE.fullmatch(text) or _CHINESE_ALONE.fullmatch(text):
        return True
    for not_a_request in (
        _ENGLISH_DECLINES,
        _ENGLISH_WONDERS,
        _CHINESE_DECLINES,
        _CHINESE_WONDERS,
    ):
        text = not_a_request.sub(" ", text)
    return _ENGLISH_ASKS.search(text) or _CHINESE_ASKS.search(text)


def wonders_who_answers(text: str) -> bool:
    """Does the customer ask whether a person or a machine answers?"""
    text = _masked(text)
    return any(
        wonders.search(text) for wonders in (_ENGLISH_WONDERS, _CHINESE_WONDERS, _MACHINE)
    )


def _masked(text: str) -> str:
    """The text as the patterns are written for it; its first TEXT_CHARACTERS."""
    text = " ".join(plain(text, TEXT_CHARACTERS).split())
    for begins_like_a_person, mask in _MASKS.items():
        text = text.replace(begins_like_a_person, mask)
    return _COMPOUND.sub("C", text)


def is_frustrated(text: str) -> bool:
    """Does the customer insult the one who answers, call it useless, or rage?

    English and Chinese; sure rather than complete. That a lamp is useless outdoors, or that
    somebody has not used a coupon (没用优惠券), is no frustration.
    """
    text = " ".join(plain(text, TEXT_CHARACTERS).split())
    return _ENGLISH_FRUSTRATION.search(text) or _CHINESE_FRUSTRATION.search(text)
