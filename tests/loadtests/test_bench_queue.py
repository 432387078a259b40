"""M/D/k against what is known of it without a simulation."""

from __future__ import annotations

import numpy as np
import pytest

from loadtests.bench_queue import p99_sojourn, sojourns


def test_nobody_waits_where_hardly_anybody_comes() -> None:
    """The 99th percentile of an idle queue is the service time."""
    assert p99_sojourn(rate=0.01, service_seconds=0.01, servers=2) == pytest.approx(0.01)


def test_the_mean_wait_of_one_server_is_pollaczek_khinchines() -> None:
    """M/D/1 at load ρ: ρ / (2 (1 − ρ)) service times."""
    load = 0.7
    waits = sojourns(rate=load, service_seconds=1.0, servers=1, customers=200_000) - 1.0

    assert float(np.mean(waits)) == pytest.approx(load / (2 * (1 - load)), rel=0.05)


def test_more_servers_at_equal_load_wait_less() -> None:
    """Three servers share their bad luck."""
    assert p99_sojourn(2.1, 1.0, 3) < p99_sojourn(0.7, 1.0, 1)


def test_an_overload_has_no_percentile() -> None:
    """The queue would grow for ever."""
    with pytest.raises(ValueError, match="overload"):
        p99_sojourn(3.0, 1.0, 3)
