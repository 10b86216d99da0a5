"""What the reference's own client gets from the host, compared with what is expected. Run by `.ci/client`."""

import asyncio
import datetime
import sys
import time
import uuid
import warnings

import httpx
import prefect
from prefect.client.orchestration import get_client
from prefect.client.schemas import actions, filters, objects, schedules, sorting
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError
from prefect.states import (
    Cancelled, Cancelling, Completed, Failed, Paused, Pending, Running, Scheduled, State, StateType,
)

# The client warns of its own fields.
warnings.simplefilter("ignore", DeprecationWarning)
checks = failed = 0


def check(what, got, expected):
    global checks, failed
    checks += 1
    if got != expected:
        failed += 1
        print(f"  failed: {what}\n    expected {expected!r}\n    got      {got!r}")


async def refused(what, call, expected):
    """The call is refused with this status (a number) or this error of the client (a class)."""
    try:
        got = await call
    except PrefectHTTPStatusError as refusal:
        got = refusal.response.status_code
        body = refusal.response.json()
        check(f"{what}: it says what is wrong", isinstance(body.get("detail"), str) and body["detail"] != "", True)
    except (ObjectNotFound, ObjectAlreadyExists) as refusal:
        got = type(refusal)
    check(what, got, expected)


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def later(seconds):
    return now() + datetime.timedelta(seconds=seconds)


def names(rows):
    return [row.name for row in rows]


async def first_calls(client):
    check("health", await client.api_healthcheck(), None)
    version = await client.api_version()
    check("same major version", version.split(".")[0], prefect.__version__.split(".")[0])
    await client.raise_for_api_version_mismatch()
    check("hello", (await client.hello()).status_code, 200)


async def flows(client):
    made = [await client.create_flow_from_name(name) for name in ["etl", "train", "serve me/not"[:8]]]
    check("one name, one flow", await client.create_flow_from_name("etl"), made[0])
    check("a flow by id", (await client.read_flow(made[0])).name, "etl")
    check("a flow by name", (await client.read_flow_by_name("train")).id, made[1])
    wanted = filters.FlowFilter(name=filters.FlowFilterName(any_=["etl", "train"]))
    check("flows by name, sorted", names(await client.read_flows(flow_filter=wanted, sort=sorting.FlowSort.NAME_DESC)), ["train", "etl"])
    check("flows with a limit", names(await client.read_flows(flow_filter=wanted, limit=1, offset=1)), ["train"])
    await client.delete_flow(made[2])
    await refused("a deleted flow is gone", client.delete_flow(made[2]), ObjectNotFound)
    await refused("a flow without a name", client.create_flow_from_name(""), 422)
    return made[:2]


