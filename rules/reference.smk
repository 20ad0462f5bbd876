# Only for systems whose reference is the potential itself.
rule reference:
    output:
        table=f"{RESULTS}/{{system}}/referenced.parquet",
    log:
        f"{RESULTS}/logs/{{system}}/reference.log",
    conda:
        "../envs/chggen.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        given=lambda wildcards: CAMPAIGN.settings("reference", wildcards.system),
        code=CAMPAIGN.code("reference"),
    script:
        "../scripts/reference.py"
