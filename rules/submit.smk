rule submit:
    input:
        table=f"{RESULTS}/{{system}}/screened.parquet",
    output:
        table=f"{RESULTS}/{{system}}/submitted.parquet",
        inputs=directory(f"{RESULTS}/{{system}}/dft"),
    log:
        f"{RESULTS}/logs/{{system}}/submit.log",
    params:
        given=lambda wildcards: CAMPAIGN.settings("submit", wildcards.system),
        code=CAMPAIGN.code("submit"),
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    conda:
        "../envs/chggen.yaml"
    script:
        "../scripts/submit.py"
