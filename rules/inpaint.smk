rule inpaint:
    input:
        table=f"{SHARD}/refined.parquet",
    output:
        table=f"{SHARD}/inpainted.parquet",
    log:
        f"{RESULTS}/logs/{{system}}/{{composition}}/{{seed}}/inpaint.log",
    conda:
        "../envs/chggen.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        given=lambda wildcards: CAMPAIGN.settings("inpaint", wildcards.system),
        code=CAMPAIGN.code("inpaint"),
    script:
        "../scripts/inpaint.py"
