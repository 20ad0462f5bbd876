rule refine:
    input:
        table=f"{SHARD}/relaxed.parquet",
        # empty unless guests are chosen by the campaign
        chosen=lambda wildcards: CAMPAIGN.chosen(wildcards.system),
    output:
        table=f"{SHARD}/refined.parquet",
    log:
        f"{RESULTS}/logs/{{system}}/{{composition}}/{{seed}}/refine.log",
    conda:
        "../envs/chggen.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        given=lambda wildcards: CAMPAIGN.settings("refine", wildcards.system),
        code=CAMPAIGN.code("refine"),
    script:
        "../scripts/refine.py"
