"""Wrong inputs of every verb: one line that names the cure, exit code 2, nothing written.

Kinds: missing files, a file of another kind, swapped arguments, broken JSON, CSV, HDF5 and mp4, empty folders, wrong units,
places that cannot be written to, names that do not match, typos, numbers out of range, a checkpoint or store of another kind.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avloc.cli.catalog import VERBS
from avloc.cli.main import main
from avloc.core.descriptions import ExtractorDescription, TrainingContext
from avloc.datasets import examples_folder
from avloc.feature_extraction.extractors.catalog import build_extractor
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.shard_tables import shard_name
from avloc.feature_extraction.store.shards import ShardWriter
from avloc.models import BoundaryTransformer
from avloc.models.checkpoint import write_checkpoint

FILES = ("test/a.mp4", "dev/b.mp4", "train/c.mp4")
TEXTS = {
    "text.mp4": "no clip\n",
    "text.ckpt": "no network\n",
    "notes/a.txt": "no clip\n",
    "p.json": '{"test/a.mp4": [[0.9, 1.0, 1.4]], "dev/b.mp4": [[0.4, 1, 2]], "train/c.mp4": [[0.1, 1, 2]]}',
    "other.json": '{"x/1.mp4": [[0.9, 1.0, 1.4]]}',
    "cut.json": '{"test/a.mp4": [[0.9, 1.0',
    "list.json": "[1, 2, 3]",
    "two.json": '{"test/a.mp4": [[0.9, 1.0]]}',
    "word.json": '{"test/a.mp4": [["high", 1.0, 2.0]]}',
    "nan.json": '{"test/a.mp4": [[NaN, 1.0, 2.0]]}',
    "scores.txt": "test/a.mp4;0.9\ndev/b.mp4;0.2\ntrain/c.mp4;0.3\n",
    "comma.txt": "test/a.mp4,0.9\n",
    "twice.txt": "test/a.mp4;0.9\ntest/a.mp4;0.8\n",
    "files.txt": "test/a.mp4\ndev/b.mp4\ntrain/c.mp4\n",
    "list.yaml": "- a\n- b\n",
    "cut.yaml": "model: [1, 2\n",
    "odd.yaml": "model: {class_path: avloc.models.BoundaryTransfomer}\n",
    "no-column/metadata.csv": "file,start\na.mp4,1\n",
    "words/metadata.csv": "file,start,end\na.mp4,one,two\n",
    "swapped/metadata.csv": "file,start,end\na.mp4,2.0,1.0\n",
    "sound/metadata.csv": "file,start,end,modality\na.mp4,1,2,sound\n",
    "semicolon/metadata.csv": "file;start;end\na.mp4;1;2\n",
    "missing/labels.csv": "file,start,end\nnone.mp4,1,2\n",
    "cut-set/metadata.json": '[{"file": "a.mp4", "spl',
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder of right and of wrong files; no case may change it."""
    folder, clip = tmp_path_factory.mktemp("wrong"), (examples_folder() / "both-1.mp4").read_bytes()
    entries = [
        {"file": file, "split": file.split("/")[0], "duration": 4.0, "fake_periods": [[1.0, 1.4]]} for file in FILES
    ]
    entries = [{**entry, "modify_audio": True, "modify_video": True} for entry in entries]
    texts = TEXTS | {"m.json": json.dumps(entries), "set/metadata.min.json": json.dumps(entries)}
    for name, content in {
        **texts,
        "clip.mp4": clip,
        "cut.mp4": clip[:3000],
        "missing/a.mp4": clip,
        "set/test/a.mp4": clip,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "empty").mkdir()
    for name, array in (("npy", np.zeros((5, 3), np.float32)), ("flat", np.zeros(5))):
        (folder / name).mkdir()
        np.save(folder / name / "a.npy", array)
    write_checkpoints(folder)
    write_stores(folder)
    return folder


def write_checkpoints(folder):
    extractors = tuple(build_extractor(name).describe() for name in ("logspec", "residual_grid"))
    network = BoundaryTransformer(audio_dim=513, visual_dim=320, width=8, heads=2, levels=1)
    write_checkpoint(folder / "net.ckpt", network, TrainingContext(0.04, extractors))
    (folder / "cut.ckpt").write_bytes((folder / "net.ckpt").read_bytes()[:5000])
    torch.save({"state_dict": {"a": torch.ones(3)}, "hyper_parameters": {}}, folder / "lightning.ckpt")


