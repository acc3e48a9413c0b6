from hypothesis import given
from hypothesis import strategies as st

from whichtune.spec.merge import deep_merge, nest
from whichtune.spec.nodes import Place, lay, make_node

KEYS = st.text("abcd_", min_size=1, max_size=3)
TREES = st.recursive(
    st.integers() | st.text(max_size=3) | st.none(), lambda tree: st.dictionaries(KEYS, tree, max_size=4)
)
MAPPINGS = st.dictionaries(KEYS, TREES, max_size=4)


def leaves(tree, path=()):
    if isinstance(tree, dict) and tree:
        return {leaf: value for key, item in tree.items() for leaf, value in leaves(item, (*path, key)).items()}
    return {path: tree}


def touches(path, other):
    shared = min(len(path), len(other))
    return path[:shared] == other[:shared]


@given(MAPPINGS, MAPPINGS)
def test_every_leaf_of_over_arrives_and_every_other_leaf_stays(base, over):
    merged = leaves(deep_merge(base, over))
    for path, value in leaves(over).items():
        if value != {} and path:
            assert merged[path] == value
    for path, value in leaves(base).items():
        if not any(touches(path, other) for other in leaves(over)):
            assert merged[path] == value


@given(MAPPINGS)
def test_nothing_and_itself_laid_over_change_nothing(base):
    assert deep_merge(base, {}) == base
    assert deep_merge({}, base) == base
    assert deep_merge(base, base) == base


@given(MAPPINGS, MAPPINGS)
def test_inputs_are_left_alone_and_trees_merge_alike(base, over):
    before = repr((base, over))
    merged = deep_merge(base, over)
    assert repr((base, over)) == before
    assert lay(make_node(base, Place("a")), make_node(over, Place("b"))).plain() == merged


def test_siblings_of_a_nested_key_stay():
    base = {"training": {"epochs": 3, "stopping": {"patience": 2, "min_gain": 0.1}}, "seeds": [1, 2]}
    merged = deep_merge(base, nest("training.stopping.patience", 5))
    assert merged == {"training": {"epochs": 3, "stopping": {"patience": 5, "min_gain": 0.1}}, "seeds": [1, 2]}


def test_underscore_meets_dash_unless_the_exact_key_is_there():
    assert deep_merge({"batch_size": 1}, {"batch-size": 2}) == {"batch_size": 2}
    assert deep_merge({"a_b": 1, "a-b": 2}, {"a_b": 3}) == {"a_b": 3, "a-b": 2}


def test_another_kind_replaces_the_mapping_whole_and_the_same_kind_does_not():
    base = {"m": {"kind": "lora", "rank": 8}}
    assert deep_merge(base, {"m": {"kind": "full"}}) == {"m": {"kind": "full"}}
    assert deep_merge(base, {"m": {"kind": "lora", "alpha": 1}}) == {"m": {"kind": "lora", "rank": 8, "alpha": 1}}
    assert deep_merge({"m": {"kind": "last_layers", "blocks": 2}}, {"m": {"kind": "last-layers"}})["m"]["blocks"] == 2
    tree = lay(make_node(base, Place("a")), make_node({"m": {"kind": "full"}}, Place("b")))
    assert tree.plain() == {"m": {"kind": "full"}}


def test_a_list_replaces_a_list_and_places_follow_their_values():
    tree = lay(
        make_node({"a": {"b": [1, 2], "c": 3}}, Place("file", 4)), make_node({"a": {"b": [9]}}, Place("--set x"))
    )
    assert tree.plain() == {"a": {"b": [9], "c": 3}}
    assert str(tree.at("a", "b").place) == "--set x"
    assert str(tree.at("a", "c").place) == "file:4"
