rule relax:
    input:
        table=f"{SHARD}/generated.parquet",
    output:
        table=f"{SHARD}/relaxed.parquet",
    log:
        f"{RESULTS}/logs/{{system}}/{{composition}}/{{seed}}/relax.log",
    conda:
        "../envs/chggen.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        given=lambda wildcards: CAMPAIGN.settings("relax", wildcards.system),
        code=CAMPAIGN.code("relax"),
    script:
        "../scripts/relax.py"


use rule relax as rerelax with:
    input:
        table=f"{SHARD}/inpainted.parquet",
    output:
        table=f"{SHARD}/rerelaxed.parquet",
    log:
        f"{RESULTS}/logs/{{system}}/{{composition}}/{{seed}}/rerelax.log",
