# CHGGen campaign: composition -> lattices -> generate -> relax (-> choose) -> refine -> inpaint
# -> relax again -> screen -> submit -> calculate -> collect -> report. What each rule does is in chggen/stages/.
from snakemake.utils import min_version

min_version("9.12")


include: "rules/common.smk"
include: "rules/generate.smk"
include: "rules/relax.smk"
include: "rules/choose.smk"
include: "rules/refine.smk"
include: "rules/inpaint.smk"
include: "rules/reference.smk"
include: "rules/screen.smk"
include: "rules/submit.smk"
include: "rules/calculate.smk"
include: "rules/collect.smk"
include: "rules/report.smk"
include: "rules/train.smk"


localrules:
    all,


# before any job, on the node that drives; not in a dry run
onstart:
    CAMPAIGN.fetch()


rule all:
    default_target: True
    input:
        CAMPAIGN.targets(),
