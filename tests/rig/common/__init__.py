# SPDX-License-Identifier: Apache-2.0
"""What the power-cut and the torture rig share: a private corner of the machine, builds, trees, TAP."""
