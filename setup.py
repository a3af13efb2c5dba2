"""Where the packages lie: three folders beside `avloc/` are installed as its sub-packages, never as top-level names."""

from pathlib import Path

from setuptools import setup

BESIDE = ("configs", "datasets", "evaluation", "feature_extraction")


def packages_in(folder: str, name: str) -> list[str]:
    """The package `name` in `folder` and all below it."""
    found = [p.parent.relative_to(folder) for p in Path(folder).rglob("__init__.py")]
    return [".".join([name, *p.parts]) for p in sorted(found)]


setup(
    packages=[
        "avloc",
        "avloc.cli",
        "avloc.configs",
        "avloc.models",
        "avloc.models.encoders",
        "avloc.output",
        "avloc.web",
    ]
    + [name for folder in BESIDE[1:] for name in packages_in(folder, f"avloc.{folder}")],
    package_dir={"avloc": "avloc", **{f"avloc.{folder}": folder for folder in BESIDE}},
    package_data={
        "avloc": ["py.typed"],
        "avloc.output": ["*.css", "*.js", "*.json"],
        "avloc.configs": ["*.yaml", "*/*.yaml"],
        "avloc.datasets": ["speech/*", "speech/*/*"],
    },
)
