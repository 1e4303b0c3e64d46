"""`python -m luodi` is `luodi`."""

from luodi.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
