"""MLflow: a SQLite file of the project, or the server that MLFLOW_TRACKING_URI names. Its client alone (mlflow-skinny):
the page comes with the whole package."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from luodi.backends import need
from luodi.core.tracking import Run

_TAG = "luodi.run"
_LONGEST = 500  # letters of a parameter that every server takes
# Nothing about the user is sent to the makers; a server that is away is given up after seconds, not minutes.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}  # fmt: skip


class Mlflow:
    """The run is found again by a tag, for a server gives it a number of its own."""

    def __init__(self) -> None:
        self._client: Any = None
        self._id = ""
        self._is_over = False
        self._held: dict[str, int] = {}

    def begin(self, run: Run) -> str:
        place = os.environ.get("MLFLOW_TRACKING_URI") or _database(run)
        self._client = need("mlflow").MlflowClient(tracking_uri=place)
        experiment = self._experiment(run, is_local=place.startswith("sqlite:"))
        found = self._client.search_runs([experiment], filter_string=f"tags.`{_TAG}` = '{run.name}'")
        if found:
            self._go_on(found[0])
        else:
            made = self._client.create_run(experiment, tags={_TAG: run.name}, run_name=run.name)
            self._id = made.info.run_id
            parameter = need("mlflow.entities").Param
            told = [parameter(name, str(value)[:_LONGEST]) for name, value in run.settings.items()]
            for start in range(0, len(told), 100):  # as many as one request may hold
                self._client.log_batch(self._id, params=told[start : start + 100])
        return f'mlflow ui --backend-store-uri "{place}"' if place.startswith("sqlite:") else place

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        metric, now = need("mlflow.entities").Metric, int(1000 * time.time())
        new = {name: value for name, value in numbers.items() if step > self._held.get(name, -1)}
        self._client.log_batch(self._id, metrics=[metric(name, value, now, step) for name, value in new.items()])

    def end(self, step: int, numbers: Mapping[str, float]) -> None:
        if self._is_over:
            return
        self.log(step, {f"final.{name}": number for name, number in numbers.items()})
        self._client.set_terminated(self._id, "FINISHED" if numbers else "KILLED")

    def _experiment(self, run: Run, *, is_local: bool) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or run.project
        found = self._client.get_experiment_by_name(name)
        if found:
            return str(found.experiment_id)
        files = (run.folder / "mlflow" / "files").absolute().as_uri() if is_local else None
        return str(self._client.create_experiment(name, artifact_location=files))

    def _go_on(self, run: Any) -> None:
        """MLflow keeps a point that is logged again as a second one: the last step of each number is asked for."""
        self._id, self._is_over = run.info.run_id, run.info.status == "FINISHED"
        for name in run.data.metrics:
            self._held[name] = max(point.step for point in self._client.get_metric_history(self._id, name))
        if not self._is_over:
            self._client.set_terminated(self._id, "RUNNING")


def _database(run: Run) -> str:
    need("sqlalchemy"), need("alembic")
    folder = run.folder / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{(folder / 'mlflow.db').absolute().as_posix()}"


def tracker() -> Mlflow:
    """Raises ResourceError where the package is not installed."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)  # read when the package is imported
    need("mlflow")
    return Mlflow()
