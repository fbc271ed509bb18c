"""Simulated card payments, some of them frauds, with the features that a fraud team computes.

The method is that of chapter 3 of the Fraud Detection Handbook (Le Borgne, Siblini, Lebichot & Bontempi 2022,
Reproducible Machine Learning for Credit Card Fraud Detection, https://fraud-detection-handbook.github.io): customers
and terminals are points in the plane, each customer pays so often and so much at terminals nearby, and three things go
wrong:

- an amount of more than 220 is a fraud;
- a terminal is compromised for 28 days, in which every payment there is a fraud;
- a card is stolen for 14 days, in which a third of its payments are frauds of five times the amount.

Features look back from each payment over 1, 7 and 30 days: how often and how much its customer paid, and how often
there was a payment at its terminal and which share of them were frauds, this one without the latest seven days,
whose frauds nobody knows yet.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.spatial import KDTree

DAYS, WARM_UP, DELAY = 130, 30, 7
KINDS = ("normal", "large_amount", "bad_terminal", "stolen_card")
LARGEST_AMOUNT, WINDOWS = 220.0, (1, 7, 30)
TERMINALS_OF_A_CUSTOMER = 20
TERMINAL_WEEKS, CUSTOMER_WEEKS = 4, 2
SECONDS = 86_400


def simulate(n_payments: int = 300_000, seed: int = 0) -> pd.DataFrame:
    """Payments in the order of time, about `n_payments` of them, one a row.

    Columns: `customer`, `terminal`, `time` (in days from 0 on), `amount`, and for each kind of fraud but "normal"
    whether the payment is one; a payment can be of several kinds.
    """
    rng = np.random.default_rng(seed)
    n_customers = max(TERMINALS_OF_A_CUSTOMER, n_payments // (2 * DAYS))  # who pay twice a day, in the mean
    n_terminals = 2 * n_customers
    near = KDTree(rng.uniform(0, 100, (n_terminals, 2))).query(
        rng.uniform(0, 100, (n_customers, 2)), TERMINALS_OF_A_CUSTOMER
    )[1]
    usual_amount = rng.uniform(5, 100, n_customers)
    counts = rng.poisson(rng.uniform(0, 4, (n_customers, 1)), (n_customers, DAYS))
    customer, day = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices(counts.shape))
    n = len(customer)
    time = day + np.clip(rng.normal(0.5, 20_000 / SECONDS, n), 0, 1 - 1 / SECONDS)
    mean = usual_amount[customer]
    amount = rng.normal(mean, mean / 2)
    amount = np.where(amount < 0, rng.uniform(0, 2 * mean), amount)
    terminal = near[customer, rng.integers(0, TERMINALS_OF_A_CUSTOMER, n)]

    large_amount = amount > LARGEST_AMOUNT
    # Of 5,000 terminals one is newly compromised every day, and three of 5,000 customers.
    bad_terminal = _compromised(rng, n_terminals, 1 / 5000, 7 * TERMINAL_WEEKS)[terminal, day]
    stolen_card = _compromised(rng, n_customers, 3 / 5000, 7 * CUSTOMER_WEEKS)[customer, day] & (rng.random(n) < 1 / 3)
    amount = np.where(stolen_card, 5 * amount, amount)
    frame = pd.DataFrame({"customer": customer, "terminal": terminal, "time": time, "amount": amount.round(2)})
    frame = frame.assign(**dict(zip(KINDS[1:], (large_amount, bad_terminal, stolen_card), strict=True)))
    return frame.sort_values("time", ignore_index=True)


def _compromised(rng: np.random.Generator, n: int, share_a_day: float, days: int) -> np.ndarray:
    """Whether each of `n` customers or terminals is compromised on a day, shape (n, DAYS)."""
    starts = np.cumsum(rng.random((n, DAYS)) < share_a_day, axis=1)
    ended = np.zeros_like(starts)
    ended[:, days:] = starts[:, :-days]
    return starts > ended


def features(payments: pd.DataFrame) -> pd.DataFrame:
    """What is known of each payment when it is made."""
    hour = payments["time"] % 1 * 24
    columns = {
        "amount": payments["amount"],
        "weekend": (payments["time"] // 1 % 7 >= 5).astype(float),
        "night": (hour <= 6).astype(float),
    }
    fraud = payments[list(KINDS[1:])].any(axis=1).to_numpy(dtype=float)
    for days in WINDOWS:
        number, amount = _look_back(payments, "customer", payments["amount"].to_numpy(), 0, days)
        columns[f"customer_payments_{days}d"] = number
        columns[f"customer_mean_amount_{days}d"] = amount / number
    for days in WINDOWS:
        number, frauds = _look_back(payments, "terminal", fraud, DELAY, days)
        columns[f"terminal_payments_{days}d"] = number
        columns[f"terminal_fraud_share_{days}d"] = frauds / np.maximum(number, 1)
    return pd.DataFrame(columns)


def _look_back(
    payments: pd.DataFrame, by: str, value: np.ndarray, delay: float, days: float
) -> tuple[np.ndarray, np.ndarray]:
    """Number of payments and sum of `value` by the same customer or terminal, from `delay` + `days` to `delay` ago.

    With no delay the payment itself is one of them.
    """
    # One axis for all: the time line of each is laid behind the one before, with a gap that no window reaches across.
    place = payments[by].to_numpy() * (2.0 * DAYS) + payments["time"].to_numpy()
    order = np.argsort(place, kind="stable")
    place, total = place[order], np.concatenate([[0.0], np.cumsum(value[order])])
    first, last = (np.searchsorted(place, place - ago, side="right") for ago in (delay + days, delay))
    number, amount = np.empty(len(place)), np.empty(len(place))
    number[order], amount[order] = last - first, total[last] - total[first]
    return number, amount
