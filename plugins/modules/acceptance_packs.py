#!/usr/bin/python
# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""Ansible module, on the controller: find what a release is asked."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: acceptance_packs
short_description: Find what a release is asked, before anything is restored
description:
  - Takes the acceptance packs and the OpenAPI document out of the artifact, checks them, takes the document of the
    release in service out of its artifact, and sees that this Python has what asks them.
options:
  candidate:
    description: The release, as C(artifact) (its file here), C(kind) and C(version).
    type: dict
    required: true
  stable: {description: The release in service in the same form; none before the first., type: dict}
  folder: {description: Folder that what is taken out stays in; by default it is gone afterwards., type: path}
  packs: {description: Folder with C(acceptance/) of a release that is an image., type: path}
  stable_document: {description: OpenAPI document of a release in service that carries none., type: path}
attributes:
  check_mode: {support: full, description: It changes nothing but O(folder).}
  diff_mode: {support: none, description: There is nothing to show.}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Find the packs
  turnout.ops.acceptance_packs:
    candidate: {artifact: /home/ops/shop-1.5.0.tar.zst, kind: tarball, version: 1.5.0}
"""

RETURN = r"""
declared: {description: Whether the release declares packs., returned: success, type: bool}
told: {description: "What is asked, for a person.", returned: success, type: str}
folder: {description: Folder with C(acceptance/)., returned: success, type: str}
packs: {description: Packs to be asked., returned: success, type: list, elements: str}
document: {description: "The document of the release in service, or empty.", returned: success, type: str}
seconds: {description: Seconds that asking may take., returned: success, type: float}
questions_sha256: {description: Checksum of declaration and document., returned: success, type: str}
"""
