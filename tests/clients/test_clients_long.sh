#!/usr/bin/env bash
# Other people's programs against the server, but those of gigabytes that have not been installed before.
set -euo pipefail
cd "$(dirname "$0")/../.."
tests/clients/run.sh --small
