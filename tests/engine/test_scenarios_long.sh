#!/usr/bin/env bash
# 1,000 random scenarios, with floors for what must have occurred among them (test_scenarios.c).
set -euo pipefail
exec "$FORKCAST_BUILD/tests/test_scenarios" 20261126 1000
