#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module, on the controller: list a versioned bucket."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: uploads
short_description: List a versioned bucket
description:
  - Writes every version of every object as a JSON object a line, with key, version, bytes and checksum (ETag).
options:
  bucket:
    description: The bucket.
    type: str
    required: true
  s3:
    description: How it is reached, as JSON text (endpoint, region, ca_file, access_key, secret_key).
    type: str
    default: "{}"
  dest:
    description: File to write.
    type: path
    required: true
attributes:
  check_mode:
    support: none
    description: It is skipped.
  diff_mode:
    support: none
    description: There is nothing to show.
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: List the uploads
  turnout.ops.uploads:
    bucket: uploads
    dest: /tmp/uploads.jsonl
  delegate_to: localhost
"""

RETURN = r"""
versions:
  description: Number of versions.
  returned: always
  type: int
"""

import json
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule


def client(access):
    """Return a boto3 client; what is left out comes from boto3's usual places."""
    import boto3  # noqa: PLC0415 - half a second
    from botocore.config import Config  # noqa: PLC0415

    return boto3.client(
        "s3",
        endpoint_url=access.get("endpoint"),
        region_name=access.get("region"),
        aws_access_key_id=access.get("access_key"),
        aws_secret_access_key=access.get("secret_key"),
        verify=access.get("ca_file"),
        config=Config(s3={"addressing_style": "path" if access.get("endpoint") else "auto"}),
    )


def main():
    """List and write."""
    module = AnsibleModule(
        argument_spec={
            "bucket": {"type": "str", "required": True},
            "s3": {"type": "str", "default": "{}", "no_log": True},
            "dest": {"type": "path", "required": True},
        }
    )
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    bucket, count = module.params["bucket"], 0
    try:
        pages = client(json.loads(module.params["s3"])).get_paginator("list_object_versions").paginate(Bucket=bucket)
        with Path(module.params["dest"]).open("w") as stream:
            for page in pages:
                for one in page.get("Versions", []):
                    count += 1
                    entry = {"key": one["Key"], "version": one["VersionId"], "bytes": one["Size"], "etag": one["ETag"]}
                    stream.write(json.dumps(entry) + "\n")
    except (BotoCoreError, ClientError, OSError) as error:
        module.fail_json(
            msg=f"error[uploads]: bucket {bucket} cannot be listed: {error}; expected: a versioned bucket that may be "
            "listed; to mend: drill_uploads in the inventory"
        )
    module.exit_json(changed=False, versions=count)


if __name__ == "__main__":
    main()
