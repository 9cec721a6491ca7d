"""A project's settings: from the words of the file, and back into them."""

from datetime import time, timedelta

from textback.core.entries import Entry
from textback.core.gcra import Rate
from textback.core.policy import (
    Budget,
    Budgets,
    IdlePolicy,
    InboundLimits,
    ProjectPolicy,
    QuietHours,
    RepeatLimit,
    Replies,
)
from textback.provisioning_file import shape


def policy_of(project: shape.Project) -> ProjectPolicy:
    idle, inbound, words = project.inactivity, project.inbound_limits, project.opt_out_words
    quiet = project.quiet_hours
    warn_after = _span_or_never(idle.warn_after_seconds)
    close_after = timedelta(seconds=idle.close_after_seconds)
    unanswered_after = _span_or_never(idle.unanswered_after_seconds)
    if "unanswered_after_seconds" not in idle.model_fields_set and warn_after is not None:
        unanswered_after = warn_after + close_after
    return ProjectPolicy(
        rate_limit=_rate(project.rate_limit),
        idle=IdlePolicy(
            warn_after=warn_after,
            close_after=close_after,
            unanswered_after=unanswered_after,
            warning=idle.warning,
            closing=idle.closing,
        ),
        reply_delay=timedelta(seconds=project.reply_delay_seconds),
        validity=timedelta(seconds=project.validity_seconds),
        unknown_user=project.unknown_user,
        stop_words=frozenset(words.stop),
        start_words=frozenset(words.start),
        help_words=frozenset(words.help),
        inbound=InboundLimits(
            per_sender=_rate(inbound.per_sender),
            per_project=_rate(inbound.per_project),
            repeats=RepeatLimit(
                count=inbound.repeats.count,
                within=timedelta(seconds=inbound.repeats.within_seconds),
                block=timedelta(seconds=inbound.repeats.block_seconds),
            ),
        ),
        reply_budget=Rate(project.reply_budget.replies, project.reply_budget.per_seconds),
        while_thinking=project.while_thinking,
        replies=Replies(
            longest=project.replies.longest_characters,
            fold=project.replies.fold,
            part_wait=timedelta(seconds=project.replies.part_wait_seconds),
        ),
        budgets=Budgets(
            conversation=_budget(project.budgets.conversation), day=_budget(project.budgets.day)
        ),
        timezone=project.timezone,
        draft_environments=frozenset(project.draft_environments),
        quiet_hours=None if quiet is None else QuietHours(start=quiet.start, end=quiet.end),
        retention=None
        if project.retention_days is None
        else timedelta(days=project.retention_days),
    )


def _budget(budget: shape.BudgetOfConversation | shape.BudgetOfDay) -> Budget:
    return Budget(turns=budget.turns, tokens=budget.tokens, cost_usd=budget.cost_usd)


def _span_or_never(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def _rate(limit: shape.RateLimit) -> Rate:
    return Rate(limit.requests, limit.per_seconds)


def in_words(policy: ProjectPolicy) -> Entry:
    """What gives the same settings again: all of a project's entry but `id`, `name`, `agent`."""
    idle, inbound, quiet = policy.idle, policy.inbound, policy.quiet_hours
    return {
        "rate_limit": _rate_words(policy.rate_limit),
        "inactivity": {
            "warn_after_seconds": _seconds(idle.warn_after),
            "close_after_seconds": idle.close_after.total_seconds(),
            "unanswered_after_seconds": _seconds(idle.unanswered_after),
            "warning": idle.warning,
            "closing": idle.closing,
        },
        "reply_delay_seconds": policy.reply_delay.total_seconds(),
        "validity_seconds": policy.validity.total_seconds(),
        "unknown_user": policy.unknown_user,
        "opt_out_words": {
            "stop": sorted(policy.stop_words),
            "start": sorted(policy.start_words),
            "help": sorted(policy.help_words),
        },
        "inbound_limits": {
            "per_sender": _rate_words(inbound.per_sender),
            "per_project": _rate_words(inbound.per_project),
            "repeats": {
                "count": inbound.repeats.count,
                "within_seconds": inbound.repeats.within.total_seconds(),
                "block_seconds": inbound.repeats.block.total_seconds(),
            },
        },
        "reply_budget": {
            "replies": int(policy.reply_budget.amount),
            "per_seconds": policy.reply_budget.seconds,
        },
        "while_thinking": policy.while_thinking,
        "replies": {
            "longest_characters": policy.replies.longest,
            "fold": policy.replies.fold,
            "part_wait_seconds": policy.replies.part_wait.total_seconds(),
        },
        "budgets": {
            "conversation": _budget_words(policy.budgets.conversation),
            "day": _budget_words(policy.budgets.day),
        },
        "timezone": policy.timezone,
        "draft_environments": sorted(policy.draft_environments),
        "quiet_hours": None
        if quiet is None
        else {"start": _clock(quiet.start), "end": _clock(quiet.end)},
        "retention_days": None if policy.retention is None else policy.retention.days,
    }


def _rate_words(rate: Rate) -> Entry:
    return {"requests": int(rate.amount), "per_seconds": rate.seconds}


def _budget_words(budget: Budget) -> Entry:
    return {"turns": budget.turns, "tokens": budget.tokens, "cost_usd": budget.cost_usd}


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()


def _clock(at: time) -> str:
    return at.isoformat("minutes")
