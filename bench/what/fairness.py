"""One account's long batch, and how long another account's users wait for their answers."""

import json
import time
import urllib.request

from bench.measure import percentile, user
from bench.options import Deployment, Options, deployed
from bench.place import KEY, LOCALHOST, OTHER, OTHER_SID
from bench.report import Check, Result

DELAY = 0.5
"""`reply_delay_seconds`, which an answer waits anyway."""

# A batch takes 10,000 rows from a request: the rest are copies of those, for users of their own,
# and with ids that neither `bench.fill` nor the clock gives.
MORE = """insert into planned_sends (id, conversation_id, account_id, project_id, connector_id,
        environment, batch_id, "row", user_number, command, state, due_at, why, created_at)
    select 'msg_7' || lpad(to_hex(n), 25, '0'), 'conv_7' || lpad(to_hex(n), 25, '0'), account_id,
        project_id, connector_id, environment, batch_id, n, '+1415' || {first} + n,
        command || jsonb_build_object('user_number', '+1415' || {first} + n), state, due_at, why,
        created_at
    from (select * from planned_sends where batch_id = '{batch}' order by "row" limit 1) one,
        generate_series({given} + 1, {rows}) n"""


def run(options: Options) -> Result:
    rows, seconds = options.pick(20_000, 100_000), options.pick(5.0, 25.0)
    with deployed(options, delivered_after=5.0) as d:
        api, worker = d.at.serve(d.port), d.at.work(d.port)
        alone = _answers(d, options, seconds, 0)
        _batch(d, rows, min(rows, options.pick(1_000, 10_000)))
        time.sleep(3)
        before, began = _to_come(d), time.monotonic()
        beside = _answers(d, options, seconds, 10_000)
        left = _to_come(d)
        sent = (before - left) / (time.monotonic() - began)
        d.at.stop(api, worker)
    result = Result(
        name="fairness",
        title=f"another account's answers while a batch of {rows:,} rows is sent",
        columns=["what", "answers", "p50 ms", "p99 ms", "missing"],
    )
    for words, (took, missing) in (("alone", alone), ("beside the batch", beside)):
        result.rows.append([words, len(took), percentile(took, 50), percentile(took, 99), missing])
    added = (percentile(beside[0], 99) - percentile(alone[0], 99)) / 1000
    result.checks = [
        Check("p99 that the batch adds", added, "s", at_most=1),
        Check("answers missing", beside[1], "", at_most=0),
        Check("rows of the batch taken up meanwhile", sent, "a second", at_least=10),
        Check("rows of the batch still to come then", left, "", at_least=1),
    ]
    result.notes.append(
        f"Meanwhile {sent:.0f} rows/s were taken up, and {left:,} rows were still to come at the "
        f"end; the {DELAY:g} s of reply_delay_seconds are taken off."
    )
    result.figures = {"fairness_added_s": added, "batch_rows_per_second": sent}
    return result


def _answers(
    d: Deployment, options: Options, seconds: float, first: int
) -> tuple[list[float], int]:
    """Two users a second text; milliseconds until each has an answer, and how many have none."""
    rate = 2.0
    hook = d.hook([OTHER]) | {"account_sid": OTHER_SID}
    load = d.load(
        connections=4,
        seconds=seconds,
        rate=rate,
        first=first,
        users=5_000,
        seed=options.seed,
        hook=hook,
    )
    began = time.time()
    loaded = d.at.loads(load, groups={})
    time.sleep(5)
    times: dict[str, float] = d.counts(times=True)["times"]
    sent = loaded.answers[0]["sent_at"]
    took = [
        (times[user(first + n)] - at - DELAY) * 1000
        for n, at in enumerate(sent)
        if times.get(user(first + n), 0) > began
    ]
    return took, len(sent) - len(took)


def _to_come(d: Deployment) -> int:
    found = d.at.sql("select count(*) as n from planned_sends where state = 'planned'")
    return int(found[0]["n"])


def _batch(d: Deployment, rows: int, given: int) -> None:
    """Of account `bench`: really asked for, and then made longer."""
    first = 3_000_000
    asked = {
        "project": "many",
        "text": "bench: your appointment",
        "rows": [{"to": user(first + n)} for n in range(given)],
    }
    request = urllib.request.Request(
        f"http://{LOCALHOST}:{d.port}/v1/batches",
        json.dumps(asked).encode(),
        {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        batch = json.load(answer)["id"]
    start = user(first).removeprefix("+1415")
    d.at.sql(
        MORE.format(batch=batch, first=start, given=given, rows=rows),
        f"update batches set total = {rows} where id = '{batch}'",
    )
