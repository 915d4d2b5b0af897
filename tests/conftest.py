"""One thread count for every test, set before anything numerical is imported."""

import os

import hypothesis

from paraspike.threads import environment

os.environ.update(environment(int(os.environ.get("PARASPIKE_THREADS", "1"))))

# A first call may compile a kernel for seconds, so time per example says nothing.
hypothesis.settings.register_profile("paraspike", deadline=None)
hypothesis.settings.load_profile("paraspike")
