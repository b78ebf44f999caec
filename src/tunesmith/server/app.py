"""The app: services on ``app.state``, one shape of errors, the routes of every dialect."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from fastapi import FastAPI

from tunesmith import __version__
from tunesmith.server import errors, files, hub, monitoring, openapi, readiness, request_ids, signed, web
from tunesmith.server.dialects import fireworks, openai, tinker, tunesmith
from tunesmith.server.dialects.fireworks.models import weights_by_name
from tunesmith.server.settings import ServerSettings
from tunesmith.services import rollout_browser
from tunesmith.services.artefacts import open_artefacts
from tunesmith.services.curves import Curves
from tunesmith.services.data_directory import open_both
from tunesmith.services.datasets import Datasets
from tunesmith.services.deployments import Deployments
from tunesmith.services.errands import Errands
from tunesmith.services.evaluators import Evaluators
from tunesmith.services.gateway.book import Books
from tunesmith.services.gateway.held import Rollouts
from tunesmith.services.jobs.job_kinds import EVALUATION
from tunesmith.services.jobs.jobs import Jobs
from tunesmith.services.jobs.scheduler import Scheduler
from tunesmith.services.jobs.workers import Workers
from tunesmith.services.keys import Keys
from tunesmith.services.logins import Logins
from tunesmith.services.mirror import Mirror
from tunesmith.services.model_uploads import ModelUploads
from tunesmith.services.nursery import Nursery
from tunesmith.services.partial_uploads import PartialUploads
from tunesmith.services.records import Records
from tunesmith.services.registry import Registry
from tunesmith.services.renderers import Renderers
from tunesmith.services.secrets import Secrets
from tunesmith.services.sessions.sessions import Sessions
from tunesmith.services.trainers import Trainers
from tunesmith.services.tuned_models import TunedModels

THREADS = 16
"""For what a request does apart, which mostly waits for the disk or the database; as many as there are processors
would wait for each other. The framework has 40 more for plain functions."""
MOST_GRADER_RUNS = 2
"""Graders that are tried out at once; more wait."""


def create_app(settings: ServerSettings) -> FastAPI:
    """Everything that ``tunesmith serve`` answers.

    ``app.state`` holds settings, the services, monitoring, and ``stopping``: an event that is set when the server was
    told to stop, for requests that wait for something.
    """
    app = FastAPI(
        title="Tunesmith",
        version=__version__,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=_services_running,
        generate_unique_id_function=openapi.operation_id,
    )
    store = open_both(settings.data_dir, settings.store_url)
    app.state.settings, app.state.store, app.state.stopping = settings, store, asyncio.Event()
    app.state.keys, app.state.registry, app.state.trainers = Keys(store), Registry(store), Trainers(store)
    app.state.nursery = Nursery()
    app.state.renderers = Renderers(app.state.registry)
    app.state.tuned_models = TunedModels(store, app.state.registry, settings.data_dir / "tuned")
    app.state.deployments = Deployments(store, app.state.registry, app.state.tuned_models)
    app.state.secrets = Secrets(store, settings.data_dir)
    app.state.model_uploads = ModelUploads(store, app.state.registry, app.state.tuned_models, settings.data_dir)
    app.state.books = Books()
    app.state.users = Records(store, "users", "user")
    app.state.evaluation_jobs = Records(store, "evaluationJobs", "evaluation job")
    app.state.datasets = Datasets(store, settings.data_dir, settings.max_dataset_bytes)
    app.state.partial_uploads = PartialUploads(store, settings.data_dir, settings.max_dataset_bytes)
    app.state.evaluators = Evaluators(store, settings.data_dir, app.state.secrets)
    app.state.receivers = {
        "evaluators": app.state.evaluators.upload,
        "datasets": lambda owner, name, _filename: app.state.datasets.upload(owner, name),
        "models": app.state.model_uploads.upload,
    }
    services = (store, app.state.datasets, app.state.evaluators, app.state.registry, settings.data_dir)
    app.state.jobs = Jobs(*services)
    app.state.rollouts = Rollouts(store, app.state.jobs.folders, settings.data_dir)
    app.state.evaluations = Jobs(*services, kinds=(EVALUATION,))
    elsewhere = open_artefacts(settings.artefacts, settings.data_dir) if settings.artefacts else None
    app.state.mirror = None if elsewhere is None else Mirror(store, elsewhere)
    app.state.logins, app.state.curves, app.state.errands = Logins(store), Curves(), Errands(app.state.nursery)
    app.state.grader_runs = asyncio.Semaphore(MOST_GRADER_RUNS)
    errors.install(app)
    monitoring.install(app, monitoring.Monitoring())
    readiness.install(app, readiness.Readiness(store, settings.data_dir, app.state.stopping))
    app.add_middleware(request_ids.RequestIds)
    _include_dialects(app)
    app.include_router(files.router)
    app.include_router(signed.router)
    openapi.install(app)
    app.include_router(web.router)
    # Last, because it lives at the root.
    app.include_router(hub.router)
    return app


def _include_dialects(app: FastAPI) -> None:
    """The routes of each wire."""
    # In this order, because each route is tried until one fits: what is asked most often comes first.
    app.include_router(tinker.router)
    app.include_router(tunesmith.router)
    app.include_router(fireworks.router)
    app.include_router(openai.router)
    app.state.name_rules = (weights_by_name,)


@asynccontextmanager
async def _services_running(app: FastAPI) -> AsyncIterator[None]:
    """Start what has a life of its own before the first request, stop it after the last."""
    state = app.state
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "request"))
    state.sessions = Sessions(state.store, state.registry, state.settings.data_dir, state.nursery)
    await state.sessions.start()
    state.monitoring.watch(state.sessions.status)
    state.readiness.watch(state.sessions.fallen)
    settings = state.settings
    workers = Workers(state.jobs.folders, settings.data_dir, settings.store_url, state.nursery, settings.to_workers())
    if state.mirror is not None:
        await state.mirror.start()
        state.monitoring.watch_artefacts(lambda: state.mirror.waiting)
    scheduler = Scheduler(state.jobs, workers, settings.max_running_jobs)
    await scheduler.start()
    state.partial_uploads.sweep()
    state.evaluators.go_on()
    state.store.started()
    # Apart, because nobody who asks for anything else should wait for it.
    asyncio.get_running_loop().run_in_executor(None, rollout_browser.load)
    try:
        yield
    finally:
        state.evaluators.close()
        await asyncio.gather(scheduler.stop(), state.sessions.stop(), state.errands.stop())
        if state.mirror is not None:
            await state.mirror.stop()
        state.nursery.close()
        state.store.close()
