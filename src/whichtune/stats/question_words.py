"""The words that the rules of question types look for; all in lower case, as `simplify` leaves them."""

from __future__ import annotations

import re
from collections.abc import Iterable


def _any(*patterns: str) -> re.Pattern[str]:
    """Compile patterns of which one must be found, at the bounds of words."""
    return re.compile("|".join(rf"\b(?:{pattern})\b" for pattern in patterns))


def _one_of(words: Iterable[str]) -> str:
    return "|".join(sorted(words, key=lambda word: (-len(word), word)))


YES_OR_NO = frozenset({"yes", "no"})
CLOSED = _any(r"^(?:and |so )?(?:is|are|was|were|do|does|did|has|have|can|could|will|would|should)")
CHOICE = _any("or")

NUMBERS = frozenset({
    "eight", "eighteen", "eleven", "fifteen", "five", "four", "fourteen", "nine", "nineteen", "one", "seven",
    "seventeen", "six", "sixteen", "ten", "thirteen", "three", "twelve", "twenty", "two", "zero",
})  # fmt: skip
COUNT = _any("how many", "(?:number|amount|count|quantity) of", "^count")
AMOUNT = _any("how much")
NUMBER_OF_THINGS = _any(rf"there (?:only |exactly |just )?(?:{_one_of(NUMBERS - {'one'})}|\d+|more than|fewer than)")

PLAIN_COLOURS = frozenset({
    "beige", "black", "blond", "blonde", "blue", "bluish", "brown", "cyan", "gray", "green", "greenish", "grey",
    "magenta", "maroon", "navy", "pink", "purple", "red", "reddish", "tan", "teal", "turquoise", "white", "yellow",
})  # fmt: skip
COLOURS = PLAIN_COLOURS | frozenset({"orange", "gold", "golden", "silver", "violet", "cream", "olive", "lime", "peach"})
BETWEEN_COLOURS = frozenset({"and", "or", "light", "dark", "bright", "pale", "deep"})
COLOUR = _any("colou?rs?", "colou?red", "what shade", "which shade", "hue")
COLOUR_NAMED = _any(_one_of(COLOURS))

SIDES = frozenset({
    "left", "right", "center", "centre", "middle", "top", "bottom", "above", "below", "behind", "background",
    "foreground",
})  # fmt: skip
WHERE = _any("^(?:and |so |from |to )?where")
WHICH_PLACE = _any(
    "(?:what|which) (?:side|direction|corner|location|position) (?:is|are|of|does|do)", "on (?:what|which) side"
)
RELATION = _any(
    "(?:left|right)(?: hand)?(?: side)?(?: most)? of",
    "(?:on|to|at|in) the (?:far |very |extreme )?(?:left|right|top|bottom|side|middle|center|centre|corner|back|front)",
    "above|below|beneath|underneath|under|behind|beside|besides|between|among|opposite|adjacent|leftmost|rightmost",
    "in ?front of|next to|close to|closest|nearest|near|on top of|in the (?:background|foreground)|across from",
    "around the|attached to|leaning (?:on|against)|hanging (?:on|from|over|above)|inside|outside of|over the",
)
_WHOLE = "image|picture|photo|photograph|scene|figure|room|view"
WHAT_IS_ON = _any(
    r"(?:what|which|who)(?: \w+){0,4}? (?:is|are|was|were)(?: the| an?)?(?: \w+){0,2}? (?:found |placed |kept |lying |"
    rf"sitting |standing |seen |stuck |mounted )?(?:on|in|at|into|upon) (?:the|an?|this|that)(?! (?:{_WHOLE}))(?= \w)"
)

THERE = _any(
    "(?:is|are|was|were) (?:not )?there",
    "(?:do|can|could) (?:you|we) (?:not )?see",
    "(?:contain|contains|include|includes|show|shows|depict|depicts|feature|features)",
    "(?:present|visible|shown|depicted|seen|pictured)$",
    rf"(?:present|visible|shown|depicted|seen|pictured) (?:in|on) (?:the|this) (?:{_WHOLE})",
    rf"^(?:is|are) (?:not )?(?:an?|any|no) (?:\w+ )+in (?:the|this) (?:{_WHOLE})",
    rf"^(?:does|do) (?:the|this) (?:{_WHOLE})s? (?:not )?have",
)
THIS_THING = _any(r"^(?:is|are) (?:not )?(?:this|that|it|these|those) (?:not )?(?:an?|some)(?= \w)")

