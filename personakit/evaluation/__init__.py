"""Evaluation: runs Personalizers over tasks, logs every sample, and compares with intervals over users.

Knows no method by name: it is handed `Candidate`s with labels, and everything after the sample log
(statistics, tables, report) is computed from that log alone.
"""
