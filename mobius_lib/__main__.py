"""`python -m mobius_lib` is the same as `mobius`."""

from mobius_lib.cli import main

if __name__ == "__main__":
    main()
