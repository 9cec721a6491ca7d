"""Kore.ai's outbound SMS, with the flow that an agent stands for."""