async def deployments(client, etl, train):
    hourly = actions.DeploymentScheduleCreate(schedule=schedules.CronSchedule(cron="0 * * * *", timezone="Europe/Berlin"), slug="hourly")
    interval = actions.DeploymentScheduleCreate(schedule=schedules.IntervalSchedule(interval=datetime.timedelta(hours=6)), active=False)
    weekly = actions.DeploymentScheduleCreate(schedule=schedules.RRuleSchedule(rrule="FREQ=WEEKLY;BYDAY=MO", timezone="UTC"))
    await client.create_work_pool(actions.WorkPoolCreate(name="gpu", type="process"))
    nightly = await client.create_deployment(
        etl, "nightly", version="1", tags=["etl", "daily"], parameters={"day": 1}, description="every night",
        schedules=[hourly, interval, weekly], concurrency_limit=2, work_pool_name="gpu", work_queue_name="night",
        path="/srv", entrypoint="flow.py:etl", enforce_parameter_schema=True,
        parameter_openapi_schema={"type": "object", "properties": {"day": {"type": "integer"}}},
    )
    read = await client.read_deployment(nightly)
    check("a deployment as it was made", (read.name, read.flow_id, read.version, read.tags, read.parameters, read.description), ("nightly", etl, "1", ["etl", "daily"], {"day": 1}, "every night"))
    check("its limit", read.concurrency_limit, 2)
    check("its queue", (read.work_pool_name, read.work_queue_name), ("gpu", "night"))
    check("its code", (read.path, read.entrypoint, read.paused), ("/srv", "flow.py:etl", False))
    check("its schedules", sorted(type(held.schedule).__name__ for held in read.schedules), ["CronSchedule", "IntervalSchedule", "RRuleSchedule"])
    check("a deployment by name", (await client.read_deployment_by_name("etl/nightly")).id, nightly)
    await refused("a deployment that is not there", client.read_deployment(uuid.uuid4()), ObjectNotFound)
    await refused("a name that is not there", client.read_deployment_by_name("etl/daily"), ObjectNotFound)
    await refused("parameters that do not fit", client.create_deployment(
        etl, "wrong", parameters={"day": "monday"}, enforce_parameter_schema=True,
        parameter_openapi_schema={"type": "object", "properties": {"day": {"type": "integer"}}}), 422)
    await refused("a pool that is not there", client.create_deployment(etl, "wrong", work_pool_name="cpu"), 404)

    again = await client.create_deployment(etl, "nightly", tags=["etl"], schedules=[hourly])
    read = await client.read_deployment(again)
    check("made again it is the same one", again, nightly)
    check("made again it says what was said last", (read.tags, read.parameters, len(read.schedules), read.version), (["etl"], {}, 1, None))
    check("null takes the limit away", read.concurrency_limit, None)

    await client.update_deployment(nightly, actions.DeploymentUpdate(description="changed", parameters={"day": 2}, tags=["etl", "late"]))
    read = await client.read_deployment(nightly)
    check("a change", (read.description, read.parameters, read.tags, read.version), ("changed", {"day": 2}, ["etl", "late"], None))

    await client.pause_deployment(nightly)
    check("paused", (await client.read_deployment(nightly)).paused, True)
    planned = filters.FlowRunFilter(deployment_id=filters.FlowRunFilterDeploymentId(any_=[nightly]))
    check("a paused deployment plans nothing", await client.count_flow_runs(flow_run_filter=planned), 0)
    await client.resume_deployment(nightly)
    check("resumed", (await client.read_deployment(nightly)).paused, False)
    check("and plans its next runs", await client.count_flow_runs(flow_run_filter=planned), 3)
    await refused("pausing what is not there", client.pause_deployment(uuid.uuid4()), ObjectNotFound)

    held = await client.read_deployment_schedules(nightly)
    check("one schedule", [(row.slug, row.active, row.schedule.cron) for row in held], [("hourly", True, "0 * * * *")])
    added = await client.create_deployment_schedules(nightly, [(schedules.IntervalSchedule(interval=datetime.timedelta(hours=1)), True)])
    check("a schedule is added", (len(added), added[0].deployment_id), (1, nightly))
    check("both plan", await client.count_flow_runs(flow_run_filter=planned), 6)
    await client.update_deployment_schedule(nightly, added[0].id, active=False)
    rows = {row.id: row.active for row in await client.read_deployment_schedules(nightly)}
    check("one is inactive", rows, {held[0].id: True, added[0].id: False})
    check("and plans nothing", await client.count_flow_runs(flow_run_filter=planned), 3)
    await client.delete_deployment_schedule(nightly, added[0].id)
    await refused("a schedule that is gone", client.delete_deployment_schedule(nightly, added[0].id), ObjectNotFound)

    others = [await client.create_deployment(train, f"d{number}", tags=["batch"] if number % 2 else []) for number in range(5)]
    batch = filters.DeploymentFilter(tags=filters.DeploymentFilterTags(all_=["batch"]))
    check("deployments by tag", names(await client.read_deployments(deployment_filter=batch)), ["d1", "d3"])
    of_train = filters.FlowFilter(name=filters.FlowFilterName(any_=["train"]))
    check("deployments of a flow, page by page", [names(await client.read_deployments(flow_filter=of_train, limit=2, offset=offset)) for offset in (0, 2, 4)], [["d0", "d1"], ["d2", "d3"], ["d4"]])
    check("sorted downwards", names(await client.read_deployments(flow_filter=of_train, sort=sorting.DeploymentSort.NAME_DESC, limit=2)), ["d4", "d3"])
    either = filters.DeploymentFilter(operator="or_", name=filters.DeploymentFilterName(any_=["d0"]), tags=filters.DeploymentFilterTags(all_=["batch"]))
    check("either of two", names(await client.read_deployments(deployment_filter=either)), ["d0", "d1", "d3"])
    with_runs = await client.read_deployments(flow_run_filter=filters.FlowRunFilter())
    check("deployments that have runs", names(with_runs), ["nightly"])
    page = (await client._client.post("/deployments/paginate", json={"flows": {"name": {"any_": ["train"]}}, "limit": 2, "page": 3})).json()
    check("a page with its totals", ([row["name"] for row in page["results"]], page["count"], page["pages"], page["page"], page["limit"]), (["d4"], 5, 3, 3, 2))
    check("a count", (await client._client.post("/deployments/count", json={})).json(), 6)
    await refused("too many rows asked for", client.read_deployments(limit=201), 422)
    await client.delete_deployment(others[4])
    await refused("a deployment that is deleted", client.delete_deployment(others[4]), ObjectNotFound)
    return nightly, others[0]


