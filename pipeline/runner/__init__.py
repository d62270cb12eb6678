"""Makes artifacts: runs stages that are missing or out of date, skips the others, and says so in one line each.

making     `Runner(config, console, choice, …).make(Selected)`
freshness  what a finished folder must say to be what would be made now
served     which bundle a run serves
"""

from pipeline.runner.making import Runner, Scoped

__all__ = ["Runner", "Scoped"]
