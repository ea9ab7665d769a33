# SPDX-License-Identifier: Apache-2.0
"""Booted Debian hosts for tests: see box.py for how to use them."""
