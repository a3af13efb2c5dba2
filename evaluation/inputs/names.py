"""Names of clips in two files > pairs of the same clip, also where one file leaves out folders or the suffix.

Legend: V clips.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from avloc.errors import shown

# Keep the suffix of the name, and of the file. Pairs that agree in more come first.
_KEEP_SUFFIX = ((True, True), (True, False), (False, False))


@dataclass(frozen=True, slots=True)
class NameMatches:
    """Clips that two files name differently.

    Attributes:
        file_by_name: the clip of each name that differs from it.
        ambiguous: names that may be several clips, with two of them; they are left unmatched.
    """

    file_by_name: dict[str, str]
    ambiguous: dict[str, tuple[str, str]]

    def notes(self) -> list[str]:
        """Describe the matches, one line each."""
        lines = []
        if self.file_by_name:
            name, file = next(iter(self.file_by_name.items()))
            count = sum(_last_part(name) != _last_part(file) for name, file in self.file_by_name.items())
            how = f", {count} of them without the suffix" if count else ""
            lines.append(
                f"{len(self.file_by_name)} clips are matched by the end of their path{how}, such as {shown(name)}, which is "
                f"{shown(file)}"
            )
        if self.ambiguous:
            name, files = next(iter(self.ambiguous.items()))
            lines.append(
                f"{len(self.ambiguous)} names fit several clips and are left out, such as {shown(name)}, which may be "
                f"{shown(files[0])} or {shown(files[1])}; a split (--split) may tell them apart"
            )
        return lines


def match_names(names: Sequence[str], files: Sequence[str]) -> NameMatches:
    """Find the clip of each name that is not itself in `files`.

    A name is a clip's if one of the two paths ends with the other, with or without the suffix, and no other clip and no
    other name fits: `000001` is `test/000001.mp4`, and `train/000001.mp4` is not.

    Args:
        names: names of clips, each once (V).
        files: names of the clips that exist.

    >>> match_names(["000001", "data/b.mp4", "c.mp4"], ["test/000001.mp4", "b.mp4", "c.mp4"]).file_by_name
    {'000001': 'test/000001.mp4', 'data/b.mp4': 'b.mp4'}
    """
    own_names = set(files)
    pending = [name for name in names if name not in own_names]
    matched_files = own_names.intersection(names)
    file_by_name: dict[str, str] = {}
    ambiguous: dict[str, tuple[str, str]] = {}
    for keep_name_suffix, keep_file_suffix in _KEEP_SUFFIX:
        if not pending or len(matched_files) == len(own_names):
            break
        candidates = _candidates(pending, files, keep_name_suffix, keep_file_suffix)
        names_of_file: dict[str, int] = {}
        for fitting in candidates.values():
            for file in fitting:
                names_of_file[file] = names_of_file.get(file, 0) + 1
        for name, fitting in candidates.items():
            if len(fitting) > 1:
                ambiguous.setdefault(name, (fitting[0], fitting[1]))
            elif name not in ambiguous and fitting[0] not in matched_files and names_of_file[fitting[0]] == 1:
                file_by_name[name] = fitting[0]
        matched_files |= set(file_by_name.values())
        pending = [name for name in pending if name not in file_by_name]
    in_order = {name: file_by_name[name] for name in names if name in file_by_name}
    return NameMatches(in_order, ambiguous)


def describe_mismatch(
    source: object, names: Sequence[str], files: Sequence[str], files_source: str, notes: Sequence[str]
) -> str:
    """Describe in one line that no name of `source` is one of `files`, with an example of each.

    >>> describe_mismatch("p.json", ["x/1"], ["y/1.mp4"], "the metadata", [])
    'p.json: none of its 1 clips is in the metadata: its names are such as x/1, want such as y/1.mp4'
    """
    if not names:
        return f"{source}: has no clips"
    text = (
        f"{source}: none of its {len(names)} clips is in {files_source}: its names are such as {shown(names[0])}, want "
        f"such as {shown(files[0])}"
    )
    return "; ".join([text, *notes])


def _candidates(
    names: Sequence[str], files: Sequence[str], keep_name_suffix: bool, keep_file_suffix: bool
) -> dict[str, list[str]]:
    """Return the files that fit each name; names that no file fits are left out."""
    names_of_key: dict[str, list[str]] = {}
    names_of_end: dict[str, list[str]] = {}
    for name in names:
        key, *ends = _ends(name, keep_name_suffix)
        names_of_key.setdefault(key, []).append(name)
        for end in ends:
            names_of_end.setdefault(end, []).append(name)
    candidates: dict[str, list[str]] = {}
    for file in files:
        key, *ends = _ends(file, keep_file_suffix)
        fitting = [name for end in (key, *ends) for name in names_of_key.get(end, ())]
        for name in [*fitting, *names_of_end.get(key, ())]:
            candidates.setdefault(name, []).append(file)
    return candidates


def _last_part(name: str) -> str:
    return [*_ends(name, keep_suffix=True)][-1]


def _ends(name: str, keep_suffix: bool) -> Iterator[str]:
    """Yield a path, then its ends: without its first folder, and so on to the bare name."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")] or [""]
    if not keep_suffix:
        stem, dot, _ = parts[-1].rpartition(".")
        parts[-1] = stem if dot and stem else parts[-1]
    for k in range(len(parts)):
        yield "/".join(parts[k:])
