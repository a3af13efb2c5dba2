"""Package layout: three folders beside `avloc/` are installed as its sub-packages, never as top-level names."""

from pathlib import Path

from setuptools import setup

BESIDE = ("configs", "datasets", "evaluation", "feature_extraction")


def packages_in(folder: str, name: str) -> list[str]:
    """Return the package `name` in `folder` and all packages below it, without those behind a link."""
    folders = [p.parent.relative_to(folder) for p in Path(folder).rglob("__init__.py")]
    linked = {link for link in BESIDE if (Path(folder) / link).is_symlink()}
    return [".".join([name, *p.parts]) for p in sorted(folders) if not linked & set(p.parts[:1])]


setup(
    packages=[
        "avloc.configs",
        *packages_in("avloc", "avloc"),
        *(name for folder in BESIDE[1:] for name in packages_in(folder, f"avloc.{folder}")),
    ],
    package_dir={"avloc": "avloc", **{f"avloc.{folder}": folder for folder in BESIDE}},
    package_data={
        "avloc": ["py.typed"],
        "avloc.augment": ["recipes/*.yaml"],
        "avloc.localization": ["*.json"],
        "avloc.localization.pages": ["*.css", "*.js"],
        "avloc.web": ["*.css", "*.html", "*.js"],
        "avloc.models": ["pretrained/*", "whisper/weights/*"],
        "avloc.configs": ["*.yaml", "*/*.yaml"],
        "avloc.datasets": [
            "synthetic/speech/*",
            "synthetic/speech/*/*",
            "synthetic/weights/*",
            "synthetic/example_clips/*",
        ],
        "avloc.evaluation": ["reporting/*.css", "reporting/*.js"],
        "avloc.feature_extraction": ["media/faces/weights/*"],
    },
)
