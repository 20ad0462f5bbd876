# The checked configuration. Without --configfile (or with one that names no systems)
# this is the demo, config/config.yaml.
import sys
from pathlib import Path

# the package of this checkout, whatever environment runs it
HOME = str(Path(workflow.basedir).resolve())
sys.path.insert(0, HOME)

from chggen.campaign.calculations import calculations
from chggen.campaign.plan import Campaign
from chggen.errors import ChggenError
from chggen.run.job import set_environment

set_environment(HOME)
try:
    CAMPAIGN = Campaign.load(
        config, default=f"{HOME}/config/config.yaml", files=workflow.configfiles
    )
except ChggenError as error:
    sys.exit(f"chggen: {error}")

if CAMPAIGN.notice:
    print(f"chggen: {CAMPAIGN.notice}", file=sys.stderr)
# jobs parse this file as well: the generator's file is counted once, by the driver
if workflow.is_main_process and (leftover := CAMPAIGN.leftover()):
    print(f"chggen: {leftover}", file=sys.stderr)

RESULTS = CAMPAIGN.results
SHARD = f"{RESULTS}/{{system}}/{{composition}}/{{seed}}"


wildcard_constraints:
    system="[A-Za-z0-9][A-Za-z0-9_.-]*",
    composition="[A-Za-z0-9]+",
    seed=r"\d+",
    id="[0-9a-f]+",
