import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichtune.errors import SpecError
from whichtune.prompts.templates import compile_template


def render(source, **values):
    return compile_template("template.query", source, values).render(values)


def test_a_template_prints_columns_conditions_and_loops():
    assert (
        render("Review: {{ text }}\n{% if pair %}\nx {{ pair }}\n{% endif %}", text="a", pair="b") == "Review: a\nx b\n"
    )
    assert (
        render("{% for one in labels %}{{ loop.index }}. {{ one|upper }} {% endfor %}", labels=["a", "b"])
        == "1. A 2. B "
    )


@given(st.text(), st.text())
def test_what_a_row_holds_is_inserted_as_it_is(text, other):
    assert render("<{{ text }}|{{ pair }}>", text=text, pair=other) == f"<{text}|{other}>"


def test_a_row_that_looks_like_a_template_is_not_read_as_one():
    assert render("{{ text }}", text="{{ 1 + 1 }}{% for %}") == "{{ 1 + 1 }}{% for %}"


def test_a_missing_column_is_one_message_with_the_columns_there_are():
    with pytest.raises(SpecError) as raised:
        compile_template("template.query", "{{ revew }}", {"review", "options"})
    told = str(raised.value)
    assert told == (
        "template.query names something that is not there: got 'revew'; allowed: options, review; "
        "did you mean 'review'?"
    )


@pytest.mark.parametrize(
    "source", ["{{ text", "{% if text %}", "{{ text | nosuchfilter }}", "{% import 'x' as y %}{{ y }}"]
)
def test_what_does_not_parse_is_refused_in_words(source):
    with pytest.raises(SpecError, match=r"template\.query.*not a template that can be used"):
        render(source, text="a")


@pytest.mark.parametrize(
    "source",
    [
        "{{ text.__class__.__mro__ }}",
        "{{ text.__class__ }}",
        "{{ ''.__class__.__subclasses__() }}",
        "{{ text['__class__'] }}",
        "{{ text|attr('__class__') }}",
        "{{ [text]|map(attribute='__class__')|list }}",
        "{{ text.format_map }}",
        "{{ text.encode() }}",
        "{{ '{0.__class__}'.format(text) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ self.__init__ }}",
        "{{ range(3) }}",
        "{{ 'a' * 1000000000 }}",
        "{{ 9 ** 9999999 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%1000000000d'|format(1) }}",
        "{{ text|center(1000000000) }}",
        "{% include text %}",
        "{{ text() }}",
        "{{ 1 / 0 }}",
    ],
)
def test_nothing_inside_an_object_is_reached_and_nothing_grows(source):
    with pytest.raises(SpecError):
        render(source, text="a")


def test_a_whole_file_is_no_template():
    with pytest.raises(SpecError, match=r"up to 10,000"):
        compile_template("t", "x" * 10_001, ())
