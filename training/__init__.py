"""The pipeline: one stage, one module, run by `dvc repro`."""
