# SPDX-License-Identifier: BSD-3-Clause
"""A cache directory of a test's own that has the guest image already: links to the shared cache's files."""

import os
import subprocess


def _link(source, destination):
    try:
        os.link(source, destination)
    except OSError:
        subprocess.run(["cp", "--sparse=always", source, destination], check=True)


def own_cache(programs, target, owner=None):
    """Fill the directory; the image is built if it is nowhere. Its path in the directory is returned."""
    built = subprocess.run(
        [os.path.join(programs, "build-image"), "--agent", os.path.join(programs, "stasis-agent"),
         "--init", os.path.join(programs, "stasis-init")],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=900,
    ).stdout.strip()
    images = os.path.dirname(os.path.dirname(built))
    os.makedirs(target, exist_ok=True)
    for kind in ("kernel", "rootfs", "initrd", "image"):
        for directory, _, files in os.walk(os.path.join(images, kind)):
            if os.path.basename(directory).startswith("."):
                continue  # somebody else's build that is under way
            here = os.path.join(target, "images", os.path.relpath(directory, images))
            os.makedirs(here)
            for name in files:
                if not os.path.islink(os.path.join(directory, name)):
                    _link(os.path.join(directory, name), os.path.join(here, name))
    for directory, _, _ in os.walk(target):
        if owner is not None:
            os.chown(directory, owner, owner)
    return os.path.join(target, "images", os.path.relpath(built, images))