async def runs(client, etl, nightly, plain):
    by_hand = await client.create_flow_run_from_deployment(plain, parameters={"x": [1, {"y": None}]}, tags=["by-hand"], name="monday", labels={"team": "red"}, idempotency_key="k", context={"why": "test"}, job_variables={"cpu": 2})
    check("its context and job variables", (by_hand.context, by_hand.job_variables), ({"why": "test"}, {"cpu": 2}))
    check("a run of a deployment", (by_hand.name, by_hand.parameters, by_hand.tags, by_hand.state.type, by_hand.deployment_id), ("monday", {"x": [1, {"y": None}]}, ["by-hand"], StateType.SCHEDULED, plain))
    again = await client.create_flow_run_from_deployment(plain, parameters={"x": [1, {"y": None}]}, tags=["by-hand"], name="monday", labels={"team": "red"}, idempotency_key="k", context={"why": "test"}, job_variables={"cpu": 2})
    check("one key, one run", again.id, by_hand.id)
    await refused("one key, other content", client.create_flow_run_from_deployment(plain, idempotency_key="k"), 409)
    await refused("of a deployment that is not there", client.create_flow_run_from_deployment(uuid.uuid4()), 404)
    tomorrow = await client.create_flow_run_from_deployment(plain, state=Scheduled(scheduled_time=later(86_400)))
    check("a run for tomorrow", (tomorrow.state.state_details.scheduled_time, tomorrow.expected_start_time), (tomorrow.next_scheduled_start_time,) * 2)
    check("in a day", 86_390 < (tomorrow.expected_start_time - now()).total_seconds() <= 86_400, True)
    other_queue = await client.create_flow_run_from_deployment(nightly, work_queue_name="by-hand", parameters={"day": 3})
    check("a run in a queue of its own", (other_queue.work_queue_name, other_queue.work_pool_name, other_queue.tags, other_queue.parameters), ("by-hand", "gpu", ["etl", "late"], {"day": 3}))
    checked = await client.create_deployment(
        etl, "checked", enforce_parameter_schema=True,
        parameter_openapi_schema={"type": "object", "properties": {"day": {"type": "integer"}}, "required": ["day"]})
    await refused("parameters that do not fit", client.create_flow_run_from_deployment(checked, parameters={"day": "x"}), 422)
    await refused("a parameter that is missing", client.create_flow_run_from_deployment(checked), 422)

    @prefect.flow(name="ad-hoc", retries=1, retry_delay_seconds=0, version="7")
    def ad_hoc(): ...

    run = await client.create_flow_run(ad_hoc, name="once", parameters={"a": 1}, tags=["direct"])
    check("a run of a flow alone", (run.name, run.state.type, run.state.name, run.deployment_id, run.flow_version), ("once", StateType.PENDING, "Pending", None, "7"))
    check("its policy", (run.empirical_policy.retries, run.empirical_policy.retry_delay), (1, 0))
    read = await client.read_flow_run(run.id)
    check("read again", (read.id, read.state.type, read.parameters, read.flow_id == run.flow_id), (run.id, StateType.PENDING, {"a": 1}, True))
    await refused("a run that is not there", client.read_flow_run(uuid.uuid4()), ObjectNotFound)

    async def moved(state, run=run.id, force=False):
        answer = await client.set_flow_run_state(run, state, force=force)
        return answer.status.value, answer.state and answer.state.name

    check("running", await moved(Running()), ("ACCEPT", "Running"))
    check("it cannot be handed out again", await moved(Pending()), ("ABORT", None))
    check("a failure is tried again", await moved(Failed(message="no luck")), ("REJECT", "AwaitingRetry"))
    check("pending again", await moved(Pending()), ("ACCEPT", "Pending"))
    check("running again", await moved(Running()), ("ACCEPT", "Retrying"))
    check("a pause", await moved(Paused(timeout_seconds=600)), ("ACCEPT", "Paused"))
    resumed = await client.resume_flow_run(run.id)
    check("resumed", (resumed.status.value, resumed.state.name), ("ACCEPT", "Resuming"))
    again = await client.resume_flow_run(run.id)
    check("only what is paused", again.status.value, "ABORT")
    check("goes on", await moved(Running()), ("ACCEPT", "Retrying"))
    check("completed", await moved(Completed(message="done")), ("ACCEPT", "Completed"))
    check("the end is the end", await moved(Running()), ("ABORT", None))
    check("also by force", await moved(Running(), force=True), ("ABORT", None))
    read = await client.read_flow_run(run.id)
    check("as it ended", (read.state.message, read.run_count, read.start_time is not None, read.end_time is not None), ("done", 2, True, True))
    history = await client.read_flow_run_states(run.id)
    check("its states", [state.name for state in history], ["Scheduled", "Pending", "Running", "AwaitingRetry", "Pending", "Retrying", "Paused", "Resuming", "Pending", "Retrying", "Completed"])
    check("each has an id of its own", len({state.id for state in history}), len(history))
    last = await client.read_flow_run_state(history[-1].id)
    check("a state by id", (last.name, last.timestamp, last.id), ("Completed", history[-1].timestamp, read.state_id))
    await refused("a state that is not there", client.read_flow_run_state(uuid.uuid4()), ObjectNotFound)
    await refused("a state of nothing", client.set_flow_run_state(uuid.uuid4(), Completed()), ObjectNotFound)

    check("not before its time", (await client.set_flow_run_state(tomorrow.id, Running())).status.value, "WAIT")
    check("claimed before its time", await moved(Pending(), tomorrow.id), ("ACCEPT", "Pending"))
    check("given back", await moved(Scheduled(), tomorrow.id), ("ACCEPT", "Scheduled"))
    check("called off, nobody has it", await moved(Cancelling(), tomorrow.id), ("REJECT", "Cancelled"))
    check("a name of its own", await moved(State(type=StateType.PENDING, name="Submitting"), by_hand.id), ("ACCEPT", "Submitting"))
    check("it starts", await moved(Running(), by_hand.id), ("ACCEPT", "Running"))
    check("called off, somebody has it", await moved(Cancelling(), by_hand.id), ("ACCEPT", "Cancelling"))
    check("nothing else follows", await moved(Failed(), by_hand.id), ("REJECT", "Cancelling"))
    check("its end", await moved(Cancelled(), by_hand.id), ("ACCEPT", "Cancelled"))

    await client.set_flow_run_name(run.id, "zz-renamed")
    await client.update_flow_run(run.id, tags=["a", "b"])
    await client.update_flow_run_labels(run.id, {"team": "blue"})
    read = await client.read_flow_run(run.id)
    check("name, tags and labels", (read.name, read.tags, read.labels["team"]), ("zz-renamed", ["a", "b"], "blue"))

    done = filters.FlowRunFilter(state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=[StateType.COMPLETED])))
    check("runs by state", names(await client.read_flow_runs(flow_run_filter=done)), ["zz-renamed"])
    check("and how many", await client.count_flow_runs(flow_run_filter=done), 1)
    ended = filters.FlowRunFilter(state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=[StateType.COMPLETED, StateType.CANCELLED])))
    check("sorted by name", names(await client.read_flow_runs(flow_run_filter=ended, sort=sorting.FlowRunSort.NAME_ASC))[-1], "zz-renamed")
    check("a page", len(await client.read_flow_runs(flow_run_filter=ended, limit=2)), 2)
    of_flow = await client.count_flow_runs(flow_filter=filters.FlowFilter(name=filters.FlowFilterName(any_=["ad-hoc"])))
    check("runs of a flow", of_flow, 1)
    in_pool = await client.count_flow_runs(work_pool_filter=filters.WorkPoolFilter(name=filters.WorkPoolFilterName(any_=["gpu"])))
    check("runs in a pool", in_pool, 4)
    await client.delete_flow_run(run.id)
    await refused("a deleted run", client.delete_flow_run(run.id), ObjectNotFound)

    polled = await client.get_scheduled_flow_runs_for_deployments([nightly], scheduled_before=later(10 * 86_400))
    check("runs of a deployment, the first first", ([row.next_scheduled_start_time for row in polled] == sorted(row.next_scheduled_start_time for row in polled), len(polled)), (True, 4))
    check("it was asked", (await client.read_deployment(nightly)).status.value, "READY")
    ahead = (await client._client.post(f"/deployments/{nightly}/schedule", json={"min_runs": 24, "min_time": 0})).json()
    check("runs ahead", (ahead, len(await client.get_scheduled_flow_runs_for_deployments([nightly], limit=200))), (None, 25))


