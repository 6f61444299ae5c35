# SPDX-License-Identifier: Apache-2.0
"""weir's benchmark harness: bench/run.py is its program, bench/README.md its method."""
