"""The declared workers: processes of this machine or a Dask cluster."""

from contextlib import AbstractContextManager, nullcontext

from training.errors import StageError
from training.params import Compute
from training.run.processes import Workers


def workers_of(compute: Compute) -> AbstractContextManager[Workers]:
    """The workers of the declared engine, for as long as the block lasts."""
    if compute.engine == "local":
        return nullcontext(Workers(compute))
    # Dask takes a second to import, so it is imported only where it is used.
    try:
        from training.run.cluster import cluster  # noqa: PLC0415
    except ValueError as error:  # a file of its configuration is not valid YAML
        raise StageError(f"Dask cannot start: {' '.join(str(error).split())}") from error

    return cluster(compute)