async def a_limit_of_a_deployment(client, etl):
    one = await client.create_deployment(etl, "one", concurrency_limit=1)
    first, second = [await client.create_flow_run_from_deployment(one) for _ in range(2)]
    check("the first is let in", (await client.set_flow_run_state(first.id, Pending())).status.value, "ACCEPT")
    answer = await client.set_flow_run_state(second.id, Pending())
    check("the second waits", (answer.status.value, answer.state.name), ("REJECT", "AwaitingConcurrencySlot"))
    await client.set_flow_run_state(first.id, Running())
    await client.set_flow_run_state(first.id, Completed())
    check("and is let in at its end", (await client.set_flow_run_state(second.id, Pending())).status.value, "ACCEPT")
    await client.set_flow_run_state(second.id, Completed())
    new = await client.create_deployment(etl, "newest", concurrency_limit=1, concurrency_options=objects.ConcurrencyOptions(collision_strategy=objects.ConcurrencyLimitStrategy.CANCEL_NEW))
    first = await client.create_flow_run_from_deployment(new)
    await client.set_flow_run_state(first.id, Pending())
    second = await client.create_flow_run_from_deployment(new)
    check("CANCEL_NEW", (await client.read_flow_run(second.id)).state.type, StateType.CANCELLED)
    await client.set_flow_run_state(first.id, Completed())


