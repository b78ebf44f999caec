"""What a job leaves: its adapter or model, as a tuned model of its owner that outlives the job."""

import os
import shutil
from pathlib import Path

from tunesmith.core import durable
from tunesmith.core.errors import Conflict, NotFound, UserError
from tunesmith.services.datasets import Datasets
from tunesmith.services.jobs.lease import Lease
from tunesmith.services.jobs.rows import JobRow
from tunesmith.services.registry import EMBEDDED, Registry
from tunesmith.services.run_folder import RunFolder
from tunesmith.services.store import Store
from tunesmith.services.tuned_models import TunedModel, TunedModels, insert, write_card


class Results:
    """Tuned models by name, and the jobs that make them."""

    def __init__(self, store: Store, registry: Registry, data_dir: Path) -> None:
        self._folder = data_dir / "tuned"
        self.models = TunedModels(store, registry, self._folder)

    def check_free(self, owner: str, name: str) -> None:
        """
        Raises:
            Conflict: the owner has a tuned model of that name.
        """
        if self.models.get(owner, name) is not None:
            raise Conflict(name, "is the name of a tuned model already", "Give another output_model, or remove that")

    def adapter(self, owner: str, name: str) -> Path:
        """The adapter that a job may start from.

        Raises:
            NotFound: no tuned model of that name.
            UserError: a whole model.
        """
        model = self.models.find(owner, name)
        if model.whole:
            mend = "Register its folder with tunesmith models add, and give that name as base_model"
            raise UserError(name, "is a whole model, not an adapter", mend)
        return model.folder

    def check_base(self, owner: str, name: str) -> None:
        """Say of a tuned model that it is no base model; nothing of a name that is none at all.

        Raises:
            UserError: it is one.
        """
        model = self.models.get(owner, name)
        if model is not None and not model.whole:
            mend = f"Give {model.base_model} as base_model, and warm_start_from: {name}"
            raise UserError(name, "is not of kind base_model, but HF_PEFT_ADDON (an adapter)", mend)

    def publish(self, job: JobRow, run: RunFolder, lease: Lease) -> TunedModel:
        """Name what a run came to. The files are linked, so that they stay when the job is deleted and take no room.

        Doing it again changes nothing: a worker may be killed just after it.

        Raises:
            Conflict: the name was taken while the job ran.
            LeaseLost: the job is another worker's, and so is its name.
        """
        folder = self._folder / job.id
        made = run.path / ("adapter" if (run.path / "adapter").is_dir() else "model")
        if not folder.is_dir():
            self._folder.mkdir(exist_ok=True)
            with durable.new_folder(folder) as temporary:
                shutil.copytree(made, temporary, copy_function=_link, dirs_exist_ok=True)
                if card := run.card():
                    write_card(temporary, card)
                lease.check()
        base_model = str(job.settings.get("base_model", EMBEDDED))
        row = self.models.row_of(job.owner, job.output_model, base_model, folder, job.id)
        return lease.write(lambda db, _: insert(db, row))


RESULTS = "results.jsonl"
"""In the run folder of an evaluation: a line for every attempt, as evaluation clients write them."""


def publish_results(datasets: Datasets, job: JobRow, run: RunFolder, lease: Lease) -> None:
    """Make the dataset of what an evaluation found; doing it again changes nothing.

    Raises:
        Conflict: the id was taken while the job ran. UserError: the file is larger than datasets may be.
        LeaseLost: the job is another worker's.
    """
    lease.check()
    output = str(job.settings["output_dataset"])
    asked = {"evaluationResult": {"evaluationJobId": job.name}}
    try:
        there = datasets.get(job.owner, output)
    except NotFound:
        there = datasets.create(job.owner, output, display_name=job.display_name, asked=asked)
    if there.asked != asked:
        raise Conflict(output, "was made by somebody else while the job ran", "Take the results from the run folder")
    if there.state == "READY":
        return
    with datasets.upload(job.owner, output) as incoming, (run.path / RESULTS).open("rb") as file:
        while data := file.read(1 << 20):
            incoming.write(data)
    lease.check()
    datasets.finish(job.owner, output)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)
