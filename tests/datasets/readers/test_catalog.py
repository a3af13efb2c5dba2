from __future__ import annotations

import importlib
import os
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from avloc.core.records import VideoRecord
from avloc.datasets.readers import catalog
from avloc.datasets.readers.catalog import get_reader, public_name, read_records
from avloc.errors import AvlocError

READER = """
from avloc.datasets.readers.table import TableBuilder

class Clips:
    splits = ("train", "val")
    validation = "val"
    suffix = ".mp4"

    def records(self, root, split=None):
        builder = TableBuilder()
        for path in sorted(root.glob(f"*{self.suffix}")):
            builder.add(path.name, split or "train", audio=[(1.0, 1.5)])
        return builder.build()

    def public_name(self, record):
        return record.file.removesuffix(self.suffix)

class Lists(Clips):
    def records(self, root, split=None):
        return []

instance = Clips()
partial = object()
"""


@pytest.fixture
def write_readers(tmp_path, monkeypatch):
    """Write a module with readers into the current folder; returns its name, which each test must choose anew."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(name):
        (tmp_path / f"{name}.py").write_text(READER)
        return name

    return write


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("b.mp4", "a.mp4"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("attribute", ["Clips", "instance"])
def test_reader_by_dotted_name(write_readers, clips, attribute):
    dataset = f"{write_readers(f'own_readers_{attribute.lower()}')}.{attribute}"
    table = read_records(dataset, clips, "val")
    assert [(r.file, r.split, r.modality) for r in table] == [("a.mp4", "val", "audio"), ("b.mp4", "val", "audio")]
    assert public_name(dataset, table[0]) == "a"
    assert get_reader(dataset).validation == "val"
    assert get_reader(dataset) is get_reader(dataset)


def test_reader_by_class_and_by_instance(write_readers, clips, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module(write_readers("own_readers_object"))
    for dataset in (module.Clips, module.instance):
        table = read_records(dataset, clips, "val")
        assert [(record.file, record.split) for record in table] == [("a.mp4", "val"), ("b.mp4", "val")]
        assert public_name(dataset, table[0]) == "a"
    assert get_reader(module.Clips) is get_reader(module.Clips)
    for wrong, message in (
        (None, "NoneType: is no dataset reader, it lacks splits"),
        (dict, "dict: is no dataset reader, it lacks splits"),
        (module.partial, "object: is no dataset reader"),
        (module.Lists, r"Lists: records\(\) must return a RecordTable, got list"),
    ):
        with pytest.raises(AvlocError, match=message):
            read_records(wrong, clips)


def test_wrong_dotted_names(write_readers, clips):
    module = write_readers("own_readers_wrong")
    for dataset, message in (
        (
            f"{module}.partial",
            r"own_readers_wrong\.partial: is no dataset reader, it lacks splits, validation, records,",
        ),
        (f"{module}.None_", r"own_readers_wrong\.None_: cannot be imported, expected a dataset reader"),
        ("own_readers_absent.Clips", r"own_readers_absent\.Clips: cannot be imported"),
        (f"{module}.Lists", r"records\(\) must return a RecordTable, got list"),
    ):
        with pytest.raises(AvlocError, match=message) as error:
            read_records(dataset, clips)
        assert "\n" not in str(error.value)


def test_missing_folder_is_an_error_before_any_import(tmp_path):
    with pytest.raises(AvlocError, match="x: no such folder"):
        read_records("no_such_package.Reader", tmp_path / "x")
    code = (
        "import sys\n"
        "from avloc.datasets.readers.catalog import read_records\n"
        "try: read_records('lavdf', '/nowhere')\n"
        "except ValueError as error: print(error)\n"
        "print(sorted({'torch', 'av', 'h5py', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["/nowhere: no such folder", "[]"]


def install(monkeypatch, **values):
    plugins = EntryPoints(EntryPoint(name, value, catalog.PLUGIN_GROUP) for name, value in values.items())
    monkeypatch.setattr(catalog, "entry_points", lambda *, group: plugins.select(group=group))


def test_installed_plugin(write_readers, clips, tmp_path, monkeypatch):
    module = write_readers("own_readers_plugin")
    sys.path.append(str(tmp_path))
    install(monkeypatch, clips_plugin=f"{module}:Clips", lavdf=f"{module}:Clips", broken_plugin=f"{module}:Nothing")
    assert len(read_records("clips_plugin", clips)) == 2
    assert get_reader("lavdf") is catalog.DATASETS["lavdf"]  # never shadowed
    with pytest.raises(
        AvlocError, match=r"the installed dataset 'broken_plugin' \(own_readers_plugin:Nothing\) cannot be"
    ):
        get_reader("broken_plugin")
    with pytest.raises(
        AvlocError, match=r"unknown dataset 'x', there are: lavdf, .*, json, clips_plugin, broken_plugin;"
    ):
        get_reader("x")


def test_plugin_of_an_installed_distribution(tmp_path, clips):
    """The same through the metadata of a distribution on the path, as pip writes them."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "own_distribution.py").write_text(READER)
    info = tmp_path / "site" / "own_distribution-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-distribution\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[avloc.datasets]\nown-clips = own_distribution:Clips\n")
    code = f"from avloc.datasets.readers.catalog import read_records; print(len(read_records('own-clips', {str(clips)!r})))"
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_home_folder_is_expanded(clips, monkeypatch):
    monkeypatch.setenv("HOME", str(clips.parent))
    assert len(read_records("folder", "~/clips")) == 2
    assert len(read_records("folder", Path("~/clips"))) == 2


def test_wrong_names(tmp_path):
    with pytest.raises(AvlocError, match="no such folder"):
        read_records("lavdf", tmp_path / "x")
    with pytest.raises(AvlocError, match="unknown dataset 'x', there are: lavdf, avdeepfake1m"):
        read_records("x", tmp_path)


def test_clip_that_is_listed_twice(lavdf_entry, write_metadata):
    root = write_metadata("metadata.json", [lavdf_entry, lavdf_entry])
    with pytest.raises(AvlocError, match=r"the clip test/000001\.mp4 is in the metadata twice"):
        read_records("lavdf", root)


def test_empty_split(lavdf_entry, write_metadata):
    root = write_metadata("metadata.json", [])
    with pytest.raises(AvlocError, match="no clips in any split, read as lavdf"):
        read_records("lavdf", root)
    write_metadata("metadata.json", [lavdf_entry])
    with pytest.raises(AvlocError, match="no clips in the split 'dev', read as lavdf"):
        read_records("lavdf", root, "dev")


def test_public_names():
    record = VideoRecord("val/id1/real.mp4", "val")
    assert public_name("avdeepfake1m", record) == public_name("avdeepfake1m++", record) == "id1/real.mp4"
    assert {public_name(name, record) for name in ("lavdf", "folder", "csv", "json")} == {record.file}


def test_val_and_dev_are_one_split_and_a_typo_names_the_split(tmp_path):
    (tmp_path / "metadata.csv").write_text("file,start,end,split\na.mp4,1,2,train\nb.mp4,,,val\n")
    assert [record.file for record in read_records("csv", tmp_path, "dev")] == ["b.mp4"]
    with pytest.raises(AvlocError, match=r"has the splits train, val, got 'tarin' \(did you mean train\?\)"):
        read_records("csv", tmp_path, "tarin")
    with pytest.raises(AvlocError, match=r"lavdf has the splits train, dev, test, got 'tset' \(did you mean test\?\)"):
        read_records("lavdf", tmp_path, "tset")
