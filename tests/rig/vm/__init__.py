# SPDX-License-Identifier: Apache-2.0
"""A whole machine: Debian 12 with its own kernel in QEMU without KVM, driven by events. See image.py and machine.py."""
