"""The verbs of the command line, with a line of help each, and their modules."""

from importlib import import_module
from types import ModuleType

VERBS = {
    "demo": "run the whole pipeline on generated clips, with a report",
    "synth": "generate a labelled set of real media files",
    "data": "summarize, check and draw a dataset",
    "extract": "cache the features of a dataset's clips",
    "store": "inspect, verify, export, import and merge feature stores",
    "train": "train a network on cached features, or on the clips",
    "compare": "train and score configurations or representations, with seeds, in one table",
    "predict": "predict the fake segments of a split of a dataset",
    "evaluate": "score predictions with AP and AR",
    "calibrate": "turn scores into log-likelihood ratios, fitted on labels",
    "fuse": "fuse the clip scores or segments of several systems",
    "tune": "search the settings of decoding that score best on validation rows",
    "submit": "check, repair and zip a challenge submission",
    "localize": "find the fake segments of clips",
    "info": "tell what a file or folder is, and what to do with it next",
    "serve": "serve a web page that localizes uploaded clips",
    "convert": "convert a released checkpoint of BA-TFD or BA-TFD+, or predictions",
}
# A verb lies in the file or folder of its name; these lie in a folder together.
FOLDERS = {"calibrate": "scores", "fuse": "scores", "tune": "scores"}


def import_verb(verb: str) -> ModuleType:
    """Import the module of a verb, with its `parse` and `run`.

    >>> import_verb("fuse").__name__
    'avloc.cli.scores.fuse'
    """
    folder = f"{FOLDERS[verb]}." if verb in FOLDERS else ""
    return import_module(f"avloc.cli.{folder}{verb}")
