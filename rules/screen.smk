rule screen:
    input:
        relaxed=lambda wildcards: CAMPAIGN.tables(wildcards.system, "relaxed"),
        inpainted=lambda wildcards: CAMPAIGN.tables(wildcards.system, "inpainted"),
        rerelaxed=lambda wildcards: CAMPAIGN.tables(wildcards.system, "rerelaxed"),
        # empty unless the reference is the potential itself
        referenced=lambda wildcards: CAMPAIGN.referenced(wildcards.system),
    output:
        table=f"{RESULTS}/{{system}}/screened.parquet",
    log:
        f"{RESULTS}/logs/{{system}}/screen.log",
    conda:
        "../envs/chggen.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        given=lambda wildcards: CAMPAIGN.settings("screen", wildcards.system),
        code=CAMPAIGN.code("screen"),
    script:
        "../scripts/screen.py"
