"""`python -m maskline`: the same as the `maskline` command."""

from maskline.cli import main

if __name__ == "__main__":
    main()
