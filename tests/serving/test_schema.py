"""Requests that follow the published schema, and some that do not (schemathesis): no 5xx, no traceback.

`make test-schema` sends 2,000; SCHEMA_CASES is the number.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from personakit.serving.store import ProfileStore

from .stubs import stub_service

schemathesis = pytest.importorskip("schemathesis")

_CASES = int(os.environ.get("SCHEMA_CASES", "30"))
_HOST = {"Host": "localhost"}


def test_no_request_makes_an_error_of_the_service(store: ProfileStore) -> None:
    from schemathesis import checks
    from schemathesis.specs.openapi import checks as of_schema

    from personakit.serving.app import create_app

    stubs = stub_service(store)
    store.tenant().append("ada", [({"text": "Heyho."}, None)])
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(stubs.service), headers=_HOST)
    operations = [each.ok() for each in schema.get_all_operations()]
    held = [
        checks.not_a_server_error,
        of_schema.status_code_conformance,
        of_schema.response_schema_conformance,
    ]
    answered = 0
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(
            max_examples=2 * _CASES // len(operations),  # some operations have one case only
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        def check(case: Any) -> None:
            nonlocal answered
            response = case.call(headers=_HOST)
            case.validate_response(response, checks=held)
            assert "Traceback" not in response.text
            answered += 1

        check()
    stubs.service.answering.batcher.close()
    assert answered >= _CASES
