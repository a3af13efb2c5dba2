"""`Provenance`: the record of a result's origin, on every surface: version, checkpoint, inputs, settings, date, command."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from avloc.core.descriptions import NetworkDescription

DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
SHA256 = re.compile(r"[0-9a-f]{64}")
CLIP, PREDICTIONS, METADATA, VERSUS, FIT = "clip", "predictions", "metadata", "versus", "fit"
"""Roles of inputs."""


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """The identity of a file.

    Attributes:
        file: its path or name, as given.
        sha256: hash of its content, as `sha256sum` prints it.
        size_bytes: its size.
        duration_s: of a clip, its length in seconds; None for another file, or if it is unknown.

    >>> FileIdentity("folder/clip.mp4", "ab" * 32, 120_000, 3.2).without_folder().file
    'clip.mp4'
    """

    file: str
    sha256: str
    size_bytes: int
    duration_s: float | None = None

    def without_folder(self) -> FileIdentity:
        """The same file by its name alone."""
        return replace(self, file=PurePath(self.file).name)

    def to_dict(self) -> dict[str, object]:
        """Return the identity as plain JSON values; an unknown length is left out."""
        values: dict[str, object] = {"file": self.file, "sha256": self.sha256, "bytes": self.size_bytes}
        return values if self.duration_s is None else {**values, "duration": round(self.duration_s, 3)}

    @classmethod
    def from_dict(cls, values: object, what: str = "a file") -> FileIdentity:
        """Rebuild an identity from the values of `to_dict`; other keys are ignored.

        Args:
            values: the values.
            what: noun of the file, for an error.

        Raises:
            ValueError: if a value is missing or of the wrong type; names it.
        """
        values = _mapping(what, values)
        duration_s = values.get("duration")
        if duration_s is not None and type(duration_s) not in (int, float):
            raise ValueError(f"{what}'s duration is {duration_s!r}")
        return cls(
            _text(what, values, "file"), _sha256(what, values, "sha256"), _count(what, values, "bytes"), duration_s
        )


@dataclass(frozen=True, slots=True)
class CheckpointIdentity:
    """The identity of a checkpoint, and the material of its training.

    Attributes:
        file: its file.
        name: the network's name and version.
        trained_on: the material of the training, in a few words; empty if it is unknown.

    >>> file = FileIdentity("best.ckpt", "ab" * 32, 120_000)
    >>> list(CheckpointIdentity(file, "avloc-av 3", "drawn faces").to_dict())
    ['file', 'sha256', 'bytes', 'name', 'trained_on']
    """

    file: FileIdentity
    name: str = ""
    trained_on: str = ""

    @classmethod
    def of_network(cls, file: FileIdentity, network: NetworkDescription | None) -> CheckpointIdentity:
        """Return the identity of a file that holds a network.

        >>> CheckpointIdentity.of_network(FileIdentity("a.ckpt", "ab" * 32, 9), NetworkDescription("BATFD")).name
        'BATFD'
        """
        name = "" if network is None else f"{network.name} {network.version}".strip()
        return cls(file, name, "" if network is None else network.scope)

    def without_folder(self) -> CheckpointIdentity:
        """The same checkpoint by its file's name alone."""
        return replace(self, file=self.file.without_folder())

    def to_dict(self) -> dict[str, object]:
        """Return the identity as plain JSON values."""
        return {**self.file.to_dict(), "name": self.name, "trained_on": self.trained_on}

    @classmethod
    def from_dict(cls, values: object) -> CheckpointIdentity:
        """Rebuild an identity from the values of `to_dict`; other keys are ignored.

        Raises:
            ValueError: if a value is missing or of the wrong type; names it.
        """
        what = "a checkpoint"
        values = _mapping(what, values)
        return cls(FileIdentity.from_dict(values, what), _text(what, values, "name"), _text(what, values, "trained_on"))


