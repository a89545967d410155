"""``python -m smalto``: the command line, as ``torchrun -m smalto train ...`` needs it."""

from smalto.cli import main

if __name__ == "__main__":
    main()
