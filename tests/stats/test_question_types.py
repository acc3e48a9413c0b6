"""The types of hand-written questions, and what every text keeps to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whichtune.stats.question_types import (
    COCO_QA_TYPES,
    TAXONOMIES,
    TDIUC_TYPES,
    coco_qa_type,
    simplify,
    tdiuc_type,
)

OBJECT, NUMBER, COLOUR, LOCATION = COCO_QA_TYPES
SCENE, SPORT, COLORS, OTHER, ACTIVITY, POSITION, PRESENCE, THING, COUNTING, FEELING, USE, ABSURD = TDIUC_TYPES

INDOORS = [
    ("what is on the left side of the black telephone?", "chair", OBJECT, POSITION),
    ("what is to the right of the table and behind the lamp?", "sofa", OBJECT, POSITION),
    ("what is on the desk in the image4?", "book, lamp", OBJECT, POSITION),
    ("what is in front of the wall divider?", "chair", OBJECT, POSITION),
    ("what is between the two white garbage bins?", "door", OBJECT, POSITION),
    ("what is the largest object in this picture?", "bed", OBJECT, THING),
    ("what is the object on the floor behind the rack of coats?", "suitcase", OBJECT, POSITION),
    ("what is hanging on the wall?", "picture", OBJECT, POSITION),
    ("what is found below the window?", "radiator", OBJECT, POSITION),
    ("what are the objects on the counter?", "cup", OBJECT, POSITION),
    ("what is under the table", "rug", OBJECT, POSITION),
    ("what is the round object?", "clock", OBJECT, THING),
    ("how many chairs are there?", "4", NUMBER, COUNTING),
    ("how many chairs are on the left side of the table?", "two", NUMBER, COUNTING),
    ("how many red pillows are on the bed in the image?", "3", NUMBER, COUNTING),
    ("what is the number of lamps in the room?", "2", NUMBER, COUNTING),
    ("how many different colours are on the wall?", "3", NUMBER, COUNTING),
    ("what colour is the chair in front of the desk?", "black", COLOUR, COLORS),
    ("what color is the table?", "brown", COLOUR, COLORS),
    ("what is the colour of the wall behind the bed?", "white", COLOUR, COLORS),
    ("what are the colors of the pillows?", "red, white", COLOUR, COLORS),
    ("which coloured object is on the sofa", "blue", COLOUR, COLORS),
    ("where is the lamp?", "table", LOCATION, POSITION),
    ("where is the black telephone in the picture?", "desk", LOCATION, POSITION),
    ("where are the books?", "shelf", LOCATION, POSITION),
    ("which side of the bed is the lamp on?", "left", LOCATION, POSITION),
    ("on which side is the lamp", "right", LOCATION, POSITION),
    ("what room is this?", "kitchen", OBJECT, SCENE),
    ("what is the shape of the mirror?", "oval", OBJECT, OTHER),
    ("what is the chair made of?", "wood", OBJECT, OTHER),
]
SHAPES = [
    ("Is there a red circle?", "yes", COLOUR, PRESENCE),
    ("Is there a circle in the image?", "no", OBJECT, PRESENCE),
    ("Is there not a blue shape?", "yes", COLOUR, PRESENCE),
    ("Does the image contain a rectangle?", "no", OBJECT, PRESENCE),
    ("Does the image not contain a gray shape?", "yes", COLOUR, PRESENCE),
    ("Is a green shape present?", "no", COLOUR, PRESENCE),
    ("Is no triangle present in the image?", "yes", OBJECT, PRESENCE),
    ("What shape is in the image?", "circle", OBJECT, OTHER),
    ("What shape does the image contain?", "triangle", OBJECT, OTHER),
    ("What shape is present?", "rectangle", OBJECT, OTHER),
    ("What color is the shape?", "teal", COLOUR, COLORS),
    ("What is the color of the rectangle?", "brown", COLOUR, COLORS),
    ("Is the shape a red?", "no", COLOUR, COLORS),
    ("Is this a triangle?", "no", OBJECT, PRESENCE),
]
OUTDOORS = [
    ("What is the man holding?", "racket", OBJECT, THING),
    ("What animal is in the picture?", "giraffe", OBJECT, THING),
    ("Who is wearing a hat?", "woman", OBJECT, THING),
    ("What fruit is next to the banana?", "orange", OBJECT, POSITION),
    ("What fruit does the woman eat?", "orange", OBJECT, THING),
    ("What is parked beside the bus?", "car", OBJECT, POSITION),
    ("How many people are riding bikes?", "five", NUMBER, COUNTING),
    ("How much cheese is on the pizza?", "a lot", OBJECT, THING),
    ("Are there two dogs in the photo?", "yes", NUMBER, PRESENCE),
    ("Where is the cat sleeping?", "couch", LOCATION, POSITION),
    ("Where was this picture taken?", "beach", LOCATION, SCENE),
    ("What sport is being played?", "tennis", OBJECT, SPORT),
    ("What are they playing?", "baseball", OBJECT, SPORT),
    ("Is the man playing tennis?", "yes", OBJECT, SPORT),
    ("What game is the boy playing?", "soccer", OBJECT, SPORT),
    ("What is the woman doing?", "surfing", OBJECT, ACTIVITY),
    ("What are the two men in the boat doing?", "fishing", OBJECT, ACTIVITY),
    ("What is happening here?", "parade", OBJECT, ACTIVITY),
    ("Is the dog sleeping?", "no", OBJECT, ACTIVITY),
    ("Is the woman happy?", "yes", OBJECT, FEELING),
    ("How does the child feel?", "sad", OBJECT, FEELING),
    ("What is the mood of the man?", "angry", OBJECT, FEELING),
    ("What is the weather like?", "cloudy", OBJECT, SCENE),
    ("Is it sunny?", "yes", OBJECT, SCENE),
    ("Is this a kitchen?", "no", OBJECT, SCENE),
    ("Was this photo taken indoors or outdoors?", "outdoors", OBJECT, SCENE),
    ("What time of day is it?", "night", OBJECT, SCENE),
    ("What is this object used for?", "cutting", OBJECT, USE),
    ("Can you eat this?", "yes", OBJECT, USE),
    ("What can be used to cut the bread?", "knife", OBJECT, USE),
    ("Is the truck red?", "yes", COLOUR, COLORS),
    ("What does the wall look like, which shade?", "dark green", COLOUR, COLORS),
    ("Is the lamp on top of the shelf?", "no", LOCATION, POSITION),
    ("Is the door open?", "no", OBJECT, OTHER),
    ("How tall is the tower?", "very tall", OBJECT, OTHER),
    ("What material is the bench?", "metal", OBJECT, OTHER),
    ("What color is the elephant's hat?", "doesNotApply", COLOUR, ABSURD),
    ("How many zebras are flying?", "does not apply", NUMBER, ABSURD),
    ("Do you see a fence?", "yes", OBJECT, PRESENCE),
    ("Is there a dog under the table?", "yes", OBJECT, PRESENCE),
    ("What's behind the dog?", "fence", OBJECT, POSITION),
    ("Isn't there a cat?", "yes", OBJECT, PRESENCE),
]
QUESTIONS = INDOORS + SHAPES + OUTDOORS


@pytest.mark.parametrize(("question", "answer", "coco", "tdiuc"), QUESTIONS)
def test_questions_written_by_hand(question, answer, coco, tdiuc) -> None:
    assert (coco_qa_type(question, answer), tdiuc_type(question, answer)) == (coco, tdiuc)


def test_every_type_is_among_them() -> None:
    assert {one[2] for one in QUESTIONS} == set(COCO_QA_TYPES)
    assert {one[3] for one in QUESTIONS} == set(TDIUC_TYPES)
    assert len({one[0] for one in QUESTIONS}) == len(QUESTIONS) > 80


@pytest.mark.parametrize(("question", "answer", "coco", "tdiuc"), QUESTIONS)
def test_case_punctuation_and_the_form_of_characters_do_not_matter(question, answer, coco, tdiuc) -> None:
    wide = "".join(chr(ord(each) + 0xFEE0) if "!" < each < "\x7f" and each != "'" else each for each in question)
    curly = f"  «{question.replace(chr(39), chr(0x2019)).replace('?', '')} ?!»\n"
    for changed in (question.upper(), wide, curly, question.replace(" ", "\t  ")):
        assert (coco_qa_type(changed, answer.upper()), tdiuc_type(changed, f"{answer}.")) == (coco, tdiuc)


@settings(max_examples=300, deadline=None)
@given(st.text(), st.text())
def test_any_text_has_one_type_of_each_kind(question, answer) -> None:
    for kinds, rule in TAXONOMIES.values():
        assert rule(question, answer) in kinds
        assert rule(question, answer) == rule(question, answer)


@pytest.mark.parametrize("text", ["", "?", "\ud800", "\x00", "éÉ" * 5000, "is " * 5000, "what is the " * 3000])
def test_odd_texts_are_no_fault(text) -> None:
    assert coco_qa_type(text, text) in COCO_QA_TYPES
    assert tdiuc_type(text, text) in TDIUC_TYPES


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("What's THE café’s   colour?", "what is the cafes colour"),
        ("Isn’t there a_cat?", "is not there a cat"),
        ("Ｗｈａｔ", "what"),
        ("STRASSE Straße", "strasse strasse"),
    ],
)
def test_texts_become_plain_words(text, plain) -> None:
    assert simplify(text) == plain
