# SPDX-License-Identifier: BSD-3-Clause
"""A cache directory of a test's own that has the guest image already: copies of the layers in the shared cache."""

import os
import shutil
import subprocess

LAYERS = ("kernel", "rootfs", "initrd")


def own_cache(programs, target, owner=None):
    """Fill the directory; the image is built if it is nowhere. Its path in the directory is returned."""
    built = subprocess.run(
        [os.path.join(programs, "build-image"), "--agent", os.path.join(programs, "stasis-agent"),
         "--init", os.path.join(programs, "stasis-init")],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=900,
    ).stdout.strip()
    images = os.path.dirname(os.path.dirname(built))
    image = os.path.join(target, "images", os.path.relpath(built, images))
    os.makedirs(image)
    for name in os.listdir(built):
        file = os.path.join(built, name)
        layer = _layer_of(images, file)
        if not layer:
            shutil.copy(file, os.path.join(image, name))
            continue
        here = os.path.join(target, "images", os.path.relpath(layer, images))
        # Copies, not links: a link changes the file's ctime, and other tests' stores would hash it anew.
        os.makedirs(here)
        for part in os.listdir(layer):
            subprocess.run(["cp", "--sparse=always", os.path.join(layer, part), here], check=True, timeout=600)
        os.symlink(os.path.join(here, name), os.path.join(image, name))
    if owner is not None:
        for directory, _, _ in os.walk(target):
            os.chown(directory, owner, owner)
    return image


def _layer_of(images, file):
    """The directory of the layer that a file of an image comes from, None for the image's own files."""
    for kind in LAYERS:
        for key in os.listdir(os.path.join(images, kind)):
            twin = os.path.join(images, kind, key, os.path.basename(file))
            if not key.startswith(".") and os.path.exists(twin) and os.path.samefile(twin, file):
                return os.path.join(images, kind, key)
    return None
