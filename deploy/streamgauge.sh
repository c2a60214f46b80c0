#!/bin/sh
# The command of the image: what `pip install` would make of the project's script, without a build in the image.
exec python -m streamgauge "$@"
