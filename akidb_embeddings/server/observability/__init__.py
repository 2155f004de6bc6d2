"""Logs, metrics and traces: ``logs``, ``metrics``, and OpenTelemetry's in ``telemetry`` and ``metrics_export``."""
