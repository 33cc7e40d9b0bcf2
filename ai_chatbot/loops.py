"""A model that goes round in circles, noticed while it writes."""

from __future__ import annotations

import numpy

# The length of what comes again: shorter may be emphasis.
SHORTEST, LONGEST = 16, 1024
# So often, a tail is a loop. Cells of a table may be equal more often than that.
TIMES, TIMES_IN_A_TABLE = 3, 6

# They end a sentence where white space follows; the wide ones do anyway.
_ENDS, _WIDE_ENDS = ".!?…", "。！？"
_CLOSING = "\"'”’)]」』）"


class LoopDetector:
    """Reads an answer, and says the same of it however it is cut into pieces.

    A loop is a sentence that comes twice in a row, or a tail that comes three times, of
    SHORTEST to LONGEST characters with a letter or a digit among them: anything else may be a
    drawn line. White space, however much, counts as one space. Each character costs about as
    much as any other, ten microseconds; the text is held.
    """

    def __init__(self) -> None:
        self._text: list[str] = []
        self._sentence_at = 0
        self._sentence_before = ""
        # Where the latest letter or digit is, and the latest edge of a table's cell.
        self._said_at = self._cell_at = -1
        # The character that ended a sentence, if nothing but closing marks came since; whether
        # white space came since the last character, and a new line in it.
        self._ended_by = ""
        self._spaced = self._broken = False
        # For each distance, the longest first: for how many characters the text has been the
        # same as that far before. One more than LONGEST, for the space between.
        self._distances = numpy.arange(LONGEST + 1, 0, -1, dtype=numpy.int32)
        self._same = numpy.zeros_like(self._distances)
        self._enough = (TIMES - 1) * self._distances - 1
        self._enough[self._distances < SHORTEST] = numpy.iinfo(numpy.int32).max
        # The latest characters' codes; before the first they are 0, which no text has.
        self._codes = numpy.zeros(4 * len(self._same), dtype=numpy.int32)
        self._end = len(self._same)

    def finds_loop(self, piece: str) -> bool:
        """The answer goes on with `piece`: has it come to a loop?

        Nothing is to be asked after the first.
        """
        for character in piece:
            if character.isspace():
                self._spaced = True
                self._broken = self._broken or character == "\n"
            elif self._ends_loop(character):
                return True
        return False

    def _ends_loop(self, character: str) -> bool:
        if self._begins_sentence(character):
            self._sentence_before = "".join(self._text[self._sentence_at :])
            # Without the space that stands before it.
            self._sentence_at = len(self._text) + (self._spaced and bool(self._text))
        if self._spaced and self._text:
            self._append(" ")
            if self._tail_comes_again():
                return True
        self._append(character)
        self._spaced = self._broken = False
        if character in _ENDS + _WIDE_ENDS:
            self._ended_by = character
            return self._sentence_comes_again() or self._tail_comes_again()
        if character not in _CLOSING:
            self._ended_by = ""
        return self._tail_comes_again()

    def _begins_sentence(self, character: str) -> bool:
        if self._broken:
            return True
        if not self._ended_by:
            return False
        return self._spaced or (
            self._ended_by in _WIDE_ENDS and character not in _ENDS + _WIDE_ENDS + _CLOSING
        )

    def _append(self, character: str) -> None:
        if character.isalnum():
            self._said_at = len(self._text)
        elif character == "|":
            self._cell_at = len(self._text)
        self._text.append(character)
        window = len(self._same)
        if self._end == len(self._codes):
            self._codes[:window] = self._codes[-window:]
            self._end = window
        code = ord(character)
        self._same += 1
        self._same *= self._codes[self._end - window : self._end] == code
        self._codes[self._end] = code
        self._end += 1

    def _sentence_comes_again(self) -> bool:
        length = len(self._text) - self._sentence_at
        before = self._sentence_before.rstrip(_CLOSING)
        if length != len(before) or not SHORTEST <= length <= LONGEST:
            return False
        sentence = "".join(self._text[self._sentence_at :])
        return (
            sentence == before
            and self._said_at >= self._sentence_at
            and self._cell_at < self._sentence_at
        )

    def _tail_comes_again(self) -> bool:
        for at in numpy.flatnonzero(self._same >= self._enough):
            distance, same = int(self._distances[at]), int(self._same[at])
            begins_at = len(self._text) - distance
            if self._said_at < begins_at:
                # Nothing was said in this tail, nor in the shorter ones, which are parts of it.
                return False
            # The space between it and the one before may be missing before the first.
            missing = self._text[begins_at] == " "
            if distance - missing < SHORTEST or distance - missing > LONGEST:
                continue
            times = TIMES_IN_A_TABLE if self._cell_at >= begins_at else TIMES
            if same >= (times - 1) * distance - missing:
                return True
        return False
