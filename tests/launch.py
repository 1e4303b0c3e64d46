"""A program for torchrun: processes that learn together, one of which lacks memory. `launch.py FOLDER`"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from cramped import Cramped
from luodi.core.config import Brief
from luodi.errors import LuodiError
from luodi.stages.train.config import TrainSettings
from luodi.stages.train.launched import lead
from luodi.stages.train.train import train
from tiny import make_dataset

SETTINGS = TrainSettings(epochs=1, tokens_per_batch=96, max_length=24, wide=False, evaluations=4, precision="float32")
BRIEF = Brief(task="text_classification", data="reviews.csv", input="text", target="label", model="bert:tiny")


def learn() -> int:
    data, folder = make_dataset(), Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    try:
        train(Cramped(), data.train, data.validation, BRIEF, SETTINGS, folder)
    except LuodiError as error:
        logging.getLogger("luodi").error(error.message)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(lead(learn))
