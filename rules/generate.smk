rule generate:
    output:
        table=f"{SHARD}/generated.parquet",
    log:
        f"{RESULTS}/logs/{{system}}/{{composition}}/{{seed}}/generate.log",
    conda:
        "../envs/chggen.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        given=lambda wildcards: CAMPAIGN.settings("generate", wildcards.system),
        code=CAMPAIGN.code("generate"),
    script:
        "../scripts/generate.py"
