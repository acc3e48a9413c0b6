"""The content words of each split; none of them, in no form, stands in two splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Verb = tuple[str, str, str]
"""Base, past, participle."""


@dataclass(frozen=True)
class Words:
    """What sentences of one split are about."""

    names: tuple[str, ...]
    objects: tuple[str, ...]
    """Single things; they follow `the`."""
    handling: tuple[Verb, ...]
    """What is done to objects."""
    social: tuple[Verb, ...]
    """What is done to people; who does it to whom matters."""
    groups: tuple[tuple[str, str], ...]
    """Singular and plural of people."""
    doing: tuple[str, ...]
    """What people did, in the past; no object."""
    obtaining: tuple[Verb, ...]
    """How things of the taxonomy come to someone."""
    taxonomy: Mapping[str, tuple[str, ...]]
    """Class to its members; no member belongs to two classes."""
    comparatives: tuple[tuple[str, str, str], ...]
    """Comparative, its converse, and the plain adjective of the first."""


def words(text: str) -> tuple[str, ...]:
    """Read words."""
    return tuple(text.split())


def verbs(text: str) -> tuple[Verb, ...]:
    """Read `base/past/participle` words; where the participle is left out it is the past, which is `-ed` itself."""
    forms: list[Verb] = []
    for word in text.split():
        base, *rest = word.split("/")
        past = rest[0] if rest else f"{base}ed"
        forms.append((base, past, rest[1] if len(rest) > 1 else past))
    return tuple(forms)


def nouns(text: str) -> tuple[tuple[str, str], ...]:
    """Read singular nouns with a plural in -s."""
    return tuple((word, f"{word}s") for word in text.split())


def triples(text: str) -> tuple[tuple[str, str, str], ...]:
    """Read `comparative/converse/adjective` words."""
    return tuple((more, less, plain) for more, less, plain in (word.split("/") for word in text.split()))


TRAIN = Words(
    names=words(
        "Tom Anna Peter Mary John Susan David Laura Paul Helen Mark Julia Simon Clara "
        "Robert Emma George Sarah Daniel Alice Martin Ruth Henry Nina Oscar Lucy Frank Rosa Walter Jane"
    ),
    objects=words(
        "window table door lamp chair carpet letter clock bottle basket ladder bucket mirror blanket drawer "
        "fence gate painting curtain bench radio kettle notebook suitcase"
    ),
    handling=verbs(
        "repair clean paint move/moved open wash cover lift/lifted inspect damage/damaged measure/measured polish "
        "describe/described photograph borrow hide/hid/hidden break/broke/broken sell/sold touch replace/replaced"
    ),
    social=verbs(
        "thank follow praise/praised warn invite/invited blame/blamed help visit call greet/greeted trust/trusted "
        "insult/insulted reward/rewarded teach/taught push forgive/forgave/forgiven"
    ),
    groups=nouns(
        "painter teacher farmer sailor student nurse driver singer baker lawyer doctor writer gardener tailor guard "
        "tourist engineer waiter neighbor player"
    ),
    doing=words(
        "slept laughed arrived left waited smiled sang worked ate cried shouted danced swam listened "
        "stumbled rested voted applauded complained vanished"
    ),
    obtaining=verbs("buy/bought find/found draw/drew/drawn carry/carried order/ordered steal/stole/stolen"),
    taxonomy={
        "instrument": ("violin", "flute", "drum", "trumpet", "guitar", "harp"),
        "fruit": ("banana", "pear", "cherry", "lemon", "melon", "plum"),
        "bird": ("crow", "parrot", "swan", "falcon", "sparrow", "duck"),
        "vehicle": ("truck", "bicycle", "van", "motorcycle", "tractor", "wagon"),
        "tool": ("hammer", "saw", "drill", "shovel", "wrench", "chisel"),
        "garment": ("shirt", "coat", "skirt", "sweater", "jacket", "scarf"),
    },
    comparatives=triples(
        "older/younger/old taller/shorter/tall richer/poorer/rich stronger/weaker/strong "
        "faster/slower/fast happier/sadder/happy"
    ),
)

VALIDATION = Words(
    names=words("Karl Irene Hugo Paula Felix Nora Bruno Judith Victor Elsa"),
    objects=words("pillow candle shelf jar rope wheel piano statue"),
    handling=verbs("examine/examined burn drop/dropped decorate/decorated pack twist/twisted hang/hung wrap/wrapped"),
    social=verbs("accuse/accused kiss interview catch/caught hire/hired annoy mention"),
    groups=nouns("dancer soldier cook pilot hunter priest barber miner"),
    doing=words("snored hesitated jumped whispered resigned prayed blinked escaped"),
    obtaining=verbs("rent receive/received win/won"),
    taxonomy={
        "vegetable": ("carrot", "onion", "cabbage", "turnip", "pumpkin"),
        "insect": ("beetle", "wasp", "moth", "cricket", "butterfly"),
        "boat": ("canoe", "ferry", "yacht", "raft", "kayak"),
    },
    comparatives=triples("heavier/lighter/heavy louder/quieter/loud braver/shyer/brave"),
)

TEST = Words(
    names=words("Philip Diana Edgar Monica Leon Vera Adam Sophie Albert Grace Rupert Ellen Stefan Olga Ivan Marta"),
    objects=words("camera umbrella cupboard vase engine package bell tent pipe sofa helmet puzzle"),
    handling=verbs(
        "fix wipe/wiped carve/carved return steam scratch weigh store/stored print choose/chose/chosen "
        "tear/tore/torn drag/dragged"
    ),
    social=verbs(
        "admire/admired defeat/defeated ignore/ignored rescue/rescued chase/chased kick phone/phoned believe/believed "
        "support hug/hugged"
    ),
    groups=nouns("artist actor monk plumber swimmer clerk banker scientist carpenter judge runner hiker"),
    doing=words("coughed yawned cheered departed knelt protested fainted surrendered sneezed trembled agreed failed"),
    obtaining=verbs("purchase/purchased discover acquire/acquired sketch"),
    taxonomy={
        "flower": ("tulip", "rose", "daisy", "lily", "orchid"),
        "weapon": ("sword", "rifle", "spear", "dagger", "pistol"),
        "dog": ("poodle", "beagle", "collie", "terrier", "spaniel"),
        "coin": ("dollar", "penny", "dime", "nickel", "florin"),
    },
    comparatives=triples("wiser/sillier/wise warmer/colder/warm thinner/fatter/thin nicer/nastier/nice"),
)
"""The test split's own words; its templates are its own, too."""
