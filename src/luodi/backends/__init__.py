"""The only importers of optional packages. One file a package; a missing one is one line naming its extra."""

from __future__ import annotations

import importlib
from types import ModuleType

from luodi.errors import ResourceError
from luodi.messages import tr

# Which extra of pyproject.toml brings which package.
EXTRA = {
    "torch": "train", "safetensors": "train", "transformers": "train", "sklearn": "train", "datasketch": "train",
    "onnx": "compress", "onnxscript": "compress", "nncf": "compress", "onnxruntime": "serve", "openvino": "serve",
    "tokenizers": "serve", "starlette": "serve", "uvicorn": "serve", "pyarrow": "tables", "openpyxl": "tables",
    "jinja2": "report", "PIL": "image", "gguf": "chat", "ray": "cluster", "peft": "lora", "optuna": "search",
    "tensorboard": "track", "mlflow": "track", "sqlalchemy": "tables", "alembic": "track", "wandb": "track",
    "rjieba": "explain", "sknetwork": "understand", "scipy": "understand",
    "torchao": "torchao",
}  # fmt: skip


def need(package: str) -> ModuleType:
    """The imported package; ResourceError naming the extra where it is not installed."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.partition(".")[0]:
            raise
        extra = EXTRA[package.partition(".")[0]]
        message = tr("This needs the package {package}, which is not installed.").format(package=package)
        hint = f'pip install "luodi[{extra}]"'
        raise ResourceError(message, code="extra.missing", hint=hint) from error
