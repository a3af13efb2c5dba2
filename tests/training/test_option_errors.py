from __future__ import annotations

import pytest

from avloc.training.option_errors import describe_option_error

UNION = (
    "Parser key \"data\":\n  Does not validate against any of the Union subtypes\n  Subtypes: [<class 'SplitData'>, <class "
    "'NoneType'>]\n  Errors:\n    - Problem with given class_path 'avloc.datasets.FeatureData':\n        {problem}\n    - "
    "Expected a <class 'NoneType'>\n  Given value type: <class 'dict'>\n  Given value: {{'class_path': 'x'}}"
)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            UNION.format(problem="Option 'btach_size' is not accepted"),
            "data.btach_size does not exist (did you mean data.batch_size?); FeatureData has dataset, ",
        ),
        (
            "Parser key \"model.model\": Problem with given class_path 'avloc.models.BoundaryTransformer': Option 'widht' is "
            "not accepted",
            "model.model.widht does not exist (did you mean model.model.width?)",
        ),
        (
            "unrecognized arguments: --model.lrr 3",
            "model.lrr does not exist (did you mean model.lr?); LocalizationModule has ",
        ),
        (
            "unrecognized arguments: --trainer.precisoin=16",
            "trainer.precisoin does not exist (did you mean trainer.precision?)",
        ),
        ("unrecognized arguments: --confg demo", "confg does not exist (did you mean config?); a run has config, "),
        ("unrecognized arguments: --colour red", "colour does not exist; a run has config, seed_everything, "),
        (
            "Group 'trainer' does not accept option 'max_epoch'",
            "trainer.max_epoch does not exist (did you mean trainer.max_epochs?)",
        ),
        ("Group 'trainer' does not accept option 'qqq'", "trainer.qqq does not exist; the trainer has accelerator, "),
        (
            UNION.format(problem="Parser key \"batch_size\":\n  Expected a <class 'int'>. Got value: many"),
            "data.batch_size: want int, got 'many'",
        ),
        (
            'Parser key "trainer.max_epochs":\n  Does not validate against any of the Union subtypes\n  Subtypes: [<class '
            "'int'>]\n  Errors:\n    - Expected a <class 'int'>\n    - Expected a <class 'NoneType'>\n  Given "
            "value type: <class 'str'>\n  Given value: many",
            "trainer.max_epochs: want int, got 'many'",
        ),
        (
            'Parser key "data": - Expected a path but Data either not accessible or invalid - Errors: - Expected a dot import '
            "path string: Data",
            "data: want a class by its dotted path, such as avloc.datasets.FeatureData, got Data",
        ),
        ("another\n  message", "another message"),
    ],
)
def test_messages_of_the_parser_become_one_readable_line(message, expected):
    text = describe_option_error(message)
    assert text.startswith(expected)
    assert "\n" not in text
    if expected.endswith("?)") or "want" in expected:
        assert text == expected or text.startswith(f"{expected}; ")
