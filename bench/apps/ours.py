"""Our application with another size of batches (BENCH_MOST), which the product does not let set."""

import os
from dataclasses import replace

from textback import wiring
from textback.flows.accept import Accepting
from textback.settings import Settings

_rt = wiring.runtime(Settings())  # pyright: ignore[reportCallIssue] - from the environment
_most = int(os.environ["BENCH_MOST"])
app = wiring.application(replace(_rt, accepting=Accepting(_rt.db, _rt.book, most=_most)))
