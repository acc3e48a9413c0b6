from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from whichtune.spec.backbones import (
    BackboneSpec,
    DinoV2SmallBackbone,
    EfficientNetLite0Backbone,
    FolderBackbone,
    GgufBackbone,
    GptBackbone,
    HubBackbone,
    MiniLMBackbone,
    PackageBackbone,
    PairBackbone,
    RandomBackbone,
    SmolLM2Backbone,
)
from whichtune.spec.base import Spec
from whichtune.spec.members import choices, kinds, members, specs, strip
from whichtune.spec.methods import MethodSpec
from whichtune.spec.sources import SourceSpec
from whichtune.spec.tasks import (
    ImageClassificationSpec,
    InstructionClassificationSpec,
    PairClassificationSpec,
    QuestionAnsweringSpec,
    SummarizationSpec,
    TaskSpec,
    TextClassificationSpec,
    VisualQuestionAnsweringSpec,
)


def test_members_of_a_union_in_order_and_of_a_single_class():
    assert members(BackboneSpec) == (
        HubBackbone,
        FolderBackbone,
        PackageBackbone,
        MiniLMBackbone,
        SmolLM2Backbone,
        DinoV2SmallBackbone,
        EfficientNetLite0Backbone,
        GgufBackbone,
        GptBackbone,
        RandomBackbone,
        PairBackbone,
    )
    assert members(TaskSpec) == (
        TextClassificationSpec,
        PairClassificationSpec,
        ImageClassificationSpec,
        VisualQuestionAnsweringSpec,
        InstructionClassificationSpec,
        SummarizationSpec,
        QuestionAnsweringSpec,
    )
    assert members(Annotated[TextClassificationSpec, Field()]) == (TextClassificationSpec,)
    assert members(int | None) == (int,)
    assert members(Annotated[Path | None, Field()]) == (Path,)
    assert members(Any) == members(Literal["a"]) == ()


@pytest.mark.parametrize("union", [BackboneSpec, MethodSpec, SourceSpec, TaskSpec])
def test_every_member_of_our_unions_has_one_kind_and_every_field_a_docstring(union):
    found = [kinds(member) for member in specs(union)]
    assert all(len(words) == 1 for words in found)
    assert len(set(found)) == len(found)
    for member in specs(union):
        assert member.__doc__
        undocumented = [name for name, info in member.model_fields.items() if not info.description and name != "kind"]
        assert not undocumented, member


@pytest.mark.parametrize("union", [BackboneSpec, MethodSpec, SourceSpec, TaskSpec])
def test_kinds_are_written_with_dashes_and_fields_with_underscores(union):
    for member in specs(union):
        assert all("_" not in word for word in kinds(member))
        assert all("-" not in name for name in member.model_fields)


def test_choices_kinds_and_marks():
    assert choices(Annotated[Literal["a", "b"] | None, "mark"]) == ("a", "b")
    assert choices(str) == ()
    assert kinds(Spec) == ()
    assert strip(Annotated[int | None, "mark"]) == (int, ("mark",))
    assert strip(int | str)[0] == int | str