async def pools(client, train):
    pool = await client.create_work_pool(actions.WorkPoolCreate(name="p", type="process", description="for tests", concurrency_limit=3))
    check("a pool", (pool.name, pool.type, pool.description, pool.concurrency_limit, pool.is_paused), ("p", "process", "for tests", 3, False))
    check("with a queue", pool.default_queue_id is not None, True)
    await refused("one name, one pool", client.create_work_pool(actions.WorkPoolCreate(name="p")), ObjectAlreadyExists)
    wanted = filters.WorkPoolFilter(name=filters.WorkPoolFilterName(any_=["p", "gpu"]))
    check("pools by name", names(await client.read_work_pools(work_pool_filter=wanted)), ["gpu", "p"])
    await client.update_work_pool("p", actions.WorkPoolUpdate(description="changed"))
    check("a changed pool", (await client.read_work_pool("p")).description, "changed")
    await refused("a pool that is not there", client.read_work_pool("q"), ObjectNotFound)

    queues = {}
    for name, priority in [("hi", 1), ("mid", 5), ("auto", None)]:
        queues[name] = await client.create_work_queue(name, work_pool_name="p", priority=priority)
    numbers = {queue.name: queue.priority for queue in await client.read_work_queues(work_pool_name="p")}
    check("numbers of queues", numbers, {"hi": 1, "default": 2, "auto": 3, "mid": 5})
    check("a queue by name", (await client.read_work_queue_by_name("mid", work_pool_name="p")).id, queues["mid"].id)
    check("a queue by id", (await client.read_work_queue(queues["mid"].id)).work_pool_name, "p")
    await client.update_work_queue(queues["mid"].id, priority=2, description="second")
    numbers = {queue.name: queue.priority for queue in await client.read_work_queues(work_pool_name="p")}
    check("neighbours move down by the least", numbers, {"hi": 1, "mid": 2, "default": 3, "auto": 4})
    await refused("one name, one queue", client.create_work_queue("hi", work_pool_name="p"), ObjectAlreadyExists)
    status = await client.read_work_queue_status(queues["hi"].id)
    check("nobody has asked it", (status.healthy, status.late_runs_count), (False, 0))

    made = {}
    for queue, name in [("default", "low"), ("mid", "middle"), ("hi", "high"), ("hi", "higher")]:
        deployment = await client.create_deployment(train, f"in-{name}", work_pool_name="p", work_queue_name=queue)
        made[name] = await client.create_flow_run_from_deployment(deployment, name=name)
    soon = await client.create_flow_run_from_deployment(deployment, name="soon", state=Scheduled(scheduled_time=later(60)))

    async def offered(**how):
        return [row.flow_run.name for row in await client.get_scheduled_flow_runs_for_work_pool("p", **how)]

    check("what the pool offers", await offered(scheduled_before=later(10)), ["high", "higher", "middle"])
    check("of one queue", await offered(work_queue_names=["default"], scheduled_before=later(10)), ["low"])
    await refused("of no queue", client.get_scheduled_flow_runs_for_work_pool("p", work_queue_names=["none"]), ObjectNotFound)
    await refused("of no pool", client.get_scheduled_flow_runs_for_work_pool("q"), ObjectNotFound)
    status = await client.read_work_queue_status(queues["hi"].id)
    check("somebody has asked it", status.healthy, True)
    row = (await client.get_scheduled_flow_runs_for_work_pool("p"))[0]
    check("where it waits", (row.work_pool_id, row.work_queue_id), (pool.id, queues["hi"].id))

    # A worker: takes what it is offered, in that order, and ends it.
    await client.send_worker_heartbeat("p", "worker", heartbeat_interval_seconds=30)
    order = []
    for _ in range(4):
        row = (await client.get_scheduled_flow_runs_for_work_pool("p", scheduled_before=now()))[0]
        order.append(row.flow_run.name)
        for state in (Pending(), Running(), Completed()):
            answer = await client.set_flow_run_state(row.flow_run.id, state)
            check(f"{row.flow_run.name} {state.name}", answer.status.value, "ACCEPT")
    check("the order of a worker", order, ["high", "higher", "middle", "low"])
    check("nothing is due", await offered(scheduled_before=later(10)), [])
    check("but soon", await offered(scheduled_before=later(100)), ["soon"])
    await client.update_work_queue(queues["hi"].id, is_paused=True)
    check("a paused queue offers nothing", await offered(scheduled_before=later(100)), [])
    await client.update_work_queue(queues["hi"].id, is_paused=False)
    await client.update_work_pool("p", actions.WorkPoolUpdate(is_paused=True))
    check("nor does a paused pool", await offered(scheduled_before=later(100)), [])
    await client.update_work_pool("p", actions.WorkPoolUpdate(is_paused=False, concurrency_limit=0))
    check("nor a closed one", await offered(scheduled_before=later(100)), [])
    answer = await client.set_flow_run_state(soon.id, Pending())
    check("a full pool holds for a chosen run too", (answer.status.value, answer.state.type), ("REJECT", StateType.SCHEDULED))
    await refused("a pool in use", client.delete_work_pool("p"), 409)
    await client.delete_flow_run(soon.id)
    await client.delete_work_queue_by_id(queues["auto"].id)
    await refused("a queue that is gone", client.read_work_queue(queues["auto"].id), ObjectNotFound)
    await client.delete_work_pool("p")
    await refused("a pool that is gone", client.read_work_pool("p"), ObjectNotFound)


