"""Frameworks that we plug into, each where it is installed: `tox -e zenml`."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from importlib.util import find_spec

collect_ignore_glob = []
if find_spec("zenml") is None:
    collect_ignore_glob.append("test_zenml*.py")
else:
    # Read when ZenML is imported, which is when a test's module is: never the user's own.
    home = tempfile.mkdtemp(prefix="zenml-of-tests-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ.update(ZENML_CONFIG_PATH=home, ZENML_ANALYTICS_OPT_IN="false", AUTO_OPEN_DASHBOARD="false")
if find_spec("dagster") is None:
    collect_ignore_glob.append("test_dagster*.py")
