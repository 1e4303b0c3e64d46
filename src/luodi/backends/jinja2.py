"""Pages out of templates. Everything a template prints is escaped: reviews and labels are written by strangers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def render_chat(template: str, messages: Sequence[Mapping[str, str]]) -> str:
    """A chat template of the kind that models bring along, with the opening of an answer. Templates come out of
    strangers' files: they run in a sandbox, and see the messages and nothing else."""
    sandbox = need("jinja2.sandbox")
    environment = sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    made: str = environment.from_string(template).render(messages=list(messages), add_generation_prompt=True)
    return made
