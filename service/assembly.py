"""Assembly: the service's parts, built from settings in order and closed in reverse. It does not know HTTP.

metrics → embedded Redis → inference threads → model repository, history stores → ranking, prefetching, events →
histories
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict

from model.bundle import BundleError, Manifest, Surface
from service.admission import Admission
from service.bodies import BODIES_AT_A_TIME, BodyBudget
from service.bundle_metrics import BundleMetrics
from service.bundles import load_beside, load_model
from service.crowd import Crowd
from service.dashboard import Recorder
from service.embedded_redis import EmbeddedRedis, EmbeddedRedisError
from service.encoded import EncodedHistoryCache
from service.errors import Unavailable
from service.events import EventLog, EventsService
from service.health import Readiness
from service.histories import HistoryStore
from service.keys import ApiKeys
from service.loading import LoadingFailed, load_histories
from service.lookups import HistoryLookup
from service.loop_lag import sampling_loop_lag
from service.metrics import Metrics
from service.models import LoadedModel
from service.namespaces import Namespaces
from service.observation import Observers
from service.offline import StartFailed, history_store, verify_stores
from service.prefetch import Prefetching
from service.ranking import RankingService
from service.repository import LoadResult, ModelRepository
from service.runtime import InferencePool
from service.settings import Settings
from service.shadow import ShadowComparison
from service.tracing import Tracer
from service.watchdog import Watchdog

log = logging.getLogger(__name__)

_LOOP_SHARE = 0.5  # of the store's timeout: longest that a reply of the store may wait for the event loop


class State(TypedDict):
    """What requests read. App-lifetime."""

    settings: Settings
    metrics: Metrics
    readiness: Readiness
    models: ModelRepository
    stores: Mapping[str, HistoryStore]
    encoded: EncodedHistoryCache
    ranking: RankingService
    crowd: Crowd
    prefetching: Prefetching
    events: EventsService
    recorder: Recorder
    tracer: Tracer | None
    shadow: ShadowComparison
    keys: ApiKeys | None
    body_budget: BodyBudget


@asynccontextmanager
async def open_service(settings: Settings, readiness: Readiness, histories: Path | None = None) -> AsyncIterator[State]:
    """The running service. `histories`: a file to load before it is ready. Raises StartFailed."""
    async with AsyncExitStack() as stack:
        try:
            state = await _open(settings, readiness, histories, stack)
        except (BundleError, EmbeddedRedisError, LoadingFailed, Unavailable, ValueError) as error:
            raise StartFailed(f"cannot start: {error}") from error
        readiness.phase = "serving"
        try:
            yield state
        finally:
            readiness.phase = "draining"


async def _open(settings: Settings, readiness: Readiness, histories: Path | None, stack: AsyncExitStack) -> State:
    metrics = Metrics()
    tracer = _tracer(settings, stack)
    keys = None if settings.api_keys_file is None else ApiKeys(settings.api_keys_file)
    url = settings.redis_url.get_secret_value() if settings.redis_url else _embedded(stack)

    pool = InferencePool(settings.inference_threads, metrics.queued, settings.inference_niceness)
    watchdog = Watchdog(lambda: pool.longest, readiness, settings.inference_hang_seconds)
    stack.enter_context(watchdog.watching())
    stack.callback(pool.close)  # it waits for every thread, and is watched
    encoded = EncodedHistoryCache(settings.encoded_cache_bytes, metrics.cache_event)

    async def elsewhere() -> list[HistoryStore]:
        return await namespaces.unused(await asyncio.to_thread(models.manifests))

    events = EventsService(elsewhere=elsewhere)
    namespaces = Namespaces(partial(history_store, settings, url), events, may_be_empty=histories is not None)
    stack.push_async_callback(namespaces.close)

    async def load(directory: Path) -> LoadedModel:
        if readiness.serving:
            return await load_beside(directory, pool, settings)
        return await asyncio.to_thread(load_model, directory, pool, settings)

    models = ModelRepository(settings.model_repository, load, _Surroundings(namespaces, encoded, metrics.bundles))
    await models.open()
    stores = namespaces.stores
    await verify_stores(stores.values())

    admission = Admission.from_settings(settings)
    # Those of the non-amortized mode are inside for long, and on the event loop hardly ever.
    fewest = 2 * settings.inference_threads + settings.non_amortized_permits
    crowd = Crowd(_LOOP_SHARE * settings.store_timeout_ms / 1e3, fewest)
    metrics.watch_cache(encoded)
    metrics.watch_inflight(admission.in_flight)
    metrics.watch_readiness(lambda: readiness.serving)
    metrics.watch_stores(stores)
    metrics.watch_pool(pool, settings.inference_threads)
    await stack.enter_async_context(sampling_loop_lag(metrics.loop_lag))
    loop = asyncio.get_running_loop()
    metrics.watch_tasks(lambda: len(asyncio.all_tasks(loop)))
    observer = metrics if tracer is None else Observers(metrics, tracer)
    lookup = HistoryLookup(stores, settings.on_history_failure)
    ranking = RankingService(settings, models, lookup, encoded, admission, observer)
    prefetching = Prefetching(settings.prefetch_pending, models, lookup, encoded, metrics.prefetched)
    await stack.enter_async_context(prefetching.running())
    shadow = ShadowComparison(settings.shadow_fraction, stores, metrics.shadow, random.random)
    await stack.enter_async_context(shadow.running())

    if histories is not None:
        await _load_histories(histories, namespaces.logs)
        namespaces.may_be_empty = False
    recorder = await stack.enter_async_context(Recorder(metrics.samples).running())
    return State(
        settings=settings,
        metrics=metrics,
        readiness=readiness,
        models=models,
        stores=stores,
        encoded=encoded,
        ranking=ranking,
        crowd=crowd,
        prefetching=prefetching,
        events=events,
        recorder=recorder,
        tracer=tracer,
        shadow=shadow,
        keys=keys,
        body_budget=BodyBudget(BODIES_AT_A_TIME * settings.max_body_bytes),
    )


def _embedded(stack: AsyncExitStack) -> str:
    url = stack.enter_context(EmbeddedRedis()).url
    log.info("no RANKER_REDIS_URL: histories are kept in an embedded Redis and end with this process")
    return url


def _tracer(settings: Settings, stack: AsyncExitStack) -> Tracer | None:
    if settings.tracing_endpoint is None:
        return None
    tracer = Tracer(settings.tracing_endpoint, settings.tracing_fraction, version("rankonce"))
    stack.push_async_callback(asyncio.to_thread, tracer.close)
    return tracer


@dataclass(frozen=True)
class _Surroundings:
    """What follows when another model serves: its histories, the encodings that are kept, the metrics."""

    namespaces: Namespaces
    encoded: EncodedHistoryCache
    metrics: BundleMetrics

    def admitted(self, model: LoadedModel, others: Sequence[Manifest]) -> AbstractAsyncContextManager[None]:
        return self.namespaces.admitted(model, others)

    def changed(self, serving: Mapping[Surface, LoadedModel], surface: Surface, old: LoadedModel | None) -> None:
        self.namespaces.changed(serving, surface, old)
        if old is not None:
            self.encoded.forget_bundle(old.identity)
        for model in serving.values():
            self.encoded.welcome_bundle(model.identity)
        self.metrics.serve(model.manifest for model in serving.values())

    def counted(self, surface: Surface, result: LoadResult) -> None:
        self.metrics.counted(surface, result)


async def _load_histories(path: Path, logs: tuple[EventLog, ...]) -> None:
    report = await load_histories(path, logs)
    log.info("loaded %d histories with %d actions from %s", report.members, report.actions, path)
