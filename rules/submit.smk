rule submit:
    input:
        table=f"{RESULTS}/{{system}}/screened.parquet",
    output:
        table=f"{RESULTS}/{{system}}/submitted.parquet",
        inputs=directory(f"{RESULTS}/{{system}}/dft"),
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
