"""``python -m qsm_pipeline``."""

from qsm_pipeline.cli.main import main

if __name__ == "__main__":
    main()
