"""Is what a model wrote fit to be sent? Refusals, loops and leaks are not.

Pure. A wrong alarm costs an answer, so each rule is about what an agent would not say on purpose:
reciting facts of its prompt (hours, prices, an address) is its work, reciting its rules is not.
What the user wrote may be repeated.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Final

from textback.core.engine import Said
from textback.llm.prompt import STANDING
from textback.llm.settings import DEFAULT_STYLE
from textback.llm.talk import BEGIN, BEGUN, COLLEAGUE, EMPTY, GO_ON

OUR_LEAK: Final = 10
"""Words in a row from our own instructions that are no coincidence: no fact is among them."""
LEAK: Final = ((12, 2), (40, 1))
"""So many words in a row from the operator's prompt, with so many different rules among them.

An answer by SMS has 15 to 60 words, and recites facts in runs of 5 to 40. So length alone says
nothing; but facts speak to the user, and two phrases that speak to an agent are seldom in them.
"""

_REPEATS_AT_LEAST: Final = 80
"""Characters of one unit after another (five times at least) that are a model in a loop."""
_SAME_SENTENCE: Final = 3
_SENTENCE_AT_LEAST: Final = 20
_ECHO_AT_LEAST: Final = 16
"""Characters: "OK, thanks!" may be said three times in a row."""

_MARKERS: Final = re.compile(
    r"<\|[a-z0-9_ ]{2,40}\|>"  # <|im_start|>, <|eot_id|>, <|system|>
    r"|\[/?INST\]|<</?SYS>>|</?s>(?=\s|$)|<(?:start|end)_of_turn>"
    r"|</?think(?:ing)?>|</?tool_(?:call|response|code)>|</?function(?:_calls?|=[\w-]+)?>"
    r"|</?antml|\n\n(?:Human|Assistant):"
    r"|\A\s*(?:assistant|system)\s*:"
    r"|###\s*(?:Instructions?|System|Response)\s*:",
    re.IGNORECASE,
)
_BRACES: Final = re.compile(r"\{\{[^{}]*\}\}")
_CALL: Final = re.compile(
    r"""\A\s*(?:```(?:json)?\s*)?\{\s*"(?:name|function|tool)"\s*:.*"(?:arguments|parameters|input)"\s*:""",
    re.DOTALL,
)
_NOTES: Final = (BEGIN, BEGUN, GO_ON, EMPTY, COLLEAGUE)

_REFUSAL: Final = re.compile(
    r"(?:(?:i'?m|i am) )?(?:(?:very |so |really )?sorry |i apologi[sz]e )?(?:but )?"
    r"(?:as an ai[a-z ]{0,30} )?"
    r"i (?:can'?t|cannot|can not|won'?t|am unable to|'?m unable to|am not able to|'?m not able to)"
    r" (?:assist|help|comply|fulfill|engage|continue)(?: you)?"
    r"(?: (?:with|in))?(?: (?:that|this))?(?: (?:request|conversation|topic|matter))?"
)
_AS_AI: Final = re.compile(
    r"\bas an? (?:ai|artificial intelligence|large) (?:language )?model\b", re.IGNORECASE
)

_RULE: Final = re.compile(
    r"you are (?:[\w']+ ){1,6}(?:agent|assistant|bot|chatbot|receptionist|representative|model)"
    r"|your (?:task|job|role|goal|instructions|persona)|(?:system )?prompt|instructions"
    r"|(?:never|do not|don't|must not|may not|only|always)"
    r" (?:reveal|mention|say|tell|discuss|share|disclose|talk|speak|offer|promise|answer|use|ask"
    r"|greet)"
    r"|(?:if|when|once|until|unless) (?:the |a )?(?:user|customer|caller|client|guest|patient"
    r"|they)s?"
    r" (?:ask|say|want|is|are|has|have|insist|mention|confirm|refuse|need)\w*"
    r"|(?:ask|tell|greet|help|answer) (?:the |all )?(?:user|customer|caller|client|guest|patient)s?"
    r"|(?:the|this) tools?|hand (?:it |them )?off|respond|reply with|answer (?:in|with|only)"
)
_QUOTED: Final = re.compile(r"\"[^\"\n]{1,600}\"|\u201c[^\u201d]{1,600}\u201d")
_GAP: Final = "quotedquotedquoted"
"""A word that nobody writes, so that no run goes over it."""
_WORD: Final = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")


def fault(text: str, *, prompt: str = "", transcript: Sequence[Said] = ()) -> str | None:
    """Say why `text` must not be sent, without quoting it; None: it may be.

    `prompt`: the operator's words that the model was told; `transcript`: what was said before.
    """
    if not text.strip():
        return "the model wrote nothing"
    heard = "\n".join(said.text for said in transcript if said.role == "user")
    if _is_refusal(text):
        return "the model refused"
    if _repeats(text, heard) or _says_again(text, transcript):
        return "the model repeats itself"
    if _shows_machinery(text, heard):
        return "the model wrote markers that are not for users"
    return _leak(text, prompt, heard)


def _is_refusal(text: str) -> bool:
    plain = re.sub(r"[^\w' ]+", " ", text.lower().replace("\u2019", "'"))
    return bool(_REFUSAL.fullmatch(" ".join(plain.split())) or _AS_AI.search(text))


def _repeats(text: str, heard: str) -> bool:
    for found in re.finditer(r"(?s)(.{1,100}?)\1{4,}", text[:20_000]):
        if len(found[0]) >= _REPEATS_AT_LEAST and found[0] not in heard:
            return True
    sentences = [" ".join(_words(part)) for part in re.split(r"[.!?\n]+", text)]
    counted = Counter(each for each in sentences if len(each) >= _SENTENCE_AT_LEAST)
    theirs = " ".join(_words(heard))
    return any(n >= _SAME_SENTENCE and said not in theirs for said, n in counted.items())


def _says_again(text: str, transcript: Sequence[Said]) -> bool:
    """The third time in a row. What was split into several texts counts as one."""
    words = _words(text)
    if len(" ".join(words)) < _ECHO_AT_LEAST:
        return False
    said = groupby(transcript, key=lambda each: each.role)
    ours = [_words(" ".join(one.text for one in each)) for role, each in said if role == "agent"]
    return len(ours) > 1 and ours[-1] == ours[-2] == words


def _shows_machinery(text: str, heard: str) -> bool:
    found = [*_MARKERS.finditer(text), *_BRACES.finditer(text)]
    if any(marker[0].strip() not in heard for marker in found):
        return True
    return bool(_CALL.match(text)) or any(note in text for note in _NOTES)


def _leak(text: str, prompt: str, heard: str) -> str | None:
    said, theirs = _words(text), " ".join(_words(heard))
    if _runs(said, _words(f"{STANDING}\n{DEFAULT_STYLE}"), OUR_LEAK):
        return "the model recites its instructions"
    # What the operator quotes is there to be said.
    rules = _words(_QUOTED.sub(f" {_GAP} ", prompt))
    for least, cues in LEAK:
        for run in _runs(said, rules, least):
            if len({found[0] for found in _RULE.finditer(run)}) >= cues and run not in theirs:
                return "the model recites its instructions"
    return None


def _runs(said: list[str], source: list[str], least: int) -> list[str]:
    """Each longest run of at least so many words that `said` has from `source`."""
    known = {tuple(source[n : n + least]) for n in range(len(source) - least + 1)}
    runs: list[str] = []
    begin: int | None = None
    for n in range(len(said) - least + 2):
        if tuple(said[n : n + least]) in known and n <= len(said) - least:
            begin = n if begin is None else begin
        elif begin is not None:
            runs.append(" ".join(said[begin : n - 1 + least]))
            begin = None
    return runs


def _words(text: str) -> list[str]:
    return [found[0].lower().replace("\u2019", "'") for found in _WORD.finditer(text)]
