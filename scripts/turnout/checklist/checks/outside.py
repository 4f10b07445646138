"""What lies outside: services that ours calls, certificates, and the bucket that the application writes to."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from turnout.checklist.config import S3, Certificate, Checklist, Outgoing
from turnout.checklist.model import Probe, Result, Situation, Verdict, answer_of, seen_at

DAY_S = 86_400.0


def _outgoing_probe(outgoing: Outgoing) -> str:
    return f"outgoing:{outgoing.name}"


def _certificate_probe(certificate: Certificate) -> str:
    return f"certificate:{certificate.name}"


def probes(config: Checklist, situation: Situation) -> Iterator[tuple[str, Probe]]:
    """Yield (host, probe): outgoing services are asked from every application host, certificates where they are."""
    for outgoing in config.outgoing:
        for host in situation.hosts("api", "worker"):
            if outgoing.url is not None:
                arguments: dict[str, object] = {"url": outgoing.url, "headers": dict(outgoing.headers)}
                yield host, Probe(_outgoing_probe(outgoing), "http", config.limit_of("outgoing"), arguments)
            else:
                arguments = {"address": outgoing.address, "banner": outgoing.banner is not None}
                yield host, Probe(_outgoing_probe(outgoing), "tcp", config.limit_of("outgoing"), arguments)
    for certificate in config.certificates:
        arguments = {
            "address": certificate.address,
            "server_name": certificate.server_name,
            "file": certificate.file,
        }
        for host in situation.hosts(certificate.group):
            limit_s = config.limit_of("certificate")
            yield host, Probe(_certificate_probe(certificate), "certificate", limit_s, arguments)


def judge(config: Checklist, situation: Situation) -> Iterator[Result]:
    """Judge outgoing services and certificates."""
    for outgoing in config.outgoing:
        for host in situation.hosts("api", "worker"):
            yield _outgoing(situation, outgoing, host)
    for certificate in config.certificates:
        hosts = situation.hosts(certificate.group)
        if not hosts:
            remedy = f"correct checklist.certificates group of {certificate.name}"
            text = f"group {certificate.group} has no host"
            yield Result("certificate", Verdict.UNKNOWN, text, remedy, certificate.name)
        for host in hosts:
            yield _certificate(situation, certificate, host)


def _outgoing(situation: Situation, outgoing: Outgoing, host: str) -> Result:
    subject = f"{outgoing.name} from {host}"
    facts, verdict, words, seconds = answer_of(situation, host, _outgoing_probe(outgoing))
    at_s = seen_at(situation, host)
    remedy = f"ask it from {host}; users of this release will miss {outgoing.name} as long as it is away"
    if facts is None:
        return Result("outgoing", verdict, words, remedy, subject, at_s, seconds)
    if outgoing.url is not None:
        passed = facts["status"] == outgoing.status
        evidence = f"HTTP {facts['status']} in {facts['answer_s']:.2f} s"
        evidence += "" if passed else f", {outgoing.status} wanted"
    else:
        passed = outgoing.banner is None or str(facts["banner"]).startswith(outgoing.banner)
        evidence = f"answers{': ' + str(facts['banner'])[:60] if facts['banner'] else ''}"
        evidence += "" if passed else f", {outgoing.banner} wanted first"
    verdict = Verdict.PASS if passed else Verdict.FAIL
    return Result("outgoing", verdict, evidence, "" if passed else remedy, subject, at_s, seconds)


def _certificate(situation: Situation, certificate: Certificate, host: str) -> Result:
    subject = f"{certificate.name} on {host}" if certificate.file else f"{certificate.name} from {host}"
    facts, verdict, words, seconds = answer_of(situation, host, _certificate_probe(certificate))
    at_s = seen_at(situation, host)
    if facts is None:
        remedy = "see checklist.certificates, and the server that shows it"
        return Result("certificate", verdict, words, remedy, subject, at_s, seconds)
    left_days = (float(facts["ends_s"]) - situation.now_s) / DAY_S
    passed = left_days >= certificate.days and float(facts["begins_s"]) <= situation.now_s
    evidence = f"{left_days:.1f} days left" if left_days >= 0 else f"expired {-left_days:.1f} days ago"
    if float(facts["begins_s"]) > situation.now_s:
        evidence += ", and not valid yet"
    evidence += "" if passed else f"; {certificate.days:g} wanted"
    verdict = Verdict.PASS if passed else Verdict.FAIL
    return Result("certificate", verdict, evidence, "" if passed else "renew it", subject, at_s, seconds)


_CREDENTIAL_CODES = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403", "ExpiredToken")


def s3_probe(s3: S3, limit_s: float, now_s: float) -> list[Result]:
    """Put an object, get it back, delete it, and judge. Takes at most about `limit_s`: nothing is tried again."""
    # Imported where it is used: it is by far the slowest part of the checklist to load, and most processes need none.
    import boto3  # noqa: PLC0415
    from botocore.config import Config as BotoConfig  # noqa: PLC0415
    from botocore.exceptions import (  # noqa: PLC0415
        BotoCoreError,
        ClientError,
        ConnectTimeoutError,
        EndpointConnectionError,
    )

    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name=s3.region or "us-east-1",
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
        verify=str(s3.ca_file) if s3.ca_file else None,
        config=BotoConfig(
            connect_timeout=limit_s / 2,
            read_timeout=limit_s / 2,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"} if s3.endpoint else {},
        ),
    )
    key, body = f"{s3.prefix}{secrets.token_hex(8)}", secrets.token_bytes(64)
    step = "put"
    try:
        client.put_object(Bucket=s3.bucket, Key=key, Body=body)
        step = "get"
        got = client.get_object(Bucket=s3.bucket, Key=key)["Body"].read()
        step = "delete"
        client.delete_object(Bucket=s3.bucket, Key=key)
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code"))
        verdict = Verdict.UNKNOWN if code in _CREDENTIAL_CODES and step == "put" else Verdict.FAIL
        remedy = "see checklist.s3: bucket, keys, and what they may do"
        return [Result("s3", verdict, f"{step} in {s3.bucket} refused: {code}", remedy, at_s=now_s)]
    except (ConnectTimeoutError, EndpointConnectionError) as error:
        refused = isinstance(error, EndpointConnectionError) and "refused" in str(error.kwargs.get("error")).lower()
        verdict = Verdict.FAIL if refused else Verdict.UNKNOWN
        return [Result("s3", verdict, f"no answer to {step}", f"is {s3.endpoint} up?", at_s=now_s)]
    except BotoCoreError as error:
        # Its text may quote a request; its type is enough.
        remedy = "see checklist.s3: endpoint, ca_file, keys"
        return [Result("s3", Verdict.UNKNOWN, f"{step}: {type(error).__name__}", remedy, at_s=now_s)]
    if got != body:
        return [Result("s3", Verdict.FAIL, "what was got is not what was put", "look at the store", at_s=now_s)]
    return [Result("s3", Verdict.PASS, f"put, got and deleted an object in {s3.bucket}", at_s=now_s)]
