"""Reading plain English by rules: phrases, events, order; and that no text whatever breaks it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_zsar.descriptions import english
from hf_zsar.descriptions.phrases import clean_text, read_sentence, read_text, split_sentences
from hf_zsar.descriptions.tagging import tag_sentence


def events(text):
    return [event.text() for reading in read_text(text) for event in reading.events]


def phrases(text):
    return [phrase.text for reading in read_text(text) for phrase in reading.phrases]


@pytest.mark.parametrize(
    ("text", "verbs"),
    [
        ("An archer draws the string and releases the arrow.", ["draws", "releases"]),
        ("The player wears pads, gloves and bats.", ["wears"]),
        ("One tosses a ball, jumps and shoots it.", ["tosses", "jumps", "shoots"]),
        ("The knife cuts, and slices fall onto the board.", ["cuts", "fall"]),
        ("A person holding a bow aims at a rock climbing wall.", ["holding", "aims"]),
        ("They bounce up and down, throw pillows and fall.", ["bounce", "throw", "fall"]),
        ("Put or spread a cream.", ["Put", "spread"]),
        ("She sniffs the flower and hides the ball.", ["sniffs", "hides"]),
        ("The arms are raised and the raised arms shake.", ["raised", "shake"]),
        ("Her stretched arms hold a swinging door.", ["hold"]),
        ("He leaves to run.", ["leaves", "run"]),
    ],
)
def test_verbs(text, verbs):
    assert [token.text for token in tag_sentence(text) if token.tag == "V"] == verbs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("She draws the string back to her cheek.", ["draw the string back to the cheek"]),
        ("He picks up a full glass of water.", ["pick up a full glass of water"]),
        ("A weight is raised above the head.", ["raise a weight above the head"]),
        ("He slides a spatula under the pancake and tosses it into the air.",
         ["slide a spatula under the pancake", "toss it into the air"]),
        ("He raises his arm and the woman spins under it.", ["raise the arm", "spin under it"]),
        ("Shooting with a bow and arrows.", ["shoot with a bow and arrows"]),
        ("Two men face each other with raised fists.", ["face each other with raised fists"]),
    ],
)  # fmt: skip
def test_events(text, expected):
    assert events(text) == expected


def test_after_and_before_give_the_order_of_time():
    assert events("He eats the soup after peeling the carrots.") == ["peel the carrots", "eat the soup"]
    assert events("He peels the carrots before eating the soup.") == ["peel the carrots", "eat the soup"]
    assert events("After peeling the carrots, he eats the soup.") == ["peel the carrots", "eat the soup"]


def test_what_does_not_happen_is_no_event():
    assert events("He keeps the ball up without using the hands.") == ["keep the ball up"]
    assert "hands" not in phrases("He keeps the ball up without using the hands.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A small, thin beam and a bowl of hot soup.", ["small thin beam", "bowl of hot soup"]),
        ("The edge of a cliff.", ["cliff"]),
        ("The cup is full.", ["cup"]),
        ("the player's left hand", ["left hand"]),
    ],
)
def test_noun_phrases(text, expected):
    assert phrases(text) == expected


def test_passive_names_no_subject_but_by_does():
    event = read_sentence("The ball is thrown by a pitcher.").events[0]
    assert (event.text(), event.subject.text) == ("throw the ball", "pitcher")


def test_clean_text_and_sentences():
    assert clean_text("A <b>cue</b> (= a stick)\n&amp; a &quot;ball&quot;") == 'A cue & a "ball"'
    assert split_sentences("About 2.5 m long. It flies; it lands!") == ["About 2.5 m long.", "It flies;", "it lands!"]


@pytest.mark.parametrize(
    ("word", "base"),
    [
        *[("gripping", "grip"), ("carries", "carry"), ("catches", "catch"), ("drawn", "draw"), ("lying", "lie")],
        *[("waved", "wave"), ("mirror", None), ("building", None), ("table", None)],
    ],
)
def test_verb_base(word, base):
    assert english.verb_base(word) == base


@pytest.mark.parametrize(
    ("base", "form"), [("grab", "grabbed"), ("carry", "carried"), ("slide", "slid"), ("tie", "tied")]
)
def test_past_participle(base, form):
    assert english.past_participle(base) == form


@pytest.mark.parametrize(
    ("noun", "person"),
    [("archer", True), ("batsmen", True), ("musicians", True), ("hammer", False), ("mirror", False)],
)
def test_is_person(noun, person):
    assert english.is_person(noun) == person


def test_word_lists_are_consistent():
    for word in english.NOUNY | english.LIGHT_VERBS - {"have"}:
        assert english.verb_base(word + "s" if word == "saw" else word) == word
    assert english.THINGS <= english.NOUNY


FRAGMENTS = st.sampled_from(
    "a the she one of and or , . ; ( ) to after before while without is are raised draws drawing bow up each other "
    "each other's in front of hands that which his 3 2.5 quickly runs standing not".split()
)


@settings(max_examples=200, deadline=None)
@given(st.lists(FRAGMENTS, max_size=14).map(" ".join) | st.text(max_size=60))
def test_any_text_can_be_read(text):
    for reading in read_text(text):
        for event in reading.events:
            assert event.verb and event.text().startswith(event.verb)
        for phrase in reading.phrases:
            assert phrase.text and phrase.head in phrase.text.split()
