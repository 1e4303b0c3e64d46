"""Every error that Luodi raises on purpose, drawn as a tree.

    LuodiError                 one line for the user: what, where, what to do; a stable code
    |-- InputError    exit 2   what the user gave cannot be used
    |   |-- UsageError         the command line
    |   |-- ConfigError        luodi.yaml: unknown key, wrong type, impossible value
    |   `-- DataError          a file, a column, a row
    |-- ResourceError exit 2   the machine lacks something: disk, an extra, packaged weights
    |-- BundleError   exit 2   a Bundle does not open: altered, truncated, of another format
    `-- ParityError   exit 1   what would be served is not what was tested

Anything else that escapes is a fault of ours: exit 3, with the traceback in a file.
"""

from __future__ import annotations


class LuodiError(Exception):
    """`message` says what and where, `hint` what to do; both in the user's language."""

    exit_code = 3

    def __init__(self, message: str, *, code: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint

    def __str__(self) -> str:
        space = "" if self.message.endswith("。") else " "  # Chinese sets none between sentences
        return f"{self.message}{space}{self.hint}".strip()


class InputError(LuodiError):
    exit_code = 2


class UsageError(InputError):
    pass


class ConfigError(InputError):
    pass


class DataError(InputError):
    pass


class ResourceError(LuodiError):
    exit_code = 2


class BundleError(LuodiError):
    exit_code = 2


class ParityError(LuodiError):
    exit_code = 1
