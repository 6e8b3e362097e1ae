"""Examining a store: is it configured, reachable, permitted, and what can it do; one finding a check.

diagnosis = await examine(store)
for finding in diagnosis.findings:
    print(finding.state, finding.check, finding.line)
"""

from entrepot.diagnosis.examination import DAY_S, examine
from entrepot.diagnosis.findings import Diagnosis, Finding, State, failed

__all__ = ["DAY_S", "Diagnosis", "Finding", "State", "examine", "failed"]
