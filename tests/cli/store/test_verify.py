from __future__ import annotations


def test_verify(run, store, capsys):
    assert run("verify", store.root) == 0
    assert capsys.readouterr().out == f"{store.root}: 2 shards of 1 extractors are right\n"
    path = store.shards("wave")[0]
    path.write_bytes(path.read_bytes()[:-9])
    (path.parent / ".00003-ab.host.1.tmp.h5").write_bytes(b"")
    assert run("verify", store.root, "--quick", "--extractor", "wave") == 1
    captured = capsys.readouterr()
    first, last = captured.out.splitlines()
    assert first.startswith(f"{path}: a damaged shard (")
    assert first.endswith("; remove it and run the same extraction again")
    assert last == f"{store.root}: 1 faults in 2 shards of 1 extractors"
    assert captured.err.startswith("note: ")
    path.unlink()
    assert run("verify", store.root) == 1
    assert "is planned, but missing; run the same extraction again" in capsys.readouterr().out


def test_quick_skips_the_values(run, store, capsys):
    path = store.shards("wave")[1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert run("verify", store.root, "--quick") == 0
    assert "are right, without a check of their values" in capsys.readouterr().out
    assert run("verify", store.root) == 1
    assert "the checksum is wrong" in capsys.readouterr().out
