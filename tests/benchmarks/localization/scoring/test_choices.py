from __future__ import annotations


def test_the_trial_of_the_best_validation_ap_is_chosen():
    from scoring.choices import choose

    aps = {
        "actionformer": 0.31,
        "actionformer_slow": 0.32,
        "actionformer_ranges": 0.33,
        "actionformer_decoding": 0.3,
        "tridet": 0.4,
        "tridet_slow": 0.4,
        "tridet_decoding": 0.4,
    }
    choices = choose(aps | {"frame_wise": 0.2, "frame_wise_slow": 0.1, "ummaformer": 0.1, "ummaformer_slow": 0.2})
    chosen = {name: choice.chosen for name, choice in choices.items()}
    assert chosen == {
        "boundary_map": "boundary_map",
        "batfd_plus": "batfd_plus",
        "actionformer": "actionformer_ranges",
        "ummaformer": "ummaformer_slow",
        "tridet": "tridet",  # no better
        "frame_wise": "frame_wise",
        "boundary_transformer": "boundary_transformer",
    }
    assert choices["actionformer"].label == "short ranges, best of 4 trials"
    assert choices["tridet"].label == "rate 2e-3, best of 3 trials"


def test_missing_trials_are_named():
    from scoring.choices import choices_table, choose

    choices = choose({"ummaformer": 0.1, "ummaformer_slow": 0.2, "tridet_slow": 0.9})
    assert choices["ummaformer"].missing == ["ummaformer_ranges", "ummaformer_decoding"]
    assert choices["ummaformer"].label == "rate 1e-3, 2 of 4 trials"
    assert choices["ummaformer"].sentence() == (
        "ummaformer: ummaformer_slow, of 4 trials by validation AP "
        "(ummaformer 10.0, ummaformer_slow 20.0, ummaformer_ranges not trained, ummaformer_decoding not trained)"
    )
    assert choices["tridet"].chosen == "tridet"  # not compared with it yet
    table = choices_table([choices["ummaformer"], choices["tridet"]])
    assert table.rows[0] == (
        ("UMMAFormer-like",),
        [
            ("2 of 4",),
            (
                "rate 2e-3: 10.0",
                "rate 1e-3: 20.0",
                "short ranges: not trained",
                "soft-NMS of σ 0.8: not trained",
            ),
            ("rate 1e-3",),
        ],
    )
    assert table.notes[-1] == "Missing trials: ummaformer_ranges, ummaformer_decoding, tridet, tridet_decoding."
    complete = choose(dict.fromkeys(("tridet", "tridet_slow", "tridet_decoding"), 0.5))["tridet"]
    assert len(choices_table([complete]).notes) == 1