async def limits(client):
    made = await client.create_global_concurrency_limit(actions.GlobalConcurrencyLimitCreate(name="db", limit=2))
    await refused("one name, one limit", client.create_global_concurrency_limit(actions.GlobalConcurrencyLimitCreate(name="db", limit=2)), ObjectAlreadyExists)
    read = await client.read_global_concurrency_limit_by_name("db")
    check("a limit", (read.id, read.name, read.limit, read.active, read.active_slots), (made, "db", 2, True, 0))
    check("by id", (await client.read_global_concurrency_limit_by_name(str(made))).name, "db")
    await client.upsert_global_concurrency_limit_by_name("api", 10)
    await client.create_global_concurrency_limit(actions.GlobalConcurrencyLimitCreate(name="rate", limit=1, slot_decay_per_second=2.0))
    check("all limits", names(await client.read_global_concurrency_limits()), ["api", "db", "rate"])
    check("a page of limits", names(await client.read_global_concurrency_limits(limit=1, offset=1)), ["db"])

    async def used(name):
        return (await client.read_global_concurrency_limit_by_name(name)).active_slots

    async def full(call):
        # The client itself tries again after a 423 nowhere but in its context managers.
        try:
            await call
        except PrefectHTTPStatusError as refusal:
            return refusal.response.status_code, float(refusal.response.headers["Retry-After"]) > 0
        return None

    taken = (await client.increment_concurrency_slots(["db", "api"], 2, "concurrency")).json()
    check("slots of both", (sorted(row["name"] for row in taken), await used("db"), await used("api")), (["api", "db"], 2, 2))
    check("full", await full(client.increment_concurrency_slots(["db"], 1, "concurrency")), (423, True))
    check("all or none", (await full(client.increment_concurrency_slots(["api", "db"], 1, "concurrency")), await used("api")), ((423, True), 2))
    await client.release_concurrency_slots(["db", "api"], 2, 0.5)
    check("given back", (await used("db"), await used("api")), (0, 0))
    await client.release_concurrency_slots(["db"], 5, 0.5)
    check("never below zero", await used("db"), 0)
    await refused("more than there are", client.increment_concurrency_slots(["db"], 3, "concurrency"), 422)
    check("unknown names are passed over", (await client.increment_concurrency_slots(["none"], 1, "concurrency")).json(), [])

    held = objects.ConcurrencyLeaseHolder(type="flow_run", id=uuid.uuid4())
    lease = (await client.increment_concurrency_slots_with_lease(["db"], 2, "concurrency", 60, holder=held)).json()
    check("a lease", ([row["name"] for row in lease["limits"]], await used("db")), (["db"], 2))
    check("is in the way", await full(client.increment_concurrency_slots_with_lease(["db"], 1, "concurrency", 60)), (423, True))
    check("renewed", (await client.renew_concurrency_lease(uuid.UUID(lease["lease_id"]), 120)).status_code, 204)
    await client.release_concurrency_slots_with_lease(uuid.UUID(lease["lease_id"]))
    check("released", await used("db"), 0)
    check("twice is once", (await client.release_concurrency_slots_with_lease(uuid.UUID(lease["lease_id"]))).status_code, 204)
    await refused("a lease that is gone", client.renew_concurrency_lease(uuid.UUID(lease["lease_id"]), 60), 410)
    await refused("a lease that never was", client.renew_concurrency_lease(uuid.uuid4(), 60), 410)
    await refused("too short a lease", client.increment_concurrency_slots_with_lease(["db"], 1, "concurrency", 59), 422)

    check("a rate", len((await client.increment_concurrency_slots(["rate"], 1, "rate_limit")).json()), 1)
    check("is held", await full(client.increment_concurrency_slots(["rate"], 1, "rate_limit")), (423, True))
    time.sleep(0.6)
    check("and drains", len((await client.increment_concurrency_slots(["rate"], 1, "rate_limit")).json()), 1)
    await refused("a limit that is no rate", client.increment_concurrency_slots(["db"], 1, "rate_limit"), 422)

    await client.update_global_concurrency_limit("db", actions.GlobalConcurrencyLimitUpdate(active=False))
    for _ in range(3):
        await client.increment_concurrency_slots(["db"], 1, "concurrency")
    check("an inactive limit lets everybody in", await used("db"), 0)
    await client.upsert_global_concurrency_limit_by_name("db", 5)
    check("another number", (await client.read_global_concurrency_limit_by_name("db")).limit, 5)
    await client.delete_global_concurrency_limit_by_name("db")
    await refused("a limit that is gone", client.read_global_concurrency_limit_by_name("db"), ObjectNotFound)


