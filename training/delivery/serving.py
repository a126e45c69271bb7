"""Loads versions as a function would: the one that scores or is monitored, its bundle, and its lists."""

from handler.releases.lists import Lists, ListsError, read_lists
from handler.releases.store import StoreError, read_bundle
from handler.releases.swap import load_released
from handler.scoring.bundle import FILES, MANIFEST, BundleError, parse_bundle
from handler.scoring.contract import Contract
from handler.scoring.scorer import Scorer, load_scorer, verified_scorer
from handler.settings import SETTINGS
from training.delivery.store_writer import STORE, VERSION, StoreWriter, open_store_writer, read_current_pointer
from training.errors import StageError
from training.run.files import BUNDLES
from training.run.progress import warn_once


def chosen_bundle(name: str, version: str, address: str) -> tuple[Scorer, dict[str, bytes]]:
    """The given version, else the serving one (the store's current, else the packaged); verified, with files by name.

    Raises StageError, BundleError or StoreError if there is none, or if it may not be served.
    """
    store = open_store_writer(address)
    if version and not VERSION.fullmatch(version):
        raise StageError(f"VERSION is {version!r}; it must be twelve hexadecimal digits, as `make releases` lists them")
    if not version:
        pointer, _ = read_current_pointer(store, name)
        version = (pointer and pointer.current) or ""
    if version:
        scorer = load_released(store, name, version, public_keys=SETTINGS.store_public_key)
        return scorer, read_bundle(store, name, version)
    folder = BUNDLES / name
    if not folder.is_dir():
        raise StageError(f"there is no bundle of {name}, neither in {store} nor in {folder}; `make train` packages one")
    if address != STORE:
        warn_once(f"{store} holds no release of {name} (STORE names the store); the packaged bundle is used")
    try:
        contents = {file: (folder / file).read_bytes() for file in (MANIFEST, *FILES)}
    except OSError as error:
        raise BundleError(f"{folder} is incomplete: {error}") from error
    return verified_scorer(parse_bundle(contents, str(folder)), str(folder)), contents


def monitored_scorer(name: str, address: str) -> tuple[Scorer, str]:
    """The serving scorer whose baseline a log is compared with, and its origin: the store, else the packaged bundle."""
    try:
        store = open_store_writer(address)
        pointer, _ = read_current_pointer(store, name)
        if pointer and pointer.current:
            return load_released(store, name, pointer.current), f"released in {store}"
    except StoreError as error:
        raise StageError(f"{name} cannot be read from the store: {error}") from error
    folder = BUNDLES / name
    return load_scorer(folder), f"packaged in {folder}, because {store} holds no release of {name}"


def served_lists(
    store: StoreWriter, scorer: str, contract: Contract, key: bytes, public_keys: tuple[bytes, ...] = ()
) -> Lists | None:
    """The served lists: those that a function with this store applies; None if there are none.

    Raises StageError if there are some and a function would refuse them.
    """
    pointer, _ = read_current_pointer(store, scorer)
    if pointer is None or pointer.lists is None:
        return None
    try:
        file = read_lists(store, scorer, pointer.lists, public_keys, key)
    except ListsError as error:
        raise StageError(str(error)) from error
    return Lists(pointer.lists, file, contract, key)


def released_scorer(store: StoreWriter, scorer: str, version: str) -> Scorer:
    """A released version, as a function with this environment's STORE_PUBLIC_KEY would load it.

    Raises StageError if there is none, and what `load_released` raises if it may not serve.
    """
    if version not in (versions := store.names(f"{scorer}/bundles")):
        released = f"the released ones are {', '.join(versions)}" if versions else "none is released yet"
        raise StageError(f"{scorer} has no released version {version!r}; {released} (`make release` adds one)")
    return load_released(store, scorer, version, public_keys=SETTINGS.store_public_key)
