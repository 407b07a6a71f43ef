"""Where everything in the picture of a sentence goes: words, levels and ends of arcs, labels.

Lengths are in points, 1/72 inch, in the picture as on paper; so text of a known size has a known
place, and words move apart until every label fits on its arc.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties

from .._errors import InputError
from ._style import FAMILY

ROOT = -1
"""In place of the word that an arc leaves: an arrow from outside."""

WORD, LABEL = 11.0, 7.5  # sizes of text
GAP, MARGIN = 9.0, 10.0  # between words, around everything
PORT = 5.0  # between ends of arcs at a word
FIRST, STEP, CORNER = 17.0, 14.0, 6.0  # height of the lowest arcs, from one to the next, bends
TOP, BOTTOM = 11.5, -5.0  # where arcs meet a word whose line is at 0


@dataclass(frozen=True)
class Style:
    """How arcs look, and what they are.

    Args:
        title: What the legend says; empty for nothing.
        colour: As of matplotlib.
        dashes: Lengths on and off, in widths of the line; empty for a solid line.
    """

    title: str = ""
    colour: str = "black"
    dashes: tuple[float, ...] = ()


Arc = tuple[int, int, str, Style]
"""From which word, counted from 0, or `ROOT`; to which; its label; how it looks."""


def levels(spans: Sequence[tuple[int, int]]) -> list[int]:
    """Number the level of each span from 0: over all within it, apart from all that overlap.

    A span of a single word is an arrow from outside: over all that end at the word or pass it.

    >>> levels([(0, 3), (0, 1), (1, 3), (2, 4), (1, 1)])
    [2, 0, 0, 1, 3]
    """
    found = [-1] * len(spans)
    placed: list[int] = []
    for k in sorted(range(len(spans)), key=lambda k: _order(spans[k])):
        low, high = spans[k]
        pairs = [(spans[p], found[p]) for p in placed]
        if low == high:
            under = [level for (i, j), level in pairs if i <= low <= j]
        else:
            under = [level for (i, j), level in pairs if low <= i and j <= high]
        taken = {level for (i, j), level in pairs if i < high and low < j}
        found[k] = 1 + max(under, default=-1)
        while found[k] in taken:
            found[k] += 1
        placed.append(k)
    return found


def _order(span: tuple[int, int]) -> tuple[bool, int]:
    """Return what to sort a span by: short ones first, arrows from outside last."""
    return span[0] == span[1], span[1] - span[0]


@cache
def text_width(text: str, size: float) -> float:
    """Return how long a text is."""
    renderer = RendererAgg(1, 1, 720)  # ten times as fine as points, against rounding
    font = FontProperties(family=FAMILY, size=size)
    return renderer.get_text_width_height_descent(text, font, ismath=False)[0] / 10


class Side:
    """The arcs on one side of the words: their levels, and where at a word each of them ends."""

    def __init__(self, words: Sequence[str], arcs: Sequence[Arc], sign: int):
        for i, j, label, _ in arcs:
            if not (0 <= j < len(words) and (i == ROOT or 0 <= i < len(words)) and i != j):
                raise InputError(
                    f"An arc joins two of the {len(words)} words, counted from 0, or leaves ROOT. "
                    f"Got {i} to {j} ({label!r})."
                )
        self.arcs, self.sign = list(arcs), sign
        self.spans = [(j, j) if i == ROOT else (min(i, j), max(i, j)) for i, j, *_ in arcs]
        self.levels = levels(self.spans)
        self.ports = self._ports(len(words))
        self.base = TOP if sign > 0 else BOTTOM
        top = max((self.height(level) for level in self.levels), default=0.0)
        self.reach = self.base + sign * (top + (LABEL if arcs else 0.0))

    def _ports(self, words: int) -> list[dict[int, float]]:
        """Say, for each word, how far from its middle each of its arcs ends: no two lines meet."""
        ends: list[list[tuple[tuple[int, int], int]]] = [[] for _ in range(words)]
        for k, (low, high) in enumerate(self.spans):
            level = self.levels[k]
            if low == high:
                ends[low].append(((1, 0), k))
            else:  # to the left the lowest first, to the right the lowest last
                ends[high].append(((0, level), k))
                ends[low].append(((2, -level), k))
        return [
            {k: PORT * (place - (len(own) - 1) / 2) for place, (_, k) in enumerate(sorted(own))}
            for own in ends
        ]

    def room(self, word: int) -> float:
        """Return the width that ends of arcs at a word take, or the label of one from outside."""
        labels = [self.arcs[k][2] for k in self.ports[word] if self.arcs[k][0] == ROOT]
        return max([PORT * len(self.ports[word]), *(text_width(s, LABEL) + 2.0 for s in labels)])

    def free(self, k: int, centres: Sequence[float]) -> list[tuple[float, float, int, int]]:
        """List the pieces of an arc that no line crosses: from, to, and the words at both ends."""
        low, high = self.spans[k]
        lines = [
            (centres[word] + offset, word)
            for word in range(low, high + 1)
            for p, offset in self.ports[word].items()
            if self.levels[p] > self.levels[k]
        ]
        start, stop = centres[low] + self.ports[low][k], centres[high] + self.ports[high][k]
        inner = [line for line in sorted(lines) if start < line[0] < stop]
        stops = [(start + CORNER - 2.0, low), *inner, (stop - CORNER + 2.0, high)]
        return [(x, y, i, j) for (x, i), (y, j) in pairwise(stops)]

    def needs(self, centres: Sequence[float]) -> list[tuple[int, int, float]]:
        """Say how far apart which words have to be for labels to have free places on arcs."""
        found = []
        for k, (low, high) in enumerate(self.spans):
            if low < high and self.arcs[k][2]:
                width, i, j = max((y - x, i, j) for x, y, i, j in self.free(k, centres) if i < j)
                found.append((i, j, centres[j] - centres[i] + _label_width(self.arcs[k]) - width))
        return found

    def place(self, k: int, centres: Sequence[float]) -> float:
        """Return where a label crosses no line, as near the middle of its arc as can be."""
        pieces = self.free(k, centres)
        middle, half = (pieces[0][0] + pieces[-1][1]) / 2, _label_width(self.arcs[k]) / 2
        places = [
            min(max(middle, x + half), y - half)
            for x, y, *_ in pieces
            if y - x > 2 * half - 1e-6  # a piece may have been made just as long as needed
        ]
        return min(places, key=lambda place: abs(place - middle), default=middle)

    def height(self, level: int) -> float:
        """Return how far from the ends of arcs at the words a level is."""
        return FIRST + STEP * level


def _label_width(arc: Arc) -> float:
    return text_width(arc[2], LABEL) + 5.0


def spread(words: Sequence[str], sides: Sequence[Side]) -> tuple[list[float], float]:
    """Place words as far left as neighbours and labels allow; return the whole width, too."""
    rooms = [
        max(text_width(word, WORD), *(side.room(k) for side in sides))
        for k, word in enumerate(words)
    ]
    centres: list[float] = []
    needs: list[tuple[int, int, float]] = []
    for _ in range(2):  # without labels, to see what they need; then with them
        centres = []
        for k, room in enumerate(rooms):
            places = [centres[-1] + (rooms[k - 1] + room) / 2 + GAP if k else MARGIN + room / 2]
            places += [centres[low] + need for low, high, need in needs if high == k]
            centres.append(max(places))
        needs = [need for side in sides for need in side.needs(centres)]
    return centres, centres[-1] + rooms[-1] / 2 + MARGIN if words else 2 * MARGIN
