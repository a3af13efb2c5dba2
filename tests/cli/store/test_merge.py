from __future__ import annotations


def test_merge(run, fill, tmp_path, capsys):
    for name, which in (("one", (0,)), ("two", (1,))):
        fill(tmp_path / name, which)
    assert run("merge", tmp_path / "out", tmp_path / "one", tmp_path / "two") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: 2 shards copied, 0 already there; 1 extractors\n"
    assert run("verify", tmp_path / "out") == 0
    capsys.readouterr()
    assert run("merge", tmp_path / "one", tmp_path / "one", tmp_path / "two", "--link") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'one'}: 1 shards linked, 1 already there; 1 extractors\n"


def test_copies_that_are_left_out_are_named(run, fill, tmp_path, capsys):
    for name, which in (("one", (0,)), ("two", (1,))):
        fill(tmp_path / name, which)
    fill(tmp_path / "two" / "copies" / "1", (1,))
    assert run("merge", tmp_path / "out", tmp_path / "one", tmp_path / "two") == 0
    assert capsys.readouterr().err.splitlines() == [
        f"warning: {tmp_path / 'two' / 'copies'}: augmented copies are left out; merge each of them on its own"
    ]
