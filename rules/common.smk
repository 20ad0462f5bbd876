# The checked configuration. Without --configfile (or with one that names no systems)
# this is the demo, config/config.yaml.
import os
import sys
from pathlib import Path

# the package of this checkout, here and in every job, whatever environment it runs in
HOME = str(Path(workflow.basedir).resolve())
sys.path.insert(0, HOME)
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [HOME, os.environ.get("PYTHONPATH")])
)
# spglib reports every structure it can do nothing with at a large tolerance
os.environ.setdefault("SPGLIB_WARNING", "OFF")

from chggen.campaign import Campaign
from chggen.errors import ChggenError

try:
    CAMPAIGN = Campaign.load(config, default=f"{HOME}/config/config.yaml")
except ChggenError as error:
    sys.exit(f"chggen: {error}")

RESULTS = CAMPAIGN.results
SHARD = f"{RESULTS}/{{system}}/{{composition}}/{{seed}}"


wildcard_constraints:
    system="[A-Za-z0-9][A-Za-z0-9_.-]*",
    composition="[A-Za-z0-9]+",
    seed=r"\d+",
