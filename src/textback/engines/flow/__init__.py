"""The flow engine: a graph of nodes, for journeys that are written beforehand."""

from textback.engines.flow.config import FlowConfig
from textback.engines.flow.engine import FlowEngine

__all__ = ["FlowConfig", "FlowEngine"]
