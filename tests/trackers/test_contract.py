from whichtune.trackers.contract import config_of, figures_of


def test_settings_are_flat_and_plain(record):
    config = config_of(record)
    assert config["candidate"] == "lora@bert"
    assert config["method.rank"] == 8
    assert config["method.targets"] == '["q", "v"]'
    assert config["training.epochs"] == 3.0
    assert config["training.stopping"] is None
    assert config["fingerprint.data"] == "d1"
    assert all(value is None or isinstance(value, str | int | float | bool) for value in config.values())


def test_what_is_unknown_is_left_out(record):
    assert figures_of(record) == {"final/test/accuracy": 0.75, "cost/wall_seconds": 2.0, "cost/step_seconds": 1.5}
    record.scores["test"].metrics[0].value = float("nan")
    assert "final/test/accuracy" not in figures_of(record)
