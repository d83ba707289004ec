"""Errors of the API, in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from personakit.errors import RunError, UserError, validator_message
from personakit.serving.store import NAME_PATTERN, NAME_RULE, UnknownError

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
#: In place of what FastAPI and Starlette say.
_SENTENCES = {
    "There was an error parsing the body": "the body cannot be read, expected JSON in UTF-8",
    "Not Found": "there is no such address: GET /openapi.json lists all",
    "Method Not Allowed": "this address has no such method: GET /openapi.json lists all",
}


class ErrorFields(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorDocument(BaseModel):
    """The body of every reply that is not a success."""

    error: ErrorFields


#: For the schema: what any route may reply.
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorDocument} for status in (400, 401, 403, 404, 413, 429, 500, 502, 503, 504)
}


class ApiError(Exception):
    """A request that gets no answer, with the status and the sentence of the reply."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        upstream: int | None = None,
    ) -> None:
        """`upstream` is the status of the base model's server, for the log."""
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers, self.upstream = headers, upstream


def error_document(
    status: int, message: str, *, code: str | None = None, param: str | None = None
) -> ErrorDocument:
    """Return the body of a reply with that status."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return ErrorDocument(error=ErrorFields(message=message, type=kind, param=param, code=code))


def error_reply(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return the reply with that error. One with status 503 may be tried again in a few seconds."""
    document = error_document(status, message, code=code, param=param)
    again = {"Retry-After": "5"} if status == 503 else {}
    return JSONResponse(document.model_dump(), status, headers={**again, **(headers or {})})


def handle_errors(app: FastAPI) -> None:
    """Make the app reply to errors in this shape."""

    async def of_api(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)
        if error.upstream is not None:
            request.state.facts["upstream_status"] = error.upstream
        return error_reply(
            error.status, error.message, code=error.code, param=error.param, headers=error.headers
        )

    async def of_validation(request: Request, error: Exception) -> JSONResponse:
        """Name the place and the rule, never the value: it may be a user's text."""
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            where = _place(str(error.body), first["loc"][-1])
            message = f"the body is not valid JSON: {first['ctx']['error']}, {where}"
            return error_reply(400, message, code="invalid_json")
        kind = request.headers.get("content-type", "")
        if first["loc"] == ("body",) and "json" not in kind and error.body:
            given = f'its content type is "{kind[:80]}"' if kind else "it has no content type"
            message = f"the body is not read as JSON: {given}; curl needs -H 'content-type: application/json'"
            return error_reply(400, message, code="invalid_content_type")
        place = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        if first.get("ctx", {}).get("pattern") == NAME_PATTERN:
            first["msg"] = f"expected {NAME_RULE}"
        message = validator_message(first["msg"])
        return error_reply(400, f"{place}: {message}", code="invalid_value", param=place)

    async def of_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        message = _SENTENCES.get(str(error.detail), str(error.detail))
        if error.status_code == 404 and request.url.path.startswith("/v1/users/"):
            message += "; users' names have no slash"
        return error_reply(error.status_code, message, headers=error.headers)

    async def of_input(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, UserError)
        status = 404 if isinstance(error, UnknownError) else 503 if isinstance(error, RunError) else 400
        return error_reply(status, f"{error.message}; {error.hint}")

    async def of_store(request: Request, error: Exception) -> JSONResponse:
        return error_reply(503, "the profile store cannot be reached")

    app.add_exception_handler(ApiError, of_api)
    app.add_exception_handler(SQLAlchemyError, of_store)
    app.add_exception_handler(RequestValidationError, of_validation)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(UserError, of_input)


def _place(text: str, position: int) -> str:
    before = text[:position]
    return f"line {before.count(chr(10)) + 1}, column {position - before.rfind(chr(10))}"
