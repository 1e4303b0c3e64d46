"""Pages out of templates. Everything a template prints is escaped: reviews and labels are written by strangers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luodi.backends import need


def render(templates: Mapping[str, str], name: str, context: Mapping[str, Any]) -> str:
    """The template `name` out of `templates` (name to source). A key that is absent counts as false, at any depth."""
    library = need("jinja2")
    environment = library.Environment(
        loader=library.DictLoader(dict(templates)), autoescape=True, undefined=library.ChainableUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    page: str = environment.get_template(name).render(dict(context))
    return page
