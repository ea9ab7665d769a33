# SPDX-License-Identifier: Apache-2.0
"""Error pages as upstream's web framework sends them: HTML, or JSON for clients that prefer it."""

import json

from base import Reply

TEXT = {
    400: ("Bad Request", "The request could not be understood by the server due to malformed syntax."),
    401: ("Unauthorized", "The request requires user authentication."),
    404: ("Not Found", "The requested resource could not be found."),
    413: ("Payload Too Large", "The request is larger than the server is willing or able to process."),
    422: ("Unprocessable Entity", "The request was well-formed but was unable to be followed due to semantic errors."),
}

PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{code} {reason}</title></head>
<body align="center"><h1>{code}: {reason}</h1><p>{text}</p><hr/><small>simulated</small></body>
</html>
"""


def error_page(status, req=None):
    reason, text = TEXT[status]
    accept = (req.headers.get("Accept") or "") if req else ""
    if accept.split(",")[0].split(";")[0].strip() == "application/json":
        body = {"error": {"code": status, "reason": reason, "description": text}}
        return Reply(status, json.dumps(body, indent=2), "application/json")
    return Reply(status, PAGE.format(code=status, reason=reason, text=text), "text/html; charset=utf-8")