@dataclass(frozen=True, slots=True)
class Provenance:
    """The record of a result's origin.

    Attributes:
        avloc: version of the package; empty in results of earlier releases, which do not tell it.
        created: the date, in UTC, as `2026-11-26T09:30:00Z`; empty in such results.
        command: the command line; empty for a call from Python.
        settings: the options that change the result, as JSON values; empty for a call from Python.
        checkpoint: the network's file; None: none was asked, or it was made in memory.
        inputs: the files that the result was made of, by role: `clip`, `predictions`, `metadata`, `versus`, `fit`.
        output: the file that a record lies beside; None for a record that lies in its result.

    >>> record = Provenance("0.1.0", "2026-11-26T09:30:00Z", inputs={"clip": FileIdentity("a.mp4", "ab" * 32, 9, 3.2)})
    >>> Provenance.from_dict(record.to_dict()) == record
    True
    """

    avloc: str
    created: str
    command: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    checkpoint: CheckpointIdentity | None = None
    inputs: Mapping[str, FileIdentity] = field(default_factory=dict)
    output: FileIdentity | None = None

    @property
    def clip(self) -> FileIdentity | None:
        """The clip; None for a result of other inputs, or of a clip in memory."""
        return self.inputs.get(CLIP)

    def lies_beside(self, sha256: str) -> bool:
        """Tell whether the record lies beside a file of this hash; else it is of other content."""
        return self.output is not None and self.output.sha256 == sha256

    def without_folders(self) -> Provenance:
        """The same record without folders and command, for people who must not read of them."""
        return replace(
            self,
            command="",
            checkpoint=None if self.checkpoint is None else self.checkpoint.without_folder(),
            inputs={role: file.without_folder() for role, file in self.inputs.items()},
            output=None if self.output is None else self.output.without_folder(),
        )

    def to_dict(self) -> dict[str, object]:
        """Return the record as plain JSON values."""
        values: dict[str, object] = {
            "avloc": self.avloc,
            "created": self.created,
            "command": self.command,
            "settings": dict(self.settings),
            "checkpoint": None if self.checkpoint is None else self.checkpoint.to_dict(),
            "inputs": {role: file.to_dict() for role, file in self.inputs.items()},
        }
        return values if self.output is None else {**values, "output": self.output.to_dict()}

    @classmethod
    def from_dict(cls, values: object) -> Provenance:
        """Rebuild a record from the values of `to_dict`; other keys are ignored.

        Raises:
            ValueError: if a value is missing or of the wrong type; names it.
        """
        what = "a record of provenance"
        values = _mapping(what, values)
        created = _text(what, values, "created")
        if created and not DATE.fullmatch(created):
            raise ValueError(f"{what} was created at {created[:40]!r}, want a date such as 2026-11-26T09:30:00Z")
        checkpoint, output = values.get("checkpoint"), values.get("output")
        return cls(
            _text(what, values, "avloc"),
            created,
            _text(what, values, "command"),
            dict(_mapping("the settings", values.get("settings"))),
            None if checkpoint is None else CheckpointIdentity.from_dict(checkpoint),
            {
                str(role): FileIdentity.from_dict(file)
                for role, file in _mapping("the inputs", values.get("inputs")).items()
            },
            None if output is None else FileIdentity.from_dict(output),
        )


def current_provenance(
    command: str = "",
    settings: Mapping[str, object] | None = None,
    checkpoint: CheckpointIdentity | None = None,
    inputs: Mapping[str, FileIdentity] | None = None,
) -> Provenance:
    """Return the record of a result that is made now, by this version of avloc; see `Provenance` for the arguments.

    >>> current_provenance("avloc localize clip.mp4").created[-1]
    'Z'
    """
    from avloc import __version__

    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Provenance(__version__, created, command, dict(settings or {}), checkpoint, dict(inputs or {}))


def _mapping(what: str, values: object) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise ValueError(f"{what} is {str(values)[:40]!r}, want names with values")
    return values


def _text(what: str, values: Mapping[str, Any], key: str) -> str:
    if not isinstance(values.get(key), str):
        raise ValueError(f"{what} has {key} {str(values.get(key))[:40]!r}, want a text")
    return str(values[key])


def _sha256(what: str, values: Mapping[str, Any], key: str) -> str:
    if not SHA256.fullmatch(text := _text(what, values, key)):
        raise ValueError(f"{what} has {key} {text[:80]!r}, want 64 hexadecimal digits")
    return text


def _count(what: str, values: Mapping[str, Any], key: str) -> int:
    if type(values.get(key)) is not int or values[key] < 0:
        raise ValueError(f"{what} has {key} {str(values.get(key))[:40]!r}, want a number of bytes")
    return int(values[key])
