"""The catalogue stage: check the declared catalogues of text fields, and write one table for later stages."""

from functools import partial

from training.data.catalogue import read_catalogues
from training.declaration import declared_scorer
from training.run.command import run
from training.run.files import BUILD, write_whole
from training.run.progress import say


def main(name: str) -> None:
    """Read one scorer's catalogues: `python -m training.catalogue refund`."""
    catalogue = read_catalogues(declared_scorer(name))
    write_whole(BUILD / name / "catalogue.csv", partial(catalogue.to_csv, index=False))
    say(f"{len(catalogue):,} names in {catalogue['field'].nunique()} catalogues")


if __name__ == "__main__":
    run(main)