async def the_client_s_own_guards():
    """The context managers that people write: they take, renew and release by themselves."""
    from prefect.concurrency.asyncio import concurrency, rate_limit

    async with get_client() as client:
        await client.create_global_concurrency_limit(actions.GlobalConcurrencyLimitCreate(name="guarded", limit=1))
        await client.create_global_concurrency_limit(actions.GlobalConcurrencyLimitCreate(name="paced", limit=1, slot_decay_per_second=10.0))

        async def used():
            return (await client.read_global_concurrency_limit_by_name("guarded")).active_slots

        async with concurrency("guarded", occupy=1):
            check("inside the guard", await used(), 1)
        check("outside the guard", await used(), 0)
        begun = time.monotonic()
        for _ in range(3):
            await rate_limit("paced")
        check("a pace is kept", time.monotonic() - begun > 0.15, True)


async def others(client):
    check("bulk delete", len((await client._client.post("/deployments/bulk_delete", json={"deployments": {"tags": {"all_": ["batch"]}}})).json()["deleted"]), 2)
    await refused("a bulk change by a filter that says nothing", client._client.post("/deployments/bulk_delete", json={"deploymints": {}}), 422)
    await refused("a wrong filter", client._client.post("/deployments/filter", json={"deployments": {"tags": {"al_": []}}}), 422)
    await refused("no such path", client._client.get("/nothing/here"), 404)
    await refused("no such method", client._client.put("/flows/"), 405)
    base = str(client.api_url).rstrip("/")
    check("no token", httpx.post(base + "/flows/filter", json={}).status_code, 401)
    other = {"authorization": "Bearer globex-token"}
    check("another organisation sees nothing", httpx.post(base + "/deployments/filter", json={}, headers=other).json(), [])


def with_the_synchronous_client():
    with get_client(sync_client=True) as client:
        check("health", client.api_healthcheck(), None)
        flow = client.create_flow_from_name("sync")
        deployment = client.create_deployment(flow, "one", tags=["sync"])
        run = client.create_flow_run_from_deployment(deployment)
        check("a run", (client.read_flow_run(run.id).state.type, names(client.read_deployments(deployment_filter=filters.DeploymentFilter(tags=filters.DeploymentFilterTags(all_=["sync"]))))), (StateType.SCHEDULED, ["one"]))
        check("pending", client.set_flow_run_state(run.id, Pending()).status.value, "ACCEPT")


async def everything():
    async with get_client() as client:
        parts = [("first calls", first_calls(client))]
        for name, part in parts:
            await part
        etl, train = await flows(client)
        nightly, plain = await deployments(client, etl, train)
        await runs(client, etl, nightly, plain)
        await a_limit_of_a_deployment(client, etl)
        await pools(client, train)
        await limits(client)
        await others(client)
    await the_client_s_own_guards()


asyncio.run(everything())
with_the_synchronous_client()
print(f"client: prefect {prefect.__version__}: {checks} checks, {failed} failed")
sys.exit(failed > 0)
