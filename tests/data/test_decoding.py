import pytest

from whichtune.data.decoding import decode
from whichtune.errors import DataError

FRENCH = "text,label\nUn café très agréable,pos\nLe garçon était désagréable,neg\n" * 5


@pytest.mark.parametrize("raw", [FRENCH.encode(), b"\xef\xbb\xbf" + FRENCH.encode()])
def test_utf8_needs_no_report(raw):
    assert decode(raw, "f.csv") == (FRENCH, None)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_byte_order_mark_decides(encoding):
    assert decode(FRENCH.encode(encoding), "f.csv") == (FRENCH, encoding)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", FRENCH),
        ("cp1252", "schöne Grüße aus München,pos\nDas war überhaupt nicht schön und sehr teuer,neg\n" * 3),
        ("cp1252", "El niño comió mañana con su mamá. ¿Qué pasó? ¡No lo sé!\n" * 3),
        ("cp1252", "Cet été, l’hôtel était complet. C’est dommage : l’accueil était bon et la piscine énorme.\n" * 3),
        ("cp1250", "Zażółć gęślą jaźń. Dzisiaj jest bardzo ładna pogoda i idę na spacer z moim psem.\n" * 3),
        ("cp1251", "Привет мир как дела,1\nХорошая книга очень понравилась мне,0\n" * 3),
        ("cp1253", "Καλημέρα κόσμε, πώς είσαι σήμερα\n" * 3),
    ],
)
def test_other_encodings_are_detected_and_reported(encoding, text):
    assert decode(text.encode(encoding), "f.csv") == (text, encoding)


def test_a_single_accent_among_plain_text_is_detected():
    plain = "a plain line,x\n" * 5000 + "voilà un café,y\n"
    assert decode(plain.encode("latin-1"), "f.csv")[0] == plain


def test_utf16_without_a_mark_is_not_taken_for_utf8():
    assert decode(FRENCH.encode("utf-16-le"), "f.csv") == (FRENCH, "utf-16-le")


def test_a_given_encoding_wins():
    raw = "é".encode()
    assert decode(raw, "f.csv", "latin-1") == ("Ã©", "iso8859-1")
    assert decode(raw, "f.csv", "UTF8") == ("é", None)


def test_a_wrong_encoding_names_file_byte_and_line():
    with pytest.raises(DataError, match=r"f\.csv cannot be read as utf-8: byte 5 \(line 2\)"):
        decode(b"a\nbcd\xe9\n", "f.csv", "utf-8")


def test_an_unknown_encoding_names_the_nearest():
    with pytest.raises(DataError, match="did you mean 'latin-1'"):
        decode(b"", "f.csv", "latin-11")


def test_bytes_that_are_no_text_are_one_message():
    with pytest.raises(DataError, match=r"f\.csv is not UTF-8 text \(NUL bytes\)"):
        decode(bytes(range(256)) * 4, "f.csv")
