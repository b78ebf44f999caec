"""What each library's own reader finds of a run: ``python readers.py RUN_DIR``, in the environment of the trackers."""

import json
import os
import struct
import sys
from pathlib import Path

from mlflow.tracking import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from trackio.sqlite_storage import SQLiteStorage
from wandb.proto import wandb_internal_pb2

HEADER, BLOCK = 7, 32768
"""Bytes before a piece of a record, which are those before the first block too; pieces do not cross blocks."""


def wandb_records(data):
    """The records of an offline run, which the library writes as LevelDB writes its log."""
    at, whole = HEADER, b""
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + HEADER])
        whole += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # the whole record, or its last piece
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def wandb(folder):
    (file,) = folder.glob("trackers/wandb/offline-run-*/run-*.wandb")
    steps, config, summary, artifacts = {}, {}, {}, []
    for record in wandb_records(file.read_bytes()):
        if record.HasField("history"):
            found = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
            steps.setdefault(int(found["_step"]), {}).update(found)
        if record.HasField("run"):
            config |= {u.key: json.loads(u.value_json) for u in record.run.config.update}
            project = record.run.project
        if record.HasField("summary"):
            summary |= {u.key: json.loads(u.value_json) for u in record.summary.update}
        if record.HasField("artifact"):
            artifacts += [entry.path for entry in record.artifact.manifest.contents]
    rewards = [[step, found["rollout/reward_mean"]] for step, found in sorted(steps.items()) if step]
    tables = sum("rollouts/training/_type" in found for found in steps.values())
    return {
        "rewards": rewards,
        "project": project,
        "rank": config["lora_rank"],
        "state": summary.get("state"),
        "tables": tables,
        "files": artifacts,
    }


def mlflow(folder):
    client = MlflowClient(f"sqlite:///{folder / 'trackers' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("sums").experiment_id])
    history = client.get_metric_history(run.info.run_id, "rollout/reward_mean")
    return {
        "rewards": [[m.step, m.value] for m in history],
        "rank": int(run.data.params["lora_rank"]),
        "state": run.info.status,
        "tables": len(client.list_artifacts(run.info.run_id, "rollouts")),
        "files": [f.path for f in client.list_artifacts(run.info.run_id, "adapter")],
    }


def tensorboard(folder):
    events = EventAccumulator(str(folder / "trackers" / "tensorboard")).Reload()
    texts = events.Tags()["tensors"]
    return {
        "rewards": [[e.step, e.value] for e in events.Scalars("rollout/reward_mean")],
        "tables": len(events.Tensors("rollouts/training/text_summary")),
        "card": "card/text_summary" in texts,
        "memory_mib": events.Scalars("machine/memory_mib")[-1].value,
    }


def trackio(folder):
    logs = SQLiteStorage.get_logs("sums", "first")
    rewards = [[line["step"], line["rollout/reward_mean"]] for line in logs if "rollout/reward_mean" in line]
    return {"rewards": rewards, "tables": sum("rollouts/training" in line for line in logs)}


READERS = {"wandb": wandb, "mlflow": mlflow, "tensorboard": tensorboard, "trackio": trackio}

if __name__ == "__main__":
    os.environ.setdefault("TRACKIO_DIR", str(Path(sys.argv[1]).parent / "trackio"))
    found = {name: read(Path(sys.argv[1]).absolute()) for name, read in READERS.items()}
    print(json.dumps(found))
