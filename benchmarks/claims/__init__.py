"""The claims: every line of the table, in its order."""

from benchmarks.claims import latency, opening, peers, reading, throughput, waiting, weight
from benchmarks.harness import Claim

CLAIMS: list[Claim] = [
    *throughput.CLAIMS,
    *peers.CLAIMS,
    *latency.CLAIMS,
    *reading.CLAIMS,
    *opening.CLAIMS,
    *waiting.CLAIMS,
    *weight.CLAIMS,
]
