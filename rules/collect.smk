rule collect:
    input:
        screened=f"{RESULTS}/{{system}}/screened.parquet",
        submitted=lambda wildcards: checkpoints.submit.get(**wildcards).output.table,
        calculated=lambda wildcards: calculations(
            checkpoints.submit.get(**wildcards).output.table
        ),
    output:
        table=f"{RESULTS}/{{system}}/collected.parquet",
    log:
        f"{RESULTS}/logs/{{system}}/collect.log",
    conda:
        "../envs/chggen.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        given=lambda wildcards: CAMPAIGN.settings("collect", wildcards.system),
        code=CAMPAIGN.code("collect"),
    script:
        "../scripts/collect.py"