def write_stores(folder):
    logspec, grid = (build_extractor(name).describe() for name in ("logspec", "residual_grid"))
    described = (logspec, replace(grid, decoder="pyav"))
    slow, fast = (ExtractorDescription("wave", "audio", hop_s=hop_s, dim=2) for hop_s in (0.04, 0.02))
    for name, extractors in {
        "store": described,
        "waves": (slow,),
        "fast-waves": (fast,),
        "cut-store": (logspec,),
    }.items():
        store = FeatureStore(folder / name)
        for each in extractors:
            path = store.prepare(each) / shard_name(0, FILES)
            with ShardWriter(path, each.dim, store.fingerprint(each.name)) as shard:
                for file in FILES:
                    shard.append(np.zeros((9, each.dim), np.float32))
                    shard.end(file, 0.0)
            if name.startswith("cut"):
                path.write_bytes(path.read_bytes()[:2000])


SYNTH = "synth new --layout lavdf --clips"
EXTRACT = "extract --dataset lavdf --root set --workers 1 --store new --extractors"
IMPORT = "store import new --extractor x --modality audio"
TRAIN = "train --config demo --data.root set --data.store store --trainer.default_root_dir new"
COMPARE = "compare --root set --store store --out new --protocol lavdf --config"
PREDICT = "predict --dataset lavdf --root set --out new.json --store"
EVALUATE = "evaluate p.json m.json --protocol lavdf"
LOCALIZE = "localize clip.mp4 --workers 0 --out new"
CASES = {
    # The command itself
    "evalute p.json m.json": "unknown command 'evalute' (did you mean evaluate?), want one of demo, synth",
    "--quite data info": "(did you mean --quiet?)",
    "--completion fish": "want one of bash, zsh, got 'fish'",
    # demo, synth
    "demo --clips 3 --out new": "a set needs at least 9 clips for its three splits, got 3",
    "demo --clips 1e3 --out new": "want a whole number of at least 0, got '1e3'",
    "demo --out clip.mp4": "clip.mp4: is a file, want the name of a folder",
    "demo --out npy": "npy: is not an empty folder, and no earlier demo; name another --out",
    f"{SYNTH} 9 --seed -1": "--seed: want a whole number of at least 0, got '-1'",
    "synth new --layout lavfd --clips 9": "unknown layout 'lavfd' (did you mean lavdf?)",
    "synth new --clips 9": "the following arguments are required: --layout",
    f"{SYNTH} 9 --speech empty": "empty: no speech recordings (.aac, ",
    # data
    "data infos --dataset lavdf --root set": "(did you mean info?)",
    "data info --dataset lavdff --root set": "unknown dataset 'lavdff' (did you mean lavdf?)",
    "data info --dataset lavdf --root nowhere": "nowhere: no such folder",
    "data info --dataset lavdf --root m.json": "m.json: is a file, want a folder",
    "data info --dataset lavdf --root empty": "no LAV-DF metadata here, want metadata.json or metadata.min.json",
    "data info --dataset avdeepfake1m --root set": "no AV-Deepfake1M metadata here, want train_metadata.json",
    "data info --dataset lavdf --root set --split tset": "has the splits train, dev, test, got 'tset' (did you mean test?)",
    "data info --dataset lavdf --root cut-set": "cut-set/metadata.json: line 1, column 20: not JSON",
    "data info --dataset csv --root no-column": "end is missing (a real clip has a row with empty start and end)",
    "data info --dataset csv --root semicolon": "(separate the columns by commas)",
    "data info --dataset csv --root words": "row 2: start must be a number of seconds, got 'one'",
    "data info --dataset csv --root swapped": "row 2: want 0 ≤ start ≤ end, or neither for a real clip, got 2.0 and 1.0",
    "data info --dataset csv --root sound": "row 2: the modality must be audio, visual or both, got 'sound'",
    "data info --dataset folder --root notes": "no clips in any split, read as folder; want files that end with .3gp,",
    "data info --dataset folder --root missing": "names 1 clips that are not in missing, the first is none.mp4",
    "data info --dataset my.MyDataset --root set": "my.MyDataset: cannot be imported, expected a dataset reader",
    "data info --dataset lavdf --root set --html npy": "npy: is a folder, want the name of a file to write",
    "data check --dataset lavdf --root set --longest 5x": "want a length of time above 0, as 90m, 6h, 1:30 or 45 (seconds)",
    "data sample --dataset lavdf --root set --seed -1": "want a whole number of at least 0, got '-1'",
    # extract
    f"{EXTRACT} logspek": "unknown extractor 'logspek' (did you mean logspec?)",
    f"{EXTRACT} logspec residual_grid": "by commas, without spaces: --extractors logspec,residual_grid",
    f"{EXTRACT} r3d_18": "needs a local weights file (weights=PATH), or random=true",
    f"{EXTRACT} r3d_18:clip.mp4": "clip.mp4: not a checkpoint (torch did not write it); want a state dict of torchvision's",
    f"{EXTRACT} r3d_18:net.ckpt": "net.ckpt: not a state dict of torchvision's r3d_18",
    f"{EXTRACT} logspec:hops=3": "has no argument 'hops', it has: n_fft",
    f"{EXTRACT} logspec --device gpu": "device 'gpu' cannot be used here: unknown, want cpu, cuda,",
    f"{EXTRACT} logspec --crop face": "none of these extractors takes it; it is for visual networks",
    f"{EXTRACT} logspec --copies 2": "name it with --augment, as in --augment light",
    f"{EXTRACT} logspec --augment ligth": "no such recipe (did you mean light?)",
    f"{EXTRACT} logspec --augment list.yaml": "want a mapping of audio and visual to lists of entries",
    f"{EXTRACT} logspec --shard 8/8": "--shard i/n needs 0 <= i < n, got 8/8",
    f"{EXTRACT} logspec --log npy": "npy: is a folder, want the name of a file to write",
    "extract --dataset lavdf --root set --stor new --extractors logspec": "(did you mean --store?)",
    "extract --dataset lavdf --root set --store set --extractors logspec": "is the dataset's folder, into which nothing is",
    "extract --dataset lavdf --root set --store p.json/s --extractors logspec": "p.json is not a folder; name another place",
    # store
    "store lss store": "(did you mean ls?)",
    "store ls nowhere": "nowhere: no such store; avloc extract and avloc store import write one",
    "store ls p.json": "p.json: is a file, want the folder of a store",
    "store verify empty": "empty: no store, it has no features of any extractor",
    "store export store --extractor logspek --out new": "no features of 'logspek', the store has: logspec, residual_grid",
    "store export cut-store --extractor logspec --out new": "a damaged shard (",
    "store export store --extractor logspec --out new --add-suffix .txt": "want an ending of .npy, .npz, .pt,",
    "store export store --extractor logspec --out new --dtype uint8": "can be exported as float32 or float16, got uint8",
    f"{IMPORT} --from npy": "--hop is required, as the folder has no export.json",
    f"{IMPORT} --from npy --hop 25": "at most 10, got 25; for 25 rows per second say 0.04",
    f"{IMPORT} --from npy --hop 40ms": "want a number above 0, got '40ms'",
    f"{IMPORT} --from flat --hop 0.04": "want numbers of shape (rows, numbers), got float64 of shape (5,)",
    f"{IMPORT} --from empty --hop 0.04": "empty: has no .npy, .npz, .pt, .pth, .h5, .hdf5 files",
    "store import waves --from npy --extractor wave --modality audio --hop 0.01": "made with other settings: hop_s was 0.04",
    "store merge new waves fast-waves": "features made with other settings do not go into one store",
    # train, compare
    "train demo": "want options, got 'demo'; a configuration is named by --config demo",
    "train --data.root set --data.store store": "--config is missing, a YAML file or the name of a configuration",
    "train --config demmo": "no such configuration (did you mean demo?)",
    "train --config clip.mp4": "clip.mp4: not a YAML file",
    "train --config list.yaml": "list.yaml: want a configuration with model:, data: and trainer:, got list",
    "train --config odd.yaml": "does not exist (did you mean BoundaryTransformer?)",
    f"{TRAIN} --data.root nowhere": "nowhere: no such folder of the dataset (data.root)",
    f"{TRAIN} --data.store p.json": "p.json: is a file, want the feature store (data.store)",
    f"{TRAIN} --network my_net.MyNet": "no module my_net here; want a class of the current folder or of an installed package",
    f"{TRAIN} --init none.ckpt": "none.ckpt: no such checkpoint",
    f"{TRAIN} --trainer.default_root_dir p.json": "p.json: is a file, want the folder of the run; name another",
    f"{COMPARE} demo --seeds one": "want whole numbers, as 0,1,2, got 'one'",
    f"{COMPARE} demo --split tset": "has the splits train, dev, test, got 'tset' (did you mean test?)",
    f"{COMPARE} demo --extractors logspek": "no features of 'logspek', the store has: logspec, residual_grid",
    f"{COMPARE} cut.yaml": "cut.yaml: not a YAML file",
    # predict
    f"{PREDICT} store --checkpoint text.ckpt": "not a checkpoint (torch did not write it); want one that `avloc train`",
    f"{PREDICT} store --checkpoint cut.ckpt": "cut.ckpt: a damaged checkpoint, it was cut off",
    f"{PREDICT} store --checkpoint lightning.ckpt": "a released one of BA-TFD or BA-TFD+ needs `avloc convert` first",
    f"{PREDICT} store --checkpoint waves": "waves: is a folder, want a checkpoint",
    f"{PREDICT} waves --checkpoint net.ckpt": "waves: no features of 'logspec', the store has: wave",
    f"{PREDICT} p.json --checkpoint net.ckpt": "p.json: is a file, want the folder of a feature store",
    f"{PREDICT} store --checkpoint net.ckpt --tuned p.json": "got no schema; avloc tune writes them",
    f"{PREDICT} store --checkpoint net.ckpt --streams both": "leave it out with a --checkpoint",
    f"{PREDICT} store --checkpoint net.ckpt --decoding aligned": "has no boundary maps; leave out --decoding",
    f"{PREDICT} store --checkpoint net.ckpt --keep 0": "want a whole number of at least 1, got '0'",
    f"{PREDICT} store --network my.Net": "belongs to a checkpoint of your own; name it with --checkpoint",
    "predict --dataset lavdf --root set --store store --out npy": "npy: is a folder, want the name of a file to write",
    # evaluate
    "evaluate m.json p.json --protocol lavdf": "got an object; predictions are named first, metadata second",
    "evaluate p.json m.json": "--protocol is missing, one of lavdf,",
    "evaluate p.json m.json --protocol lavfd": "unknown protocol 'lavfd' (did you mean lavdf?)",
    "evaluate p.json m.json --protocol avdeepfake1m": "no field 'fake_segments', it has: file, split, duration,",
    "evaluate p.json m.json --protocol list.yaml": "not a mapping; a protocol has base, name, segments_field,",
    "evaluate none.json m.json --protocol lavdf": "none.json: no such prediction file",
    "evaluate cut.json m.json --protocol lavdf": "cut.json: line 1, column 26: not JSON",
    "evaluate list.json m.json --protocol lavdf": "list.json: want an object of file: rows, got a list",
    "evaluate two.json m.json --protocol lavdf": "row 0: want [score, start, end], got 2 values: [0.9, 1.0]",
    "evaluate word.json m.json --protocol lavdf": 'row 0: want [score, start, end], got ["high", 1.0, 2.0]',
    "evaluate nan.json m.json --protocol lavdf": "row 0: holds a value that is not finite",
    "evaluate clip.mp4 m.json --protocol lavdf": "not text in UTF-8; want a prediction file",
    "evaluate other.json m.json --protocol lavdf": "its names are such as x/1.mp4, want such as test/a.mp4",
    "evaluate comma.txt m.json --protocol lavdf": "line 1: want file;score, got 'test/a.mp4,0.9'",
    "evaluate twice.txt m.json --protocol lavdf": "line 2: the clip test/a.mp4 is in the file more than once",
    f"{EVALUATE} --split tset": "no clips of the split tset (did you mean test?); it has the splits dev, test, train",
    f"{EVALUATE} --unit frame": "(did you mean frames?)",
    f"{EVALUATE} --ap-ious 0.5 0.75": "by commas, without spaces: --ap-ious 0.5,0.75",
    f"{EVALUATE} --ap-ious 50": "an IoU threshold of AP must be above 0 and at most 1, got 50",
    f"{EVALUATE} --bootstrap 9 --seed -1": "want a whole number of at least 0, got '-1'",
    f"{EVALUATE} --versus none.json": "none.json: no such prediction file",
    f"{EVALUATE} --segments-field fakes": "no field 'fakes', it has: file,",
    # calibrate, fuse, tune
    "calibrate scores.txt": "want either labels to fit on, or --use with a fit, got neither",
    "calibrate scores.txt m.json --protocol lavdf": "labels want --save, the file for the fit",
    "calibrate scores.txt m.json --protocol lavdf --save new.json": "want fake and real ones, got 3 fake of 3",
    "calibrate scores.txt --use p.json --out new.txt": "got no schema; avloc calibrate --save writes one",
    "calibrate scores.txt --use p.json --out new.txt --prior 50": "got '50'; 50 % is 0.5",
    "fuse p.json --labels m.json --protocol lavdf --save new.json": "at least two systems, got 1; avloc calibrate takes one",
    "fuse p.json scores.txt --labels m.json --protocol lavdf --save new.json": "and p.json segments: fuse one kind",
    "fuse p.json p.json --use m.json --out new.json": "got 'list'; avloc fuse --save writes one",
    "tune p.json m.json --protocol lavdf --save new.json": "not a file of raw rows, as avloc predict --raw writes it",
    "tune none.h5 m.json --protocol lavdf --save new.json": "no such file of raw rows; avloc predict --raw writes one",
    # submit
    "submit m.json": "m.json: want an object of file: rows, got a list",
    "submit p.json --files m.json": "want a text file with the name of one clip per line, such as test_files.txt",
    "submit p.json --files clip.mp4": "clip.mp4: not text in UTF-8, want a list of files",
    "submit other.json --files files.txt --out new.zip": "its names are such as x/1.mp4, want such as test/a.mp4",
    "submit p.json --durations p.json": 'want {"file": seconds}',
    "submit p.json --out npy": "npy: is a folder, want the name of a file to write",
    # localize, serve
    "localize": "want clips to localize, or --example alone",
    "localize none.mp4": "none.mp4: no such file or folder",
    "localize https://example.org/a.mp4": "addresses are not opened, download it first",
    "localize empty --out new": "empty: a folder without media files, such as .mp4 or .wav",
    "localize text.mp4 --workers 0 --out new": "text.mp4: cannot be opened as media",
    "localize cut.mp4 --workers 0 --out new": "cut.mp4: cannot be opened as media",
    "localize net.ckpt --checkpoint clip.mp4 --workers 0 --out new": "clip.mp4: not a checkpoint",
    f"{LOCALIZE} --format jsn": "(did you mean json?)",
    f"{LOCALIZE} --format json html": "by commas, without spaces: --format json,html",
    f"{LOCALIZE} --start 5 --end 2": "want --start < --end, got 5 and 2",
    f"{LOCALIZE} --start 1:99": "want a time of at least 0, as 83.5 (seconds), 1:23.5 or 1:02:03",
    f"{LOCALIZE} --start 100": "the start at 100 s is past the clip's end at 4.93 s",
    f"{LOCALIZE} --threshold 50": "want a number within 0 and 1, got '50'; 50 % is 0.5",
    f"{LOCALIZE} --prior 1%": "neither of them, got '1%'; 1 % is 0.01",
    f"{LOCALIZE} --audio-track 7": "has no audio track 7, it has 1 (numbered from 0)",
    f"{LOCALIZE} --device cuda:99": "cannot be used here: ",
    f"{LOCALIZE} --longest 1s": "raise the limit with --longest, or cut the clip into parts",
    f"{LOCALIZE} --thresold 0.5": "(did you mean --threshold?)",
    "localize clip.mp4 --out p.json/x": "want a folder for the output files; choose another --out",
    "serve --port 99999": "want a port of 0 to 65535, got '99999'",
    "serve --longest 30": "want a unit, as 30m or 30s, got '30'",
    "serve --total 100 --largest 200": "want --total of at least --largest (200 MB), got 100",
    "serve --host nowhere.invalid --port 0": "is no address of this machine",
    "localize clip.mp4 --verify none.json": "none.json: no such result of avloc localize",
    "localize clip.mp4 --verify p.json": "so localize the clip again",
    # info
    "info none.json": "none.json: no such file or folder",
    "info p.json --json npy": "npy: is a folder, want the name of a file to write",
    "info text.mp4": "text.mp4: cannot be opened as media",
    "info empty": "is nothing that avloc knows; want a training run, ",
    # convert
    "convert none.ckpt --out new.ckpt": "none.ckpt: no such checkpoint or prediction file",
    "convert net.ckpt --out new.ckpt": "is one of avloc already, not a released one",
    "convert p.json --out p.json": "would be overwritten; name another --out",
    "convert p.json --out new.ckpt": "predictions are written as .json, .pkl, .pickle, .rttm; name such a file, or the --form",
    "convert cut.json --out new.json": "cut.json: line 1, column 26: not JSON",
}


def test_every_verb_meets_wrong_inputs():
    assert {words.partition(" ")[0] for words in CASES} >= set(VERBS)
    assert len(CASES) > 60


@pytest.mark.parametrize("words", CASES)
def test_a_wrong_input_is_one_line_with_the_cure(words, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    assert main(shlex.split(words)) == 2
    captured = capsys.readouterr()
    verb = words.partition(" ")[0]
    assert captured.err.startswith(f"avloc {verb}: error: " if verb in VERBS else "avloc: error: ")
    assert captured.err.count("\n") == 1
    assert captured.err.endswith("\n")
    assert CASES[words] in captured.err
    assert captured.out == ""
    assert sorted(folder.rglob("*")) == before
