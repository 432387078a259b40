"""M/D/k: what a queue of Poisson arrivals, one fixed service time and k servers makes its customers wait.

The yardstick for a service's tails: nobody can do better with as many threads at that rate. It does not know requests.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CUSTOMERS = 400_000
_WARM_UP = 0.05  # share of the customers, who find the queue emptier than it will be


def sojourns(rate: float, service_seconds: float, servers: int, customers: int, seed: int = 0) -> NDArray[np.float64]:
    """Seconds from arrival to departure of each customer, in order of arrival. rate: arrivals a second."""
    arrivals = np.cumsum(np.random.default_rng(seed).exponential(1.0 / rate, customers)).tolist()
    departures: list[float] = []
    for number, arrival in enumerate(arrivals):
        # Equal service times keep the order, so customer n takes the place of customer n − k.
        free = departures[number - servers] if number >= servers else 0.0
        departures.append(max(arrival, free) + service_seconds)
    return np.asarray(departures) - np.asarray(arrivals)


def p99_sojourn(rate: float, service_seconds: float, servers: int) -> float:
    """Seconds. Raises ValueError where the queue would grow for ever."""
    if rate * service_seconds >= servers:
        raise ValueError(f"{rate:.1f} arrivals/s of {service_seconds * 1e3:.2f} ms overload {servers} servers")
    spent = sojourns(rate, service_seconds, servers, CUSTOMERS)
    return float(np.percentile(spent[int(_WARM_UP * CUSTOMERS) :], 99))
