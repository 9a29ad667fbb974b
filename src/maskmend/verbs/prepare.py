"""A data set of what people have: a folder of theirs, or the archive of a public one."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.dataset import Dataset
from ..errors import InputError
from ..prepare import THRESHOLD, prepare_recipe
from ..prepare import prepare as of_folder
from ..prepare.recipes import Recipe, find, recipes


@dataclass(frozen=True)
class Prepared:
    """What was made."""

    dataset: Dataset

    def table(self) -> str:
        made, data = self.dataset, shlex.quote(str(self.dataset.root))
        return (
            f"{made.root}: {len(made.train)} training and {len(made.test)} test cases.\n"
            f"Next: maskmend audit {data} -o AUDIT\n"
            f"  or: maskmend train {data} -o RUN"
        )


@dataclass(frozen=True)
class Recipes:
    """What is known of public data sets; of one, all of it."""

    found: tuple[Recipe, ...]

    def table(self) -> str:
        if len(self.found) == 1:
            return _told(self.found[0], ("from", "terms", "cite", "holds", "makes"))
        more = "What an archive holds, and what becomes of it: maskmend prepare NAME."
        return "\n\n".join([*(_told(recipe, ("from", "terms")) for recipe in self.found), more])


def prepare(
    source: str | Path | None,
    output: Path | None = None,
    *,
    archive: Path | None = None,
    test: float = 0.0,
    threshold: int = THRESHOLD,
    seed: int = 0,
    partial: bool = False,
    allow_empty: bool = False,
    structures: Sequence[str] = (),
) -> Prepared | Recipes:
    """Make an nnU-Net data set at ``output``.

    Args:
        source: a folder that ``prepare.prepare`` understands; or, with ``archive``, the name of a recipe. Without
            ``output``, what is said of the recipe is returned, without a source what is said of all.
        archive: of a public data set, as it was downloaded: a folder, or a .zip or .tar.
        test, threshold, seed: as ``prepare.prepare`` takes them; a recipe takes the seed alone.
        partial: take an archive that is not whole.
        allow_empty: take masks most of which are empty; dataset.json then says that it is right.
        structures: of the masks of DICOM series, take these alone, as classes 1, 2, … in this order; by default all.

    Raises:
        InputError: nothing was understood, or it is not what it should be.
    """
    if source is None:
        return Recipes(tuple(recipes().values()))
    if archive is not None:
        recipe = find(str(source))
        if output is None:
            raise InputError(f"there is no place for {recipe.title}; name a new folder with -o.")
        given = {f"test={test:g}": test, f"threshold={threshold}": threshold != THRESHOLD, "allow_empty": allow_empty}
        given["structures"] = bool(structures)
        if needless := [word for word, asked in given.items() if asked]:
            raise InputError(f"{recipe.name} has its own test cases and masks; leave {needless[0]} out.")
        return Prepared(prepare_recipe(recipe.name, archive, output, partial, seed))
    if partial:
        raise InputError("partial is for the archive of a public data set, --from ARCHIVE; leave it out.")
    if not Path(source).exists() and str(source) in recipes():
        if output is None:
            return Recipes((recipes()[str(source)],))
        raise InputError(f"say where the archive of {source} is: --from ARCHIVE; {recipes()[str(source)].home} has it.")
    if output is None:
        example = f"maskmend prepare {shlex.quote(str(source))} -o Dataset001_Name"
        raise InputError(f"there is no place for the data set of {source}; name a new folder with -o: {example}.")
    return Prepared(of_folder(Path(source), output, test, threshold, seed, allow_empty, structures))


def _told(recipe: Recipe, words: tuple[str, ...]) -> str:
    known = {
        "from": recipe.home,
        "terms": recipe.terms,
        "cite": recipe.cite,
        "holds": recipe.layout,
        "makes": recipe.makes,
    }
    lines = [f"{recipe.name}: {recipe.title}", *(f"{word}: {known[word]}" for word in words)]
    return "\n".join(textwrap.fill(line, 110, subsequent_indent="    ") for line in lines)
