"""From a caller's request to the carrier's, on a system that has nothing else to do."""

import http.client
import json
import time

from bench.measure import percentile, user
from bench.options import Options, deployed
from bench.place import KEY, LOCALHOST, ONE, free_port
from bench.report import Check, Result, no_errors

GAP = 0.04
"""Seconds between two texts: the one before is done by then."""


def run(options: Options) -> Result:
    many, port = options.pick(20, 200), free_port()
    with deployed(options, receipts=False) as d:
        api, worker = d.at.serve(d.port), d.at.work(d.port)
        hop, second = d.at.application("hops", port), d.at.hopper(d.carrier_port)
        began: dict[str, dict[str, float]] = {"ours": {}, "ceiling": {}}
        accepted: dict[str, list[float]] = {"ours": [], "ceiling": []}
        callers = {
            "ours": http.client.HTTPConnection(LOCALHOST, d.port),
            "ceiling": http.client.HTTPConnection(LOCALHOST, port),
        }
        for nth in range(-10, many):  # the first ten are to warm up
            for name, caller in callers.items():
                number = user(3_000_000 + 2 * nth + (name == "ours"))
                at, took = _send(caller, number)
                if nth >= 0:
                    began[name][number] = at
                    accepted[name].append(took * 1000)
                time.sleep(GAP)
        time.sleep(2)
        times = d.counts(times=True)["times"]
        d.at.stop(api, worker, hop, second)
    result = Result(
        name="latency",
        title=f"{many} texts one at a time, accept to carrier, beside two hops without our code",
        columns=["what", "p50 ms", "p99 ms", "answered p50 ms", "answered p99 ms", "lost"],
    )
    for name, sent in began.items():
        took = [(times[number] - at) * 1000 for number, at in sent.items() if number in times]
        lost = len(sent) - len(took)
        figures = [percentile(took, 50), percentile(took, 99)]
        answered = [percentile(accepted[name], 50), percentile(accepted[name], 99)]
        words = "textback" if name == "ours" else "HTTP, commit + NOTIFY, HTTP"
        result.rows.append([words, *figures, *answered, lost])
        result.figures |= {f"{name}_p50_ms": figures[0], f"{name}_p99_ms": figures[1]}
        result.figures[f"{name}_lost"] = lost
    result.checks = [
        Check("accept to carrier, p50", result.figures["ours_p50_ms"], "ms", at_most=15),
        Check("accept to carrier, p99", result.figures["ours_p99_ms"], "ms", at_most=60),
        no_errors(result.figures["ours_lost"], "texts that never came to the carrier"),
    ]
    return result


def _send(caller: http.client.HTTPConnection, number: str) -> tuple[float, float]:
    """When it began, and how long the answer took."""
    body = json.dumps({"user_number": number, "message": "bench: hello", "agent_number": ONE})
    headers = {
        "Content-Type": "application/json",
        "X-PolyAi-Auth-Token": KEY,
        "X-TOKEN-ID": "conn-one",
    }
    at, began = time.time(), time.perf_counter()
    caller.request("POST", "/v1/outbound-sms", body, headers)
    answer = caller.getresponse()
    said = answer.read()
    if answer.status != 202:
        raise RuntimeError(f"a text was answered {answer.status}: {said.decode()[:500]}")
    return at, time.perf_counter() - began
