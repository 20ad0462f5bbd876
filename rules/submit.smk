# A checkpoint: how many structures go on is known only after the screen. The directories
# of the calculations are no output, or a rerun would delete them.
checkpoint submit:
    input:
        table=f"{RESULTS}/{{system}}/screened.parquet",
        # empty unless the potential relaxed the competing phases
        referenced=lambda wildcards: CAMPAIGN.competing(wildcards.system),
    output:
        table=f"{RESULTS}/{{system}}/submitted.parquet",
    log:
        f"{RESULTS}/logs/{{system}}/submit.log",
    conda:
        "../envs/chggen.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        given=lambda wildcards: CAMPAIGN.settings("submit", wildcards.system),
        code=CAMPAIGN.code("submit"),
    script:
        "../scripts/submit.py"
