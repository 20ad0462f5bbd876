# Only for systems with guests: auto. All relaxations of the system come first.
rule choose:
    input:
        relaxed=lambda wildcards: CAMPAIGN.tables(wildcards.system, "relaxed"),
    output:
        table=f"{RESULTS}/{{system}}/chosen.parquet",
    log:
        f"{RESULTS}/logs/{{system}}/choose.log",
    conda:
        "../envs/chggen.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        given=lambda wildcards: CAMPAIGN.settings("choose", wildcards.system),
        code=CAMPAIGN.code("choose"),
    script:
        "../scripts/choose.py"
