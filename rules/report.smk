rule report:
    input:
        generated=lambda wildcards: CAMPAIGN.tables(wildcards.system, "generated"),
        relaxed=lambda wildcards: CAMPAIGN.tables(wildcards.system, "relaxed"),
        refined=lambda wildcards: CAMPAIGN.tables(wildcards.system, "refined"),
        inpainted=lambda wildcards: CAMPAIGN.tables(wildcards.system, "inpainted"),
        rerelaxed=lambda wildcards: CAMPAIGN.tables(wildcards.system, "rerelaxed"),
        # empty unless the reference is the potential itself
        referenced=lambda wildcards: CAMPAIGN.referenced(wildcards.system),
        # empty unless calculations are made
        collected=lambda wildcards: CAMPAIGN.collected(wildcards.system),
        screened=f"{RESULTS}/{{system}}/screened.parquet",
    output:
        table=f"{RESULTS}/{{system}}/report.parquet",
        page=f"{RESULTS}/{{system}}/report.html",
    log:
        f"{RESULTS}/logs/{{system}}/report.log",
    conda:
        "../envs/chggen.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        given=lambda wildcards: CAMPAIGN.settings("report", wildcards.system),
        code=CAMPAIGN.code("report"),
    script:
        "../scripts/report.py"
