# SPDX-License-Identifier: BSD-3-Clause
"""bench/engine's sections."""