FEELING = _any(
    "feel|feels|feeling|feelings|mood|emotion|emotions|emotional|sentiment|facial expression|expression",
    "happy|sad|angry|upset|scared|afraid|worried|excited|bored|surprised|sorrowful|cheerful|joyful|smiling|crying",
    "having fun|enjoying|having a good time",
)
SPORTS = frozenset({
    "tennis", "baseball", "soccer", "football", "basketball", "hockey", "ice hockey", "golf", "cricket", "rugby",
    "volleyball", "badminton", "frisbee", "skiing", "snowboarding", "surfing", "skateboarding", "table tennis",
    "ping pong", "bowling", "boxing", "polo", "softball", "lacrosse", "swimming",
})  # fmt: skip
SPORT = _any("sports?", "(?:what|which)(?: kind of| type of)? (?:game|match) ")
SPORT_NAMED = _any(_one_of(SPORTS))
PLAYING = _any("play|plays|played|playing|player|players|game|match|team")

_ROOMS = (
    "kitchen|bathroom|bedroom|living room|dining room|bed room|bath room|classroom|office|hallway|corridor|garage|"
    "basement|beach|park|zoo|city|street|restaurant|store|shop|library|airport|station|hotel|church|forest|farm"
)
_SKY = (
    "sunny|cloudy|raining|rainy|snowing|snowy|foggy|windy|overcast|indoors?|outdoors?|daytime|night|nighttime|dark out"
)
SCENE = _any(
    "(?:what|which)(?: kind of| type of| sort of)? (?:room|place|scene|scenery|venue|environment|setting|building) "
    "(?:is|are|was|were)(?: it| this| that| shown| depicted| pictured| seen| displayed)",
    "(?:what|which)(?: kind of| type of| sort of)? (?:room|place|scene|scenery|venue|environment|setting)$",
    "(?:what|which) (?:room|place) (?:does|do|did|can)",
    "where (?:is|was|were) (?:this|the|that) (?:photo|picture|image|photograph|scene)",
    "weather|season|time of (?:the )?day|indoors or outdoors|inside or outside|day or night",
)
THIS_SCENE = _any(
    rf"^(?:is|was) (?:not )?(?:this|that|it) (?:not )?(?:(?:at|in|on) )?(?:an? |the )?"
    rf"(?:{_ROOMS}|{_SKY})",
    rf"(?:picture|photo|image|photograph|scene) (?:taken |shot )?(?:at|in|of|an?|the|indoors|outdoors) ?(?:an? |the )?"
    rf"(?:{_ROOMS}|{_SKY})",
    rf"^(?:is|was) (?:the )?(?:weather|sky|scene) (?:\w+ )?(?:{_SKY}|clear)",
)

USE = _any(
    "used (?:for|to|as|by)",
    "(?:use|purpose|function|utility|benefit) (?:of|for)",
    "what (?:can|could|would|should|do|does) (?:you|we|one|someone|a person|people|they) (?:do with|use)",
    "(?:can|could|may|should) (?:it |this |that |these |those )?(?:be )?(?:eaten|edible|cut|ridden|worn|driven|played)",
    "(?:can|could) (?:you|we|one|someone|a person) "
    "(?:eat|sit|ride|wear|drive|drink|sleep|cook|write|cut|play|read|carry)",
    "edible|what is (?:it|this|that|the \\w+) for$",
)
_ACTIONS = (
    "sitting|standing|walking|running|sleeping|eating|drinking|talking|reading|writing|jumping|riding|driving|cooking|"
    "flying|swimming|surfing|skiing|skating|skateboarding|snowboarding|dancing|singing|working|studying|playing|resting|"
    "laying|lying down|climbing|throwing|catching|kicking|swinging|waiting|looking|watching|cutting|cleaning|grazing"
)
ACTIVITY = _any(
    "(?:do|doing)$",
    "(?:what|which)(?: \\w+){0,8}? doing",
    "happening|going on|taking place",
    "(?:what|which) (?:activity|action|event)",
)
ACTIVITY_NAMED = _any(_ACTIONS)

_ATTRIBUTES = (
    "shape|shapes|material|materials|size|texture|pattern|patterns|brand|age|gender|breed|flavou?r|style|length|height|"
    "width|temperature|condition"
)
ATTRIBUTE = _any(
    f"(?:what|which)(?: \\w+)?(?: is| are)?(?: the)? (?:{_ATTRIBUTES})",
    f"(?:{_ATTRIBUTES}) of",
    "made (?:of|from|out of|up of|with)",
    "how (?:big|large|small|tall|high|long|wide|old|young|heavy|deep|thick|far|fast|full|clean|dirty|hot|cold|new)",
    "what time|what year|what does (?:it|this|that|the \\w+(?: \\w+)?) (?:say|read)|looks? like",
)

DOES_NOT_APPLY = frozenset({"doesnotapply", "does not apply", "not applicable", "n a", "absurd", "nonsense question"})
"""Answers by which an annotator says that the question does not fit its image."""
